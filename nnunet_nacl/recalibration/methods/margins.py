"""A slope and an offset for the margin of the predicted class over each other class.

For the winner ``c = argmax p`` and margins ``m_k = log p_c - log p_k >= 0``, q is proportional to ``exp(-(b_ck m_k + mu_ck))`` with
b and mu of at least 0, and 1 for c itself: no other class can exceed it. That is the argmax-preserving class-conditional map
of "Rethinking Post-Hoc Calibration in Semantic Segmentation" (arXiv 2607.01902) with a diagonal matrix. ``b_ck = b_c`` and ``mu = 0`` is
the method ``by-prediction``. With an offset, a voxel on the border between two classes has a lead that it did not have before.

The negative log likelihood is a log-sum-exp of linear functions minus a linear one: convex, with simple bounds. L-BFGS-B finds its
optimum, started from ``by-prediction`` and in units of the curvature there, without which classes of few voxels would take long.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR
from nnunet_nacl.recalibration.methods.base import Fit, Kind, Map, Remark, Voxels
from nnunet_nacl.recalibration.methods.by_prediction import ByPrediction, FactorOfPrediction

HIGHEST_OFFSET = 100.0
# of an iteration, below which the search ends: the likelihood is flat for pairs of classes that few voxels are of
RELATIVE_GAIN = 1e-10
MAX_ITERATIONS = 200


@dataclass(frozen=True)
class Margins:
    """Scores ``-(slopes[c, k] m_k + offsets[c, k])``, both ``(C, C)`` with 0 on the diagonal."""

    slopes: Float64Array
    offsets: Float64Array
    keeps_argmax: bool = True

    def scores(self, logarithm: FloatArray, prediction: NDArray[Any]) -> Float64Array:
        """Return the scores; that of the predicted class is 0, those of the others at most 0."""
        top = np.take_along_axis(logarithm, prediction[None], 0)
        result = np.subtract(logarithm, top, dtype=np.float64)
        result *= self.slopes.T[:, prediction]
        result -= self.offsets.T[:, prediction]
        return result


@dataclass(frozen=True)
class MarginScaling:
    """The method ``margins``."""

    name: str = "margins"
    one_for_all_regions: bool = False

    def fit(self, voxels: Voxels, num_classes: int, kind: Kind, start: Map | None = None) -> Fit:
        """Return the slopes and offsets of the highest likelihood.

        Where a class is never labelled among the voxels predicted as c, its offset would grow without end: that pair keeps the
        slope of ``by-prediction`` and an offset of 0.
        """
        simple = ByPrediction().fit(voxels, num_classes, kind)
        assert isinstance(simple.map, FactorOfPrediction)
        begin = start if isinstance(start, Margins) else margins_of(simple.map)
        sums = _sums(voxels, begin)
        off_diagonal = ~np.eye(num_classes, dtype=bool)
        left_alone = {pair for remark in simple.remarks if remark.what != "at_bound" for (pair,) in remark.where}
        tried = np.array([number not in left_alone for number in range(num_classes)])[:, None] & off_diagonal
        free = tried & (sums.labelled > 0)
        result = _Search(voxels, begin, free, sums).run()
        at_bound = free & ((result.map.slopes >= HIGHEST_FACTOR) | (result.map.offsets >= HIGHEST_OFFSET))
        pairs = (_remark("not_labelled", tried & ~free), _remark("at_bound", at_bound))
        return Fit(
            map=result.map,
            n_voxels=simple.n_voxels,
            nll_before=simple.nll_before,
            nll_after=result.nll,
            evaluations=simple.evaluations + 1 + result.evaluations,
            converged=result.converged,
            optimiser="scipy.optimize.minimize, L-BFGS-B",
            message=result.message,
            remarks=(*(r for r in simple.remarks if r.what != "at_bound"), *(r for r in pairs if r.where)),
        )

    def to_json(self, maps: Sequence[Margins], kind: Kind, num_channels: int) -> dict[str, Any]:
        """Return slopes and offsets by predicted class and class (for regions: by region first), and their checksum."""
        parts = {name: [getattr(each, name).tolist() for each in maps] for name in ("slopes", "offsets")}
        numbers = {name: part[0] if kind == "softmax" else part for name, part in parts.items()}
        return numbers | {"checksum": _checksum(numbers["slopes"], numbers["offsets"])}

    def from_json(self, content: dict[str, Any], kind: Kind, num_channels: int) -> tuple[Map, ...]:
        """Return the map of all classes, or one for each region."""
        shape = (num_channels, num_channels) if kind == "softmax" else (num_channels, 2, 2)
        slopes, offsets = (np.asarray(content[name], np.float64) for name in ("slopes", "offsets"))
        for numbers, highest in ((slopes, HIGHEST_FACTOR), (offsets, HIGHEST_OFFSET)):
            if numbers.shape != shape or not np.all((numbers >= 0) & (numbers <= highest * (1 + 1e-9))):
                raise ValueError(f"expected slopes and offsets of shape {shape} from 0 to {highest}")
        if content["checksum"] != _checksum(slopes.tolist(), offsets.tolist()):
            raise ValueError("expected slopes and offsets to have the checksum beside them")
        if kind == "softmax":
            return (Margins(slopes, offsets),)
        return tuple(Margins(*pair) for pair in zip(slopes, offsets, strict=True))


def margins_of(simple: FactorOfPrediction) -> Margins:
    """Return the map ``by-prediction`` as one of margins."""
    classes = len(simple.factors)
    slopes = np.where(np.eye(classes, dtype=bool), 0.0, simple.factors[:, None])
    return Margins(slopes, np.zeros((classes, classes)))


class _Sums(NamedTuple):
    """Sums over voxels by predicted class and class ``(C, C)``: derivatives, second derivatives, labels; and nats ``(1,)``, voxels."""

    slope: Float64Array
    offset: Float64Array
    slope_curvature: Float64Array
    offset_curvature: Float64Array
    labelled: Float64Array
    nats: Float64Array


class _Found(NamedTuple):
    map: Margins
    nll: float
    evaluations: int
    converged: bool
    message: str


class _Search:
    """The mean negative log likelihood as a function of the free slopes and offsets, in units of their curvature."""

    def __init__(self, voxels: Voxels, begin: Margins, free: NDArray[np.bool_], sums: _Sums) -> None:
        self.voxels = voxels
        self.begin = begin
        self.free = free
        self.at_begin: _Sums | None = sums
        self.n_voxels = float(sums.labelled.sum())
        curvature = np.concatenate([sums.slope_curvature[free], sums.offset_curvature[free]]) / self.n_voxels
        self.units = np.sqrt(np.maximum(curvature, 1e-12))
        self.evaluations = 0

    def run(self) -> _Found:
        """Return the optimum."""
        given = np.concatenate([self.begin.slopes[self.free], self.begin.offsets[self.free]])
        if not given.size:
            return _Found(self.begin, self._value(given)[0], 0, True, "nothing to fit")
        highest = np.repeat([HIGHEST_FACTOR, HIGHEST_OFFSET], given.size // 2) * self.units
        result: Any = minimize(
            self._value, given * self.units, jac=True, method="L-BFGS-B", bounds=[(0, high) for high in highest],
            options={"gtol": 1e-8, "ftol": RELATIVE_GAIN, "maxiter": MAX_ITERATIONS, "maxcor": 20},
        )  # fmt: skip
        return _Found(
            self._map(result.x), float(result.fun), self.evaluations, bool(result.success), str(result.message)
        )

    def _map(self, scaled: Float64Array) -> Margins:
        slopes, offsets = self.begin.slopes.copy(), self.begin.offsets.copy()
        slopes[self.free], offsets[self.free] = np.split(scaled / self.units, 2)
        return Margins(slopes, offsets)

    def _value(self, scaled: Float64Array) -> tuple[float, Float64Array]:
        sums, self.at_begin = self.at_begin, None
        if sums is None:
            sums = _sums(self.voxels, self._map(scaled))
            self.evaluations += 1
        gradient = np.concatenate([sums.slope[self.free], sums.offset[self.free]]) / self.n_voxels
        return float(sums.nats[0]) / self.n_voxels, gradient / self.units


def _sums(voxels: Voxels, fitted: Margins) -> _Sums:
    shapes = [fitted.slopes.shape] * 5 + [(1,)]
    total = _Sums(*map(np.zeros, shapes))
    for logarithm, labels in voxels():
        part = _Sums(*map(np.zeros, shapes))
        _add(logarithm, labels, logarithm.argmax(0), fitted.slopes, fitted.offsets, part)
        for whole, of_block in zip(total, part, strict=True):
            whole += of_block
    return total


@compiled
def _add(
    logarithm: FloatArray,
    labels: NDArray[Any],
    prediction: NDArray[np.intp],
    slopes: Float64Array,
    offsets: Float64Array,
    sums: _Sums,
) -> None:
    """Add what each voxel has of :class:`_Sums`."""
    classes, n_voxels = logarithm.shape
    weights, margins = np.zeros(classes), np.zeros(classes)
    for voxel in range(n_voxels):
        winner, label = prediction[voxel], labels[voxel]
        top, total = np.float64(logarithm[winner, voxel]), 1.0
        for k in range(classes):
            if k != winner:
                margins[k] = top - np.float64(logarithm[k, voxel])
                weights[k] = math.exp(-(slopes[winner, k] * margins[k] + offsets[winner, k]))
                total += weights[k]
        for k in range(classes):
            if k != winner:
                q = weights[k] / total
                sums.slope[winner, k] -= q * margins[k]
                sums.offset[winner, k] -= q
                sums.slope_curvature[winner, k] += q * (1 - q) * margins[k] ** 2
                sums.offset_curvature[winner, k] += q * (1 - q)
        sums.nats[0] += math.log(total)
        sums.labelled[winner, label] += 1
        if label != winner:
            sums.nats[0] += slopes[winner, label] * margins[label] + offsets[winner, label]
            sums.slope[winner, label] += margins[label]
            sums.offset[winner, label] += 1


def _checksum(slopes: list[Any], offsets: list[Any]) -> int:
    return zlib.crc32(json.dumps([slopes, offsets]).encode())


def _remark(what: Any, where: NDArray[np.bool_]) -> Remark:
    return Remark(what, tuple((int(winner), int(other)) for winner, other in zip(*np.nonzero(where), strict=True)))
