"""Wilcoxon's signed-rank test with its exact permutation distribution, ties or not: pure functions on arrays.

Under the null hypothesis each difference has either sign with equal chance, whatever the others have (Wilcoxon 1945; Pratt and Gibbons
1981, chapter 3). The statistic is the sum of the ranks of the positive differences, midranks where magnitudes tie. With doubled
midranks it is a whole number, so its distribution over all 2^n sign patterns follows by dynamic programming: adding a
difference of doubled rank d turns the probability of a sum s into half of that of s and half of that of s - d (Streitberg and
Röhmel 1986). That costs n^3 additions at most.

Which magnitudes tie must not depend on the unit. HD95 comes in multiples of the voxel spacing, and in mm the differences
6 x 0.7 - 5 x 0.7 and 3 x 0.7 - 2 x 0.7 are not the same number in the last bit. So magnitudes within a tolerance tie, and the caller
gives one that is proportional to the values.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nnunet_nacl.calibration.arrays import Float64Array

EXACT_UP_TO = 500
"""Differences up to which the distribution is enumerated; some 50 ms for this many."""

MIN_DIFFERENCES = 6


def signed_rank_test(differences: Float64Array, tolerance: float = 0.0) -> tuple[float, str, str]:
    """Return the two-sided p, the method (``exact`` or ``asymptotic``) and, where no test is made (p NaN), the reason.

    Zero differences are dropped before ranking (Wilcoxon's own way, ``zero_method="wilcox"`` of scipy). Beyond
    :data:`EXACT_UP_TO` it is the normal approximation with the variance that ties leave and a continuity correction of
    half a step of the statistic.

    Args:
        differences: ``(N,)`` without NaN.
        tolerance: magnitudes at most this far apart tie, and differences of at most this are 0.
    """
    ranks, signs = doubled_midranks(differences, tolerance)
    if not differences.size:
        return np.nan, "", "no case has a value in both runs"
    if not ranks.size:
        return np.nan, "", f"equal in all {_counted(differences.size)}"
    if ranks.size < MIN_DIFFERENCES:
        reason = f"differs in {_counted(ranks.size)} only, and fewer than {MIN_DIFFERENCES} cannot give p < 0.05"
        return np.nan, "", reason
    positive = int(ranks[signs > 0].sum())
    smaller = min(positive, int(ranks.sum()) - positive)
    step = int(np.gcd.reduce(ranks))
    if ranks.size <= EXACT_UP_TO:
        return min(1.0, 2.0 * float(_lower_tails(np.sort(ranks // step).tobytes())[smaller // step])), "exact", ""
    return _asymptotic(ranks, smaller, step), "asymptotic", ""


def doubled_midranks(differences: Float64Array, tolerance: float = 0.0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return twice the midrank of the magnitude, and the sign (-1, 1), of each difference that is not 0, ``(n,)`` each.

    Magnitudes tie where no gap between neighbours in their order is above the tolerance. (Rounding to a grid instead would
    part neighbours that lie on two sides of a boundary.)

    Args:
        differences: ``(N,)`` without NaN.
        tolerance: not below 0.
    """
    magnitudes = np.abs(differences)
    unequal = magnitudes > tolerance
    magnitudes, signs = magnitudes[unequal], np.sign(differences[unequal]).astype(np.int64)
    order = np.argsort(magnitudes, kind="stable")
    starts = np.flatnonzero(np.diff(magnitudes[order], prepend=-np.inf) > tolerance)
    ends = np.append(starts[1:], magnitudes.size)
    ranks = np.empty(magnitudes.size, np.int64)
    # ranks start + 1 to end, whose mean is half of this
    ranks[order] = np.repeat(starts + 1 + ends, ends - starts)
    return ranks, signs


def rank_biserial(differences: Float64Array, tolerance: float = 0.0) -> float:
    """Return the matched-pairs rank-biserial correlation (Kerby 2014), zeros dropped; NaN if all are 0.

    The share of the rank sum in favour of `higher` minus the share in favour of `lower`.

    Args:
        differences: ``(N,)`` without NaN.
        tolerance: as in :func:`signed_rank_test`.
    """
    ranks, signs = doubled_midranks(differences, tolerance)
    return float((ranks * signs).sum() / ranks.sum()) if ranks.size else np.nan


def smallest_p(n_pairs: int) -> float:
    """Return the smallest two-sided p that the exact signed-rank test can give for so many pairs, tied or not."""
    return min(1.0, 2.0 ** (1 - n_pairs))


@lru_cache(maxsize=32)
def _lower_tails(sorted_ranks: bytes) -> Float64Array:
    """Return P(sum of the positive ranks <= s) for s from 0 to half of the sum of all; kept, since untied samples share it."""
    ranks = np.frombuffer(sorted_ranks, np.int64)
    half = int(ranks.sum()) // 2
    chances = np.zeros(half + 1)
    chances[0] = 1.0
    for reached, rank in zip(np.minimum(np.cumsum(ranks), half), ranks, strict=True):
        chances[: reached + 1] /= 2
        chances[rank : reached + 1] += chances[: max(0, reached + 1 - rank)].copy()
    return np.asarray(np.cumsum(chances))


def _asymptotic(ranks: NDArray[np.int64], smaller: int, step: int) -> float:
    distance = max(0.0, (int(ranks.sum()) - step) / 2 - smaller)
    return float(2 * ndtr(-distance / (np.sqrt((ranks.astype(np.float64) ** 2).sum()) / 2)))


def _counted(number: int) -> str:
    return f"{number} case" if number == 1 else f"{number} cases"
