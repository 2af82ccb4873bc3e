"""Paired statistics of two runs over cases: pure functions on arrays.

For each score: the mean difference with its interval over cases, the two-sided Wilcoxon signed-rank test, and the
matched-pairs rank-biserial correlation (:mod:`~nnunet_nacl.study.signed_rank`). Over all tests: Holm's step-down procedure (Holm
1979), which bounds the probability of any false finding whatever the dependence of the tests, if each p is one: that of the signed-rank
test is where differences are symmetric about 0, that of the interval where it covers.

Conventions, all stated in comparison.json:

- a pair in which a run has no value (NaN) is left out and counted;
- a difference of at most :data:`EQUAL_WITHIN` of the largest value of the score is 0, and magnitudes that lie no further apart tie:
  the same number from sums in another order, or in another unit, ranks alike;
- cases of one group (of one patient) are one unit: the test is over the means of the groups, the mean over cases;
- fewer than six differences are not tested: not even all of one sign would give p < 0.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL, mean_interval, p_of_zero
from nnunet_nacl.study.signed_rank import rank_biserial, signed_rank_test

EQUAL_WITHIN = 1e-9
"""Share of the largest value. Sums of float64 over a case's voxels agree to about 1e-12 of themselves in any order."""


@dataclass(frozen=True)
class PairedResult:
    """What the cases say about one score of a run against the base. NaN where there is nothing to compute from.

    Attributes:
        n_pairs: cases in which both have a value; the means are over these.
        n_undefined_base, n_undefined_run: cases in which the base, the run has none.
        base, run, difference: means, and the mean of run - base.
        n_units: groups that these cases are of; as many as pairs where each case is its own.
        low, high: interval of the mean difference; NaN with fewer than two units.
        n_lower, n_equal, n_higher: units in which the run's value is lower, equal, higher on average.
        rank_biserial: -1 (every pair lower) to 1 (every pair higher); NaN if all are equal.
        p: of the signed-rank test, not adjusted; NaN if it was not made.
        p_mean: the p of a mean difference of 0 that belongs to the interval, not adjusted; NaN with fewer than two units.
        method: ``exact`` or ``asymptotic``, empty if no test was made.
        reason: why no test was made, otherwise empty.
    """

    n_pairs: int
    n_units: int
    n_undefined_base: int
    n_undefined_run: int
    base: float
    run: float
    difference: float
    low: float
    high: float
    n_lower: int
    n_equal: int
    n_higher: int
    rank_biserial: float
    p: float
    p_mean: float
    method: str
    reason: str


def compare_pairs(
    base: Float64Array,
    run: Float64Array,
    level: float = DEFAULT_LEVEL,
    groups: Sequence[str] | None = None,
) -> list[PairedResult]:
    """Compare M scores over the same N cases.

    Args:
        base, run: ``(N, M)`` float64, a row per case, a column per score; NaN where a case has no value.
        level: of the intervals.
        groups: the group of each case, N names; None where each case is its own.

    Returns:
        One result per column.
    """
    if base.ndim != 2 or base.shape != run.shape:
        raise ValueError(f"Expected `base` and `run` of one shape (N, M), but got {base.shape} and {run.shape}.")
    differences, tolerances = differences_of(base, run), tolerance_of(base, run)
    low, high = mean_interval(differences, level, groups)
    p_means = p_of_zero(differences, groups)
    return [
        _compare_column(
            base[:, column],
            run[:, column],
            differences[:, column],
            float(tolerances[column]),
            groups,
            (float(low[column]), float(high[column]), float(p_means[column])),
        )
        for column in range(base.shape[1])
    ]


def differences_of(base: Float64Array, run: Float64Array) -> Float64Array:
    """Return run - base, ``(N,)`` or ``(N, M)`` as they are, with 0 for what rounding explains and NaN where either is."""
    differences = np.asarray(run - base)
    differences[np.abs(differences) <= tolerance_of(base, run)] = 0.0
    return differences


def tolerance_of(base: Float64Array, run: Float64Array) -> Float64Array:
    """Return below what a difference is rounding: :data:`EQUAL_WITHIN` of the largest value of each column.

    Args:
        base, run: ``(N,)`` or ``(N, M)``; NaNs are left out.

    Returns:
        ``()`` or ``(M,)``.
    """
    magnitudes = np.abs(np.stack([base, run]))
    return np.asarray(EQUAL_WITHIN * np.where(np.isnan(magnitudes), 0.0, magnitudes).max((0, 1), initial=0.0))


def holm(p: Float64Array) -> Float64Array:
    """Return p values adjusted by Holm's procedure over all tests that were made; NaN (no test) stays NaN.

    Args:
        p: ``(M,)``, in any order.
    """
    adjusted = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, factors * p[order]))
    return adjusted


def adjusted(results: Sequence[PairedResult]) -> tuple[Float64Array, Float64Array]:
    """Return the p of each signed-rank test adjusted for all of them, and the same of the larger of p and p_mean, ``(M,)`` each.

    Ranks differ from 0 by skewness alone, in every test, and then an interval that is not adjusted leaves out 0 in one test of twenty:
    so among several tests the second is what bounds false findings about means.
    """
    p, p_mean = np.array([(result.p, result.p_mean) for result in results]).reshape(-1, 2).T
    return holm(p), holm(np.maximum(p, p_mean))


def means_of_groups(values: Float64Array, groups: Sequence[str] | None) -> Float64Array:
    """Return the mean of each group's values that are not NaN, in the order of first appearance; NaN where none is."""
    if groups is None:
        return values
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    of_cases = np.array([numbers[name] for name in groups])
    defined = ~np.isnan(values)
    sums, counts = (
        np.bincount(of_cases[defined], weights, len(numbers)) for weights in (values[defined], np.ones(defined.sum()))
    )
    means = np.full(len(numbers), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _compare_column(
    base: Float64Array,
    run: Float64Array,
    differences: Float64Array,
    tolerance: float,
    groups: Sequence[str] | None,
    of_mean: tuple[float, float, float],
) -> PairedResult:
    paired = ~np.isnan(differences)
    of_units = means_of_groups(differences, groups)
    of_units = of_units[~np.isnan(of_units)]
    p, method, reason = signed_rank_test(of_units, tolerance)
    return PairedResult(
        n_pairs=int(paired.sum()),
        n_units=of_units.size,
        n_undefined_base=int(np.isnan(base).sum()),
        n_undefined_run=int(np.isnan(run).sum()),
        base=_mean(base[paired]),
        run=_mean(run[paired]),
        difference=_mean(differences[paired]),
        low=of_mean[0],
        high=of_mean[1],
        n_lower=int((of_units < -tolerance).sum()),
        n_equal=int((np.abs(of_units) <= tolerance).sum()),
        n_higher=int((of_units > tolerance).sum()),
        rank_biserial=rank_biserial(of_units, tolerance),
        p=p,
        p_mean=of_mean[2],
        method=method,
        reason=reason,
    )


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if values.size else np.nan
