"""How scores and voxel sets are called where a person reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ScoreName:
    """A score in words.

    Attributes:
        short: heading of a column.
        meaning: one sentence.
        lower_is_better: None where neither is.
    """

    short: str
    meaning: str
    lower_is_better: bool | None


SCORES = {
    "Dice": ScoreName("Dice", "overlap of prediction and label, mean over the foreground classes", False),
    "HD95": ScoreName("HD95", "95th percentile of the surface distances, in mm", True),
    "accuracy": ScoreName("accuracy", "share of voxels whose predicted class is the label", False),
    "confidence": ScoreName("confidence", "mean probability of the predicted class", None),
    "gap": ScoreName("gap", "mean confidence minus accuracy: above 0 overconfident, below 0 underconfident", None),
    "ECE": ScoreName("ECE", "expected calibration error: mean gap of the bins, each weighted by its voxels", True),
    "equal_mass_ECE": ScoreName("emECE", "ECE over bins of equally many voxels instead of equal width", True),
    "smooth_ECE": ScoreName(
        "smECE", "smooth ECE: calibration error of confidences smoothed by a kernel, without bins", True
    ),
    "ACE": ScoreName("ACE", "average calibration error: mean gap of the bins that are not empty, unweighted", True),
    "MCE": ScoreName("MCE", "maximum calibration error: gap of the worst bin, however few voxels it has", True),
    "class_wise_ECE": ScoreName("CECE", "class-wise ECE: ECE of each class against the rest, mean over classes", True),
    "NLL": ScoreName("NLL", "mean negative log likelihood of the label, in nats", True),
    "Brier": ScoreName("Brier", "mean squared distance of the probabilities to the label, 0 to 2", True),
    "CORP_Brier": ScoreName(
        "CORP Brier",
        "mean squared distance of the confidence to whether the prediction is right, 0 to 1: "
        "miscalibration - discrimination + uncertainty",
        True,
    ),
    "CORP_Brier_miscalibration": ScoreName(
        "CORP MCB", "miscalibration: what an isotonic recalibration would take off that Brier score", True
    ),
    "CORP_Brier_discrimination": ScoreName(
        "CORP discr.", "discrimination: how well confidences tell right voxels from wrong ones", False
    ),
    "CORP_NLL_miscalibration": ScoreName(
        "CORP MCB (nats)", "miscalibration of the likelihood of being right, in nats", True
    ),
    "CORP_NLL_discrimination": ScoreName(
        "CORP discr. (nats)", "discrimination by the likelihood of being right, in nats", False
    ),
}


def score_name(key: str) -> ScoreName:
    """Return a score in words; one that is not known here goes by its key."""
    return SCORES.get(key, ScoreName(key.replace("_", " "), "", None))


def voxel_set_meaning(summary: dict[str, Any], voxel_set: str) -> str:
    """Return what calibration.json says that a voxel set holds."""
    described = summary["protocol"].get("voxel_sets", {})
    distance = f"{summary['protocol'].get('boundary_mm', 'boundary_mm')} mm"
    return str(described.get(voxel_set, "")).replace("boundary_mm", distance)


def listed(names: Iterable[str], at_most: int = 8) -> str:
    """Return names joined by commas, the last ones counted only where there are many."""
    held = list(names)
    return ", ".join(held) if len(held) <= at_most else f"{', '.join(held[:at_most])} and {len(held) - at_most} more"
