"""The isotonic (CORP) decomposition of a score of confidences: miscalibration, discrimination, uncertainty, without bins.

Dimitriadis, Gneiting and Jordan, PNAS 2021, 118 (8) e2016191118 (arXiv 2008.03033). Of all functions of the confidence that do not fall, the
isotonic fit gives the best mean score, of any proper score, and pooling adjacent violators finds it. With the mean scores S of the
confidences, S_fit of the isotonic fit and S_rate of the overall share of right voxels as everyone's confidence,

    S = miscalibration - discrimination + uncertainty,
    miscalibration = S - S_fit, discrimination = S_rate - S_fit, uncertainty = S_rate,

none of which is below 0. Computed from sums over cells of confidences, each at the mean confidence of its cell: it is the decomposition,
exactly, of confidences rounded to these means.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Array, Float64Array
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.kernels import NLL_FLOOR

PARTS = ("", "_miscalibration", "_discrimination", "_uncertainty")


def isotonic_fit(count: Array, correct: Array) -> Float64Array:
    """Return the share of right voxels that an isotonic fit gives each cell, ``(..., F)`` float64; NaN in a cell without voxels.

    Args:
        count: ``(..., F)`` voxels of each cell, in the order of their confidences.
        correct: ``(..., F)`` how many of them are right.

    >>> isotonic_fit(np.array([4, 0, 4, 2]), np.array([3, 0, 1, 2])).tolist()
    [0.5, nan, 0.5, 1.0]
    """
    *leading, n_cells = np.shape(count)
    shape = (math.prod(leading), n_cells)  # there may be no cell: no -1
    voxels, right = (np.asarray(part, np.float64).reshape(shape) for part in (count, correct))
    fitted = np.full(voxels.shape, np.nan)
    for row in range(len(voxels)):
        _pool_adjacent_violators(voxels[row], right[row], fitted[row])
    return fitted.reshape(np.shape(count))


@compiled
def _pool_adjacent_violators(
    count: NDArray[np.float64], correct: NDArray[np.float64], fitted: NDArray[np.float64]
) -> None:
    """Write the fit of each cell that has voxels: neighbours whose shares fall are joined, until none do."""
    voxels, right, end = np.empty(count.size), np.empty(count.size), np.empty(count.size, np.int64)
    blocks = 0
    for cell in range(count.size):
        if count[cell] > 0:
            voxels[blocks], right[blocks], end[blocks] = count[cell], correct[cell], cell + 1
            blocks += 1
            while blocks > 1 and right[blocks - 2] * voxels[blocks - 1] >= right[blocks - 1] * voxels[blocks - 2]:
                voxels[blocks - 2] += voxels[blocks - 1]
                right[blocks - 2] += right[blocks - 1]
                end[blocks - 2] = end[blocks - 1]
                blocks -= 1
    start = 0
    for block in range(blocks):
        share = right[block] / voxels[block]
        for cell in range(start, end[block]):
            if count[cell] > 0:
                fitted[cell] = share
        start = end[block]


def corp(count: Array, confidence: Array, correct: Array) -> dict[str, Float64Array]:
    """Return the decompositions of the Brier score and of the negative log likelihood (nats) of confidences in cells.

    Both are scores of one event, that the prediction is right. A confidence or its complement below 1e-12 counts as that in the
    likelihood.

    Args:
        count, confidence, correct: ``(..., F)``, voxels, their summed confidences and how many are right, in the order of the
            confidences.

    Returns:
        ``(...)`` float64 by name: ``corp_brier`` and ``corp_nll``, each with the endings of :data:`PARTS`. NaN where there is no voxel.
    """
    voxels, right = np.asarray(count, np.float64), np.asarray(correct, np.float64)
    total = voxels.sum(-1)
    held = total > 0
    size = np.where(held, total, 1.0)
    stated = np.divide(confidence, voxels, out=np.zeros(voxels.shape), where=voxels > 0)
    fitted = np.nan_to_num(isotonic_fit(voxels, right))
    rate = np.broadcast_to((right.sum(-1) / size)[..., None], voxels.shape)
    found: dict[str, Float64Array] = {}
    for name, score in (("corp_brier", _brier), ("corp_nll", _nll)):
        whole, best, same = (
            np.where(held, score(each, right, voxels - right).sum(-1) / size, np.nan) for each in (stated, fitted, rate)
        )
        # none is below 0, but by rounding
        parts = (whole, np.maximum(whole - best, 0.0), np.maximum(same - best, 0.0), same)
        found |= {f"{name}{part}": value for part, value in zip(PARTS, parts, strict=True)}
    return found


def _brier(share: Float64Array, right: Float64Array, wrong: Float64Array) -> Float64Array:
    return np.asarray(right * (1 - share) ** 2 + wrong * share**2)


def _nll(share: Float64Array, right: Float64Array, wrong: Float64Array) -> Float64Array:
    return np.asarray(-right * np.log(np.maximum(share, NLL_FLOOR)) - wrong * np.log(np.maximum(1 - share, NLL_FLOOR)))
