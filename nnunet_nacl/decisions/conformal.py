"""Finite-sample quantiles of conformal prediction, for cases and for patients of several cases.

A score is a number of each calibration case; the bound that comes out of N scores holds for the score of a new case with at least
the stated probability, whatever the distribution, if the new case is exchangeable with the others (Vovk, Gammerman and Shafer 2005;
Angelopoulos and Bates, arXiv 2107.07511). The probability is over the draw of the calibration cases and of the new case: it is no
statement about one patient.

Cases of one patient are not exchangeable with those of another. With G patients each patient weighs 1 / (G + 1), shared equally by
its cases, and the new patient weighs 1 / (G + 1) at infinity: hierarchical conformal prediction (Lee, Barber and Willett, arXiv
2306.06342), which with one case a patient is the ordinary one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

# weights of 1 / (G + 1) add up to a probability only within rounding
_ROUNDING = 1e-12


def upper_bound(scores: ArrayLike, level: float, groups: ArrayLike | None = None) -> float:
    """Return the smallest score that a new case's score exceeds with a probability of at most 1 - level.

    Args:
        scores: ``(N,)`` float, finite.
        level: above 0, below 1.
        groups: ``(N,)``, what tells patients apart (any values); each case its own patient if None.

    Returns:
        One of the scores, or ``inf`` where fewer than :func:`smallest_number` patients are there.

    Raises:
        ValueError: no or unusable scores, a level outside (0, 1), groups of another length.

    >>> upper_bound([1, 2, 3, 4, 5, 6, 7, 8, 9], 0.9)
    9.0
    >>> upper_bound([1, 2, 3], 0.9)
    inf
    """
    values, weights = _weighted(scores, level, groups)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) >= level - _ROUNDING
    return float(values[order][np.argmax(reached)]) if reached[-1] else math.inf


def lower_bound(scores: ArrayLike, level: float, groups: ArrayLike | None = None) -> float:
    """Return the largest score that a new case's score stays below with a probability of at most 1 - level.

    Arguments, errors and result as in :func:`upper_bound`; ``-inf`` where there are too few patients.
    """
    return -upper_bound(-np.asarray(scores, np.float64), level, groups)


def two_sided_bounds(scores: ArrayLike, level: float, groups: ArrayLike | None = None) -> tuple[float, float]:
    """Return the ends between which a new case's score lies with a probability of at least ``level``.

    Either end is missed with a probability of at most (1 - level) / 2.
    """
    check_level(level)
    one_sided = (1 + level) / 2
    return lower_bound(scores, one_sided, groups), upper_bound(scores, one_sided, groups)


def smallest_number(level: float, *, two_sided: bool = True) -> int:
    """Return how many patients a finite bound needs: 19 for a two-sided and 9 for a one-sided one at a level of 0.9."""
    check_level(level)
    missed = (1 - level) / 2 if two_sided else 1 - level
    return math.ceil(1 / missed - 1 - 1e-9)


def _weighted(
    scores: ArrayLike, level: float, groups: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    check_level(level)
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"Expected argument `scores` to be finite and of shape (N,), N > 0, but got shape {values.shape}."
        )
    return values, case_weights(values.size, groups)


def case_weights(n_cases: int, groups: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return the weight of each case, ``(N,)`` float64, which with that of the new patient, 1 / (G + 1), add up to 1."""
    if groups is None:
        return np.full(n_cases, 1 / (n_cases + 1))
    _, patient, size = np.unique(checked_groups(groups, n_cases), return_inverse=True, return_counts=True)
    return np.asarray(1 / ((size.size + 1) * size[patient]), np.float64)


def checked_groups(groups: ArrayLike, n_cases: int) -> NDArray[np.generic]:
    """Return what tells patients apart as an array; ValueError if it is not one for each case."""
    of = np.asarray(groups)
    if of.shape != (n_cases,):
        raise ValueError(f"Expected argument `groups` to have shape ({n_cases},), but got {of.shape}.")
    return of


def check_level(level: float) -> None:
    """Raise ValueError for a level that is none."""
    if not 0 < level < 1:
        raise ValueError(f"Expected argument `level` to be above 0 and below 1, but got {level}.")
