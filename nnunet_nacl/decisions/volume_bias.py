"""By how much predicted volumes are too large or too small, the same in `volumes fit`, `compare` and the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.intervals import mean_interval, where_units_differ
from nnunet_nacl.decisions.volumes import Volumes, errors_of

KINDS = ("hard", "soft")
"""Volume of the segmentation, and sum of the probabilities; each is also the plain way of that name."""


@dataclass(frozen=True)
class Bias:
    """Predicted against true volumes, mean over cases, each with its 95 % interval (NaN with fewer than two patients).

    Attributes:
        ml, low, high: mean of predicted - true volume.
        share, share_low, share_high: the geometric mean of (v + e) / (V + e), less 1, with the floor e of
            :mod:`~nnunet_nacl.decisions.volumes`: 0.25 is 25 % too large. Neither tiny nor absent structures dominate it.
    """

    ml: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float

    def in_words(self, name: str) -> str:
        """Return a sentence on the volumes of a structure."""
        if math.isnan(self.share_low):
            return f"{name}: predicted volumes are {_too(self.share)} in the fit"
        ends = f"(95 % interval {self.share_low:+.1%} to {self.share_high:+.1%})"
        if self.share_low <= 0 <= self.share_high:
            return f"{name}: no clear bias of the predicted volumes in the fit, {self.share:+.1%} {ends}"
        return f"{name}: predicted volumes are {_too(self.share)} in the fit {ends}"


def biases(reference: NDArray[np.float64], volumes: Volumes, groups: Sequence[str] | None = None) -> dict[str, Bias]:
    """Return the bias of each kind of volume that is there.

    Args:
        reference: ``(N,)`` true volumes in ml.
        volumes: the predicted ones.
        groups: the patient of each case; None where each case is its own.
    """
    found = {}
    for kind, values in zip(KINDS, (volumes.hard, volumes.soft), strict=True):
        if values is None:
            continue
        differences, log_ratios = values - reference, -errors_of(reference, volumes, kind)
        low, high = where_units_differ(*map(float, mean_interval(differences, groups=groups)))
        log_low, log_high = where_units_differ(*map(float, mean_interval(log_ratios, groups=groups)))
        shares = (math.expm1(value) for value in (float(log_ratios.mean()), log_low, log_high))
        found[kind] = Bias(float(differences.mean()), low, high, *shares)
    return found


def _too(share: float) -> str:
    return f"{abs(share):.1%} too {'large' if share > 0 else 'small'}"
