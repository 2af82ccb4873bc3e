"""From probabilities to decisions, on plain arrays: volumes with intervals, which cases to check, and masks with a given miss rate."""

from nnunet_nacl.calibration.mask_confidence import soft_dice_confidence
from nnunet_nacl.decisions.miss_rate import controlled, miss_rates
from nnunet_nacl.decisions.risk_coverage import RiskCoverage, excess_augrc, excess_aurc, oracle, risk_coverage
from nnunet_nacl.decisions.volume_choice import fit_interval
from nnunet_nacl.decisions.volumes import VolumeInterval, Volumes, leave_one_out

__all__ = [
    "RiskCoverage",
    "VolumeInterval",
    "Volumes",
    "controlled",
    "excess_augrc",
    "excess_aurc",
    "fit_interval",
    "leave_one_out",
    "miss_rates",
    "oracle",
    "risk_coverage",
    "soft_dice_confidence",
]


def __dir__() -> list[str]:
    return sorted(__all__)
