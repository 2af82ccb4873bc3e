"""A slope and an offset for the margin of the predicted class over each other class.

For the winner ``c = argmax p`` and margins ``m_k = log p_c - log p_k >= 0``, q is proportional to ``exp(-(b_ck m_k + mu_ck))`` with
b and mu of at least 0, and 1 for c itself: no other class can exceed it. That is the argmax-preserving class-conditional map
of "Rethinking Post-Hoc Calibration in Semantic Segmentation" (arXiv 2607.01902) with a diagonal matrix. ``b_ck = b_c`` and ``mu = 0`` is
the method ``by-prediction``. With an offset, a voxel on the border between two classes has a lead that it did not have before.

A slope is at least :data:`LEAST_SLOPE` of the factor of ``by-prediction``. Where a network's margins between two structures are all
small, since it does not tell them apart, an offset without a slope is as likely; on new cases, or with the network of another fold, that does,
it throws away what the network knows. docs/results/recalibration-methods.md has the folds where that was seen.

The negative log likelihood is a log-sum-exp of linear functions minus a linear one: convex, with simple bounds.
:mod:`~nnunet_nacl.recalibration.methods.margins_search` finds its optimum, started from ``by-prediction``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR
from nnunet_nacl.recalibration.methods.base import Fit, Kind, Map, Remark, Voxels
from nnunet_nacl.recalibration.methods.by_prediction import ByPrediction, FactorOfPrediction
from nnunet_nacl.recalibration.methods.margins_search import HIGHEST_OFFSET, MAX_EVALUATIONS, search, sums_of

LEAST_SLOPE = 0.75


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
        begin = margins_of(simple.map)
        least = LEAST_SLOPE * begin.slopes
        if isinstance(start, Margins):
            begin = Margins(np.maximum(start.slopes, least), start.offsets)
        sums = sums_of(voxels, begin.slopes, begin.offsets)
        off_diagonal = ~np.eye(num_classes, dtype=bool)
        left_alone = {pair for remark in simple.remarks if remark.what != "at_bound" for (pair,) in remark.where}
        tried = np.array([number not in left_alone for number in range(num_classes)])[:, None] & off_diagonal
        free = tried & (sums.labelled > 0)
        found = search(voxels, begin.slopes, begin.offsets, least, free, sums)
        at_bound = free & ((found.slopes >= HIGHEST_FACTOR) | (found.offsets >= HIGHEST_OFFSET))
        pairs = (_remark("not_labelled", tried & ~free), _remark("at_bound", at_bound))
        return Fit(
            map=Margins(found.slopes, found.offsets),
            n_voxels=simple.n_voxels,
            nll_before=simple.nll_before,
            nll_after=found.nll,
            evaluations=simple.evaluations + 1 + found.evaluations,
            converged=found.converged,
            optimiser="Newton's method, pair by pair of classes within bounds",
            message="" if found.converged else f"not found in {MAX_EVALUATIONS} evaluations",
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


def _checksum(slopes: list[Any], offsets: list[Any]) -> int:
    return zlib.crc32(json.dumps([slopes, offsets]).encode())


def _remark(what: Any, where: NDArray[np.bool_]) -> Remark:
    return Remark(what, tuple((int(winner), int(other)) for winner, other in zip(*np.nonzero(where), strict=True)))
