"""The slopes and offsets of the highest likelihood: Newton's method with a block of two by two for each pair of classes.

The likelihood of the voxels predicted as one class is a problem of its own, so each predicted class has a step length of its own, and
one pass over the voxels serves all. Slope and offset of a pair depend on each other strongly, those of different pairs but weakly: the
winner has most of the probability. A step therefore minimises, pair by pair and within the bounds, the quadratic of the pair's own
second derivatives; where the likelihood does not gain from it, that class tries half of it. A pass costs as much as one of the
likelihood alone, and memory is a few numbers for each pair: a dense matrix of 105 classes would have a hundred times as many.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR
from nnunet_nacl.recalibration.methods.base import Voxels

HIGHEST_OFFSET = 100.0
RELATIVE_GAIN = 1e-10  # that a step promises, below which the search ends
SUFFICIENT = 1e-4  # share of the promised gain that a step has to bring (Armijo)
ROUNDING = 1e-13  # of the nats of a class, which are sums of millions of numbers
RIDGE = 1e-9  # relative: where all margins are the same, slope and offset are one number
MAX_EVALUATIONS = 200
NEGLIGIBLE = 40.0  # nats below the winner, where a probability is lost in the rounding of the sum


class Sums(NamedTuple):
    """Sums over voxels by predicted class ``(C,)`` and by predicted class and class ``(C, C)``.

    Attributes:
        nats: negative log likelihood ``(C,)``.
        slope, offset: its derivatives.
        slope_slope, slope_offset, offset_offset: its second derivatives within a pair.
        labelled: voxels.
    """

    nats: Float64Array
    slope: Float64Array
    offset: Float64Array
    slope_slope: Float64Array
    slope_offset: Float64Array
    offset_offset: Float64Array
    labelled: Float64Array


class Found(NamedTuple):
    """What a search ended with: the numbers ``(C, C)``, their mean negative log likelihood in nats, and how it went."""

    slopes: Float64Array
    offsets: Float64Array
    nll: float
    evaluations: int
    converged: bool


def search(
    voxels: Voxels,
    slopes: Float64Array,
    offsets: Float64Array,
    least: Float64Array,
    free: NDArray[np.bool_],
    sums: Sums,
) -> Found:
    """Return the slopes and offsets of the highest likelihood.

    Args:
        voxels: gone through once per evaluation.
        slopes, offsets: ``(C, C)`` to start from, at least ``least`` and 0.
        least: ``(C, C)`` of the slopes.
        free: ``(C, C)`` the pairs to fit; the others stay.
        sums: those at the start.
    """
    length = np.ones(len(slopes))
    evaluations = 0
    while True:
        (more_slope, more_offset), promised = _step(slopes, offsets, least, sums, free)
        converged = bool(promised.sum() <= RELATIVE_GAIN * sums.nats.sum())
        if converged or evaluations == MAX_EVALUATIONS:
            nll = float(sums.nats.sum() / sums.labelled.sum())
            return Found(slopes, offsets, nll, evaluations, converged)
        # a step to the bound may end beside it through rounding
        tried = np.maximum(slopes + length[:, None] * more_slope, least), offsets + length[:, None] * more_offset
        there = sums_of(voxels, *tried)
        evaluations += 1
        better = there.nats <= sums.nats * (1 + ROUNDING) - SUFFICIENT * length * promised
        slopes, offsets = (
            np.where(better[:, None], new, old) for new, old in zip(tried, (slopes, offsets), strict=True)
        )
        sums = Sums(*(np.where(better if new.ndim == 1 else better[:, None], new, old)
                      for new, old in zip(there, sums, strict=True)))  # fmt: skip
        length = np.where(better, np.minimum(1, 2 * length), length / 2)


def _step(
    slopes: Float64Array, offsets: Float64Array, least: Float64Array, sums: Sums, free: NDArray[np.bool_]
) -> tuple[tuple[Float64Array, Float64Array], Float64Array]:
    """Return the step ``(C, C)`` of slopes and of offsets, and the gain ``(C,)`` in nats that the quadratics promise."""
    tiny = np.finfo(np.float64).tiny
    of_slope, of_offset = (np.maximum(each * (1 + RIDGE), tiny) for each in (sums.slope_slope, sums.offset_offset))
    both = sums.slope_offset
    low, high = (least - slopes, -offsets), (HIGHEST_FACTOR - slopes, HIGHEST_OFFSET - offsets)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        determinant = of_slope * of_offset - both**2
        inside = (
            (both * sums.offset - of_offset * sums.slope) / determinant,
            (both * sums.slope - of_slope * sums.offset) / determinant,
        )
        # the minimum of a quadratic in a box is inside, or on one of the four edges
        candidates = [inside]
        for ends in (low, high):
            candidates.append((ends[0], np.clip(-(sums.offset + both * ends[0]) / of_offset, low[1], high[1])))
            candidates.append((np.clip(-(sums.slope + both * ends[1]) / of_slope, low[0], high[0]), ends[1]))
        best, change = (np.zeros_like(slopes), np.zeros_like(slopes)), np.zeros_like(slopes)
        for slope, offset in candidates:
            value = sums.slope * slope + sums.offset * offset
            value += (of_slope * slope**2 + of_offset * offset**2) / 2 + both * slope * offset
            allowed = (slope >= low[0]) & (slope <= high[0]) & (offset >= low[1]) & (offset <= high[1])
            taken = free & allowed & (value < change)
            change = np.where(taken, value, change)
            best = np.where(taken, slope, best[0]), np.where(taken, offset, best[1])
    return best, -change.sum(1)


def sums_of(voxels: Voxels, slopes: Float64Array, offsets: Float64Array) -> Sums:
    """Return the sums of a map over all voxels."""
    shapes = [slopes.shape[:1], *[slopes.shape] * 6]
    total = Sums(*map(np.zeros, shapes))
    for logarithm, labels in voxels():
        part = Sums(*map(np.zeros, shapes))
        _add(logarithm, labels, logarithm.argmax(0), slopes, offsets, part)
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
    sums: Sums,
) -> None:
    """Add what each voxel has of :class:`Sums`.

    With ``a_k = b_ck m_k + mu_ck`` and q the softmax of ``-a``: ``log(sum exp(-a)) + a_y``, its derivatives by a pair's numbers
    ``([y = k] - q_k) (m_k, 1)``, and within the pair ``q_k (1 - q_k) (m_k, 1) (m_k, 1)'``.
    """
    classes, n_voxels = logarithm.shape
    weights, margins, near = np.zeros(classes), np.zeros(classes), np.zeros(classes, np.intp)
    for voxel in range(n_voxels):
        winner, label = prediction[voxel], labels[voxel]
        top, total, n_near = np.float64(logarithm[winner, voxel]), 1.0, 0
        for k in range(classes):
            if k != winner:
                margin = top - np.float64(logarithm[k, voxel])
                below = slopes[winner, k] * margin + offsets[winner, k]
                if below < NEGLIGIBLE:
                    weight = math.exp(-below)
                    weights[n_near], margins[n_near], near[n_near] = weight, margin, k
                    total += weight
                    n_near += 1
        for number in range(n_near):
            k, margin, q = near[number], margins[number], weights[number] / total
            rest = q * (1 - q)
            sums.slope[winner, k] -= q * margin
            sums.offset[winner, k] -= q
            sums.slope_slope[winner, k] += rest * margin * margin
            sums.slope_offset[winner, k] += rest * margin
            sums.offset_offset[winner, k] += rest
        sums.nats[winner] += math.log(total)
        sums.labelled[winner, label] += 1
        if label != winner:
            margin = top - np.float64(logarithm[label, voxel])
            sums.nats[winner] += slopes[winner, label] * margin + offsets[winner, label]
            sums.slope[winner, label] += margin
            sums.offset[winner, label] += 1
