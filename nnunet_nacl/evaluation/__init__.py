"""nnU-Net prediction folders in, calibration results out."""

from nnunet_nacl.evaluation.folder import evaluate_folder

__all__ = ["evaluate_folder"]


def __dir__() -> list[str]:
    return sorted(__all__)
