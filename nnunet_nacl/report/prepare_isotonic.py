"""The numbers of a CORP reliability curve: the isotonic fit of the share of right voxels, without bins, with a band over cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.isotonic import isotonic_fit
from nnunet_nacl.calibration.scores import Bins

BAND_PERCENTILES = (2.5, 97.5)
MIN_CASES = 4
REPLICATES = 200
POINTS = 100
"""At most so many points of a curve are drawn, those nearest to equal steps of confidence."""


@dataclass(frozen=True)
class IsotonicCurve:
    """A curve through M points.

    Attributes:
        confidence: ``(M,)`` mean confidences of cells, rising.
        share: ``(M,)`` share of right voxels by the isotonic fit.
        band: ``(2, M)``, the percentiles :data:`BAND_PERCENTILES` of the fits to resamples of the cases; None of fewer than :data:`MIN_CASES` with
            a voxel.
    """

    confidence: Float64Array
    share: Float64Array
    band: Float64Array | None


def prepare_isotonic(per_case: Sequence[Bins]) -> IsotonicCurve | None:
    """Return the curve of the pooled cells of cases, None where they have no voxel.

    The band resamples cases, not voxels (bootstrap, :data:`REPLICATES` from a fixed seed): other cases give another curve. Only cases with
    a voxel are resampled: one in which nothing is predicted says nothing of this curve, and a resample of such cases has none.

    Args:
        per_case: cells of the confidence grid of each case, ``(F,)`` each, in the order of the confidences.
    """
    count, confidence, correct = (np.stack([cells[part] for cells in per_case]).astype(np.float64) for part in range(3))
    used = count.any(0)
    if not used.any():
        return None
    with_voxels = np.ix_(count.any(1), used)
    count, confidence, correct = count[with_voxels], confidence[with_voxels], correct[with_voxels]
    stated = confidence.sum(0) / count.sum(0)
    shown = _shown(stated)
    band = None
    if len(count) >= MIN_CASES:
        draws = np.random.default_rng(0).multinomial(len(count), np.full(len(count), 1 / len(count)), REPLICATES)
        fits = isotonic_fit(draws @ count, draws @ correct)
        cells = np.arange(stated.size)
        # a cell that a resample lacks has the share between its neighbours
        filled = [np.interp(cells[shown], cells[known], fit[known]) for fit in fits for known in [~np.isnan(fit)]]
        band = np.percentile(np.stack(filled), BAND_PERCENTILES, axis=0)
    return IsotonicCurve(stated[shown], isotonic_fit(count.sum(0), correct.sum(0))[shown], band)


def _shown(stated: Float64Array) -> Float64Array:
    """Return the numbers of the cells that are drawn: the first and the last in each step of confidence."""
    step = np.minimum((stated * POINTS / 2).astype(np.int64), POINTS // 2 - 1)
    ends = np.concatenate(
        [np.searchsorted(step, np.unique(step), side) - (side == "right") for side in ("left", "right")]
    )
    return np.unique(ends)
