"""How often intervals held the truth, patients weighing alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL


def coverage(covered: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Return the share of cases covered, as the mean over patients of the share of their cases.

    >>> coverage([True, True, False, True], ["a", "a", "b", "c"])
    0.6666666666666666
    """
    hit = np.asarray(covered, np.float64)
    _, patient = np.unique(np.arange(hit.size) if groups is None else np.asarray(groups), return_inverse=True)
    return float((np.bincount(patient, hit) / np.bincount(patient)).mean())


def binomial_interval(share: float, n_units: int, level: float = DEFAULT_LEVEL) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson (1934) of a share of n units; a share of patients' shares may lie between whole numbers.

    >>> low, high = binomial_interval(0.9, 20)
    >>> round(low, 3), round(high, 3)
    (0.683, 0.988)
    """
    hits, tail = share * n_units, (1 - level) / 2
    low = float(betaincinv(hits, n_units - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n_units - hits, 1 - tail)) if hits < n_units else 1.0
    return low, high
