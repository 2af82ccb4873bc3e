"""How often intervals held the truth, patients weighing alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL
from nnunet_nacl.decisions.conformal import checked_groups


def coverage(covered: ArrayLike, groups: ArrayLike | None = None) -> float:
    """Return the share of cases covered, as the mean over patients of the share of their cases.

    Args:
        covered: ``(N,)`` bool, N > 0.
        groups: ``(N,)``, the patient of each case; each case its own patient if None.

    Raises:
        ValueError: no case, or groups of another length.

    >>> coverage([True, True, False, True], ["a", "a", "b", "c"])
    0.6666666666666666
    """
    hit = np.asarray(covered, np.float64)
    if not hit.size:
        raise ValueError("Expected argument `covered` to have at least one case, but got none.")
    _, patient = np.unique(
        np.arange(hit.size) if groups is None else checked_groups(groups, hit.size), return_inverse=True
    )
    return float((np.bincount(patient, hit) / np.bincount(patient)).mean())


def chance_of_so_few(share: float, n_new: int, n_fitted: int, level: float, *, two_sided: bool = True) -> float:
    """Return the probability that at most this share of n new patients is covered by an interval or a one-sided bound, if all are exchangeable.

    The number covered is beta-binomial: with errors without ties, the interval spans k of the n + 1 gaps between the errors of the fit, and its
    coverage, given the fit, is Beta(k, n + 1 - k) (Vovk 2012, arXiv 1209.2673).

    >>> round(chance_of_so_few(0.5, 30, 60, 0.9), 6)
    1.8e-05
    """
    from scipy.stats import betabinom  # half a second to import

    ends = 2 if two_sided else 1
    gaps_outside = ends * int((n_fitted + 1) * (1 - level) / ends + 1e-9)
    if gaps_outside == 0:  # the interval is infinite
        return 1.0
    return float(betabinom.cdf(int(share * n_new + 1e-9), n_new, n_fitted + 1 - gaps_outside, gaps_outside))


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
