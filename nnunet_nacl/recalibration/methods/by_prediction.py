"""A temperature for each predicted class: ``q = softmax(b_c log p)`` with ``c = argmax p`` and ``b_c = 1 / T_c``.

Within a voxel that is one positive factor, so that neither its predicted class nor the order of its classes moves. Each ``b_c`` is a
problem of its own, convex and of one dimension, on the voxels predicted as c. They are chosen without looking at the label, background
among them: a calibrated network gets temperatures of 1 everywhere. For a region the two classes are outside and inside, and the map is
continuous where they meet, at 0.5.

All factors are found together by Newton's method, kept inside a bracket that the sign of each derivative narrows: the voxels are gone
through some six times, whatever the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR, LOWEST_FACTOR, NoVoxelsError
from nnunet_nacl.recalibration.methods.base import Fit, Kind, Map, Remark, Voxels
from nnunet_nacl.recalibration.methods.factors import factors_from_json, factors_to_json

STEP_TOLERANCE = 1e-9  # of a Newton step, relative to the factor; it squares with each step
MAX_EVALUATIONS = 100
NEGLIGIBLE = -40.0  # nats below the predicted class, where a probability is lost in the rounding of the sum
NLL, SLOPE, CURVATURE, COUNT, WRONG, UNEQUAL = range(6)


@dataclass(frozen=True)
class FactorOfPrediction:
    """Scores ``factors[c] * log p_k`` where c is the predicted class."""

    factors: Float64Array
    keeps_argmax: bool = True

    def scores(self, logarithm: FloatArray, prediction: NDArray[Any]) -> Float64Array:
        """Return the log probabilities, scaled by the factor of their voxel's predicted class."""
        scores: Float64Array = np.multiply(logarithm, self.factors[prediction], dtype=np.float64)
        return scores


@dataclass(frozen=True)
class ByPrediction:
    """The method ``by-prediction``."""

    name: str = "by-prediction"
    one_for_all_regions: bool = False

    def fit(self, voxels: Voxels, num_classes: int, kind: Kind, start: Map | None = None) -> Fit:
        """Return the factors of the highest likelihood; 1 for a class that is never predicted, or never wrongly."""
        begin = start.factors if isinstance(start, FactorOfPrediction) else None
        first = sums = _sums(voxels, np.ones(num_classes))
        if not first[:, COUNT].sum():
            raise NoVoxelsError("Expected at least one voxel to fit on, but got none.")
        absent, never_wrong = first[:, COUNT] == 0, (first[:, COUNT] > 0) & (first[:, WRONG] == 0)
        flat = never_wrong & (first[:, UNEQUAL] == 0)  # a tie is not wrong
        search = _Search(absent | never_wrong, begin)
        evaluations = 1
        factors = search.next(np.ones(num_classes), first)
        while factors is not None and evaluations < MAX_EVALUATIONS:
            sums = _sums(voxels, factors)
            evaluations += 1
            factors = search.next(factors, sums)
        found, n_voxels = search.factors, int(first[:, COUNT].sum())
        remarks = (
            _remark("no_voxel", absent),
            _remark("separable", never_wrong & ~flat),
            _remark("flat", flat),
            _remark("at_bound", ~search.fixed & ((found == LOWEST_FACTOR) | (found == HIGHEST_FACTOR))),
        )
        return Fit(
            map=FactorOfPrediction(found),
            n_voxels=n_voxels,
            nll_before=float(first[:, NLL].sum() / n_voxels),
            nll_after=float(sums[:, NLL].sum() / n_voxels),
            evaluations=evaluations,
            converged=factors is None,
            optimiser="Newton's method within a bracket",
            message="" if factors is None else f"not found in {MAX_EVALUATIONS} evaluations",
            remarks=tuple(remark for remark in remarks if remark.where),
        )

    def to_json(self, maps: Sequence[FactorOfPrediction], kind: Kind, num_channels: int) -> dict[str, Any]:
        """Return a factor for each predicted class, or a pair, outside and inside, for each region."""
        return factors_to_json(maps[0].factors if kind == "softmax" else np.stack([each.factors for each in maps]))

    def from_json(self, content: dict[str, Any], kind: Kind, num_channels: int) -> tuple[Map, ...]:
        """Return the map of all classes, or one for each region."""
        if kind == "softmax":
            return (FactorOfPrediction(factors_from_json(content, (num_channels,))),)
        return tuple(FactorOfPrediction(pair) for pair in factors_from_json(content, (num_channels, 2)))


class _Search:
    """Newton's method for many convex problems of one dimension at once, each within its bracket."""

    def __init__(self, fixed: NDArray[np.bool_], begin: Float64Array | None) -> None:
        self.fixed = fixed
        self.begin = begin
        self.factors = np.ones(len(fixed))
        # where the derivative is known to be below and above 0; the bounds themselves are not known yet
        self.low, self.high = np.zeros(len(fixed)), np.full(len(fixed), np.inf)

    def next(self, factors: Float64Array, sums: Float64Array) -> Float64Array | None:
        """Return where to evaluate next, given the sums at ``factors``; None where those are the optimum."""
        self.factors = factors
        slope, curvature = sums[:, SLOPE], sums[:, CURVATURE]
        self.low = np.where(slope < 0, factors, self.low)
        self.high = np.where(slope > 0, factors, self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = factors - slope / curvature
        beyond = ((factors == HIGHEST_FACTOR) & (slope <= 0)) | ((factors == LOWEST_FACTOR) & (slope >= 0))
        done = self.fixed | beyond | (slope == 0) | (np.abs(newton - factors) <= STEP_TOLERANCE * factors)
        if done.all():
            return None
        if self.begin is not None:
            begin, self.begin = self.begin, None
            return np.where(self.fixed, 1.0, begin)
        low, high = np.maximum(self.low, LOWEST_FACTOR), np.minimum(self.high, HIGHEST_FACTOR)
        # a bound that was not tried yet is tried itself, since the optimum may lie beyond it
        upwards = np.where(np.isinf(self.high), HIGHEST_FACTOR, np.sqrt(low * high))
        downwards = np.where(self.low == 0, LOWEST_FACTOR, np.sqrt(low * high))
        inside = (newton > self.low) & (newton < self.high) & (newton >= LOWEST_FACTOR) & (newton <= HIGHEST_FACTOR)
        moved = np.where(inside, newton, np.where(slope < 0, upwards, downwards))
        return np.where(done, factors, moved)


def _sums(voxels: Voxels, factors: Float64Array) -> Float64Array:
    """Return ``(C, 6)``: for each predicted class the sums of :func:`_add` over all voxels."""
    total = np.zeros((len(factors), 6))
    for logarithm, labels in voxels():
        part = np.zeros_like(total)
        _add(logarithm, labels, logarithm.argmax(0), factors, part)
        total += part
    return total


@compiled
def _add(
    logarithm: FloatArray, labels: NDArray[Any], prediction: NDArray[np.intp], factors: Float64Array, sums: Float64Array
) -> None:
    """Add negative log likelihood, its first two derivatives in the factor, voxels, those that are wrong, and those whose classes differ.

    With ``a_k = log p_k - log p_c`` and q the softmax of ``b a``: ``log(sum exp(b a)) - b a_y``, ``E_q[a] - a_y``, ``Var_q[a]``.
    """
    classes, n_voxels = logarithm.shape
    for voxel in range(n_voxels):
        winner = prediction[voxel]
        factor, top = factors[winner], np.float64(logarithm[winner, voxel])
        total, first, second, lowest = 0.0, 0.0, 0.0, 0.0
        for k in range(classes):
            below = np.float64(logarithm[k, voxel]) - top
            lowest = min(lowest, below)
            if factor * below > NEGLIGIBLE:
                weight = math.exp(factor * below)
                total += weight
                first += weight * below
                second += weight * below * below
        mean = first / total
        of_label = np.float64(logarithm[labels[voxel], voxel]) - top
        sums[winner, 0] += math.log(total) - factor * of_label
        sums[winner, 1] += mean - of_label
        sums[winner, 2] += second / total - mean * mean
        sums[winner, 3] += 1
        sums[winner, 4] += of_label < 0
        sums[winner, 5] += lowest < 0


def _remark(what: Any, where: NDArray[np.bool_]) -> Remark:
    return Remark(what, tuple((int(number),) for number in np.flatnonzero(where)))
