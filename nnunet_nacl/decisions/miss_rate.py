"""Thresholds that keep the miss rate of new cases: conformal risk control, on plain arrays.

The miss rate of a case is the share of the reference's voxels whose probability is below the threshold; it never falls as the threshold
rises, and is 0 at a threshold of 0. With n patients and their mean miss rate R(t), the largest threshold t with

    n / (n + 1) R(t) + 1 / (n + 1) <= level

has an expected miss rate of at most ``level`` in a new patient who is exchangeable with the others, whatever the network (Angelopoulos,
Bates, Fisch, Lei and Schuster, arXiv 2208.02814, Theorem 1, with losses of at most B = 1). The expectation is over the draw of the
patients and of the new one. The mean stays above ``level`` - 2 / (n + 1) where losses have no jumps (their Theorem 2).

A case without the structure has no miss rate: such cases are left out, and what is kept is kept for cases that have it. Patients with
several cases have the mean of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.decisions.conformal import check_level, checked_groups

_ROUNDING = 1e-12


def smallest_number(level: float) -> int:
    """Return how many patients a miss rate of at most ``level`` needs: 9 for 0.1.

    >>> [smallest_number(level) for level in (0.5, 0.1, 0.05)]
    [1, 9, 19]
    """
    check_level(level)
    return math.ceil(1 / level - 1 - 1e-9)


def miss_rates(inside: ArrayLike) -> Float64Array:
    """Return the miss rate of each case at each threshold, ``(N, T)`` float64; NaN for a case without the structure.

    Args:
        inside: ``(N, T)`` voxels of the reference with a probability from each threshold to the next, thresholds rising.

    >>> miss_rates([[1, 0, 3]]).tolist()
    [[0.0, 0.25, 0.25]]
    """
    counts = np.asarray(inside, np.float64)
    total = counts.sum(-1, keepdims=True)
    below = np.cumsum(counts, -1) - counts
    return np.asarray(np.divide(below, total, out=np.full(counts.shape, np.nan), where=total > 0))


def by_patient(rates: Float64Array, groups: ArrayLike | None = None) -> tuple[Float64Array, NDArray[np.intp]]:
    """Return the mean rates of each patient ``(G, T)`` over the cases that have the structure, and the patient of each such case.

    Args:
        rates: ``(N, T)``, NaN in cases that do not have it.
        groups: ``(N,)``, what tells patients apart; each case its own patient if None.

    Raises:
        ValueError: groups of another length.
    """
    held = ~np.isnan(rates[:, 0])
    of = np.arange(held.size) if groups is None else checked_groups(groups, held.size)
    _, patient = np.unique(of[held], return_inverse=True)
    if groups is None:
        return rates[held], patient
    sums = np.zeros((patient.max(initial=-1) + 1, rates.shape[1]))
    np.add.at(sums, patient, rates[held])
    return sums / np.bincount(patient)[:, None], patient


def controlled(rates: Float64Array, level: float) -> int | None:
    """Return the number of the largest threshold that keeps the miss rate, None where patients are too few.

    Args:
        rates: ``(G, T)`` of patients, see :func:`by_patient`, thresholds rising from 0.
        level: of the miss rate.

    >>> rates = miss_rates([[0, 0, 5, 5]] * 9)
    >>> controlled(rates, 0.1), controlled(rates, 0.6)
    (2, 3)
    """
    n = len(rates)
    return _largest(rates.sum(0), n, level) if n >= smallest_number(level) else None


def left_out(rates: Float64Array, level: float) -> NDArray[np.intp] | None:
    """Return for each patient the number of the threshold that the others give, ``(G,)``; None where they are too few."""
    n = len(rates) - 1
    if n < smallest_number(level):
        return None
    total = rates.sum(0)
    return np.array([_largest(total - own, n, level) for own in rates])


def _largest(summed: Float64Array, n: int, level: float) -> int:
    kept = summed + 1 <= level * (n + 1) + _ROUNDING * n
    return int(np.flatnonzero(kept)[-1])  # there is one: at a threshold of 0 nothing is missed


def mean_over_patients(values: ArrayLike, groups: Sequence[str] | None = None) -> float:
    """Return the mean over patients of the means of their cases, of the values that are not NaN; NaN where there is none."""
    array = np.asarray(values, np.float64)[:, None]
    means, _ = by_patient(array, groups)
    return float(means.mean()) if means.size else math.nan
