"""Which way a score is better, and what to call it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

CHOSEN_WITHOUT_LABEL = ("all", "predicted")
"""The voxel sets in which a calibrated network scores 0. Every other one chooses voxels by their label, that is by the outcome,
and there even the true posterior has a calibration error: better means better by the convention of the papers."""


class Better(Enum):
    """The better direction of a score."""

    LOWER = "lower"
    HIGHER = "higher"
    NEARER_TO_ZERO = "nearer to zero"
    NEITHER = "neither"


@dataclass(frozen=True)
class Direction:
    """The better direction of a score, and the words for a run that is better or worse by it.

    ``of_probabilities`` is whether it judges probabilities, so that voxels chosen by their label make it a convention.
    """

    better: Better
    words_better: str = ""
    words_worse: str = ""
    of_probabilities: bool = True


_CALIBRATED = ("better calibrated", "worse calibrated")
_PROBABILITIES = ("better probabilities", "worse probabilities")
_SEGMENTS = ("segments better", "segments worse")

# by the whole name; the first that fits. A name that fits none has no better direction: a wrong verdict is worse than none.
_DIRECTIONS = (
    (r"(\w+_)?(ECE|ACE|MCE)(_\S*)?", Direction(Better.LOWER, *_CALIBRATED)),
    (r"Brier_(calibration|reliability)|CORP_(Brier|NLL)_miscalibration", Direction(Better.LOWER, *_CALIBRATED)),
    (r"(\w+_)?gap", Direction(Better.NEARER_TO_ZERO, *_CALIBRATED)),
    (r"(CORP_)?(NLL|Brier)", Direction(Better.LOWER, *_PROBABILITIES)),
    (
        r"CORP_(Brier|NLL)_discrimination",
        Direction(Better.HIGHER, "tells errors apart better", "tells errors apart worse"),
    ),
    (r"Dice", Direction(Better.HIGHER, *_SEGMENTS, of_probabilities=False)),
    (r"HD95(_mm)?", Direction(Better.LOWER, *_SEGMENTS, of_probabilities=False)),
    (r"accuracy", Direction(Better.HIGHER, "more accurate", "less accurate", of_probabilities=False)),
)


def direction_of(score: str) -> Direction:
    """Return the better direction of a score by its name in calibration.json."""
    fitting = (direction for pattern, direction in _DIRECTIONS if re.fullmatch(pattern, score))
    return next(fitting, Direction(Better.NEITHER))


def chosen_by_label(voxel_set: str | None) -> bool:
    """Return whether a voxel set chooses voxels by their label."""
    return voxel_set is not None and voxel_set not in CHOSEN_WITHOUT_LABEL
