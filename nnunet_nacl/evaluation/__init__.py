"""nnU-Net prediction folders in, calibration results out."""

from nnunet_nacl.evaluation.bins_file import write_result
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.evaluation.folder import evaluate_folder
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.evaluation.output import write_summary
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.summary import summarize

__all__ = [
    "Settings",
    "evaluate_folder",
    "load_dataset",
    "read_case_labels",
    "summarize",
    "write_result",
    "write_summary",
]


def __dir__() -> list[str]:
    return sorted(__all__)
