"""Paired statistics of two runs over cases: pure functions on arrays.

For each score: the mean difference with a percentile bootstrap interval over cases, the two-sided Wilcoxon signed-rank test, and
the matched-pairs rank-biserial correlation (Kerby 2014: share of the rank sum in favour of `higher` minus the share in favour
of `lower`). Over all tests: Holm's step-down procedure (Holm 1979), which bounds the probability of any false finding whatever
the dependence of the tests.

Conventions of the test, all stated in comparison.json:

- a pair in which a run has no value (NaN) is left out and counted;
- a difference of at most :data:`EQUAL_WITHIN` is 0: the same number from sums in another order;
- zero differences are dropped before ranking (Wilcoxon's own way, ``zero_method="wilcox"``);
- the null distribution is exact up to :data:`EXACT_UP_TO` differences without ties, otherwise the normal approximation with
  tie and continuity correction, which errs to the side of larger p;
- fewer than :data:`MIN_DIFFERENCES` differences are not tested: not even all of one sign would give p < 0.05.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.bootstrap import DEFAULT_LEVEL, DEFAULT_REPLICATES, DEFAULT_SEED, mean_interval

EQUAL_WITHIN = 1e-12
EXACT_UP_TO = 50
MIN_DIFFERENCES = 6


@dataclass(frozen=True)
class PairedResult:
    """What the cases say about one score of a run against the base. NaN where there is nothing to compute from.

    Attributes:
        n_pairs: cases in which both have a value; the means are over these.
        n_undefined_base, n_undefined_run: cases in which the base, the run has none.
        base, run, difference: means, and the mean of run - base.
        low, high: bootstrap interval of the mean difference; NaN with fewer than two pairs.
        n_lower, n_equal, n_higher: pairs in which the run's value is lower, equal, higher.
        rank_biserial: -1 (every pair lower) to 1 (every pair higher); NaN if all are equal.
        p: of the signed-rank test, not adjusted; NaN if it was not made.
        method: ``exact`` or ``asymptotic``, empty if no test was made.
        reason: why no test was made, otherwise empty.
    """

    n_pairs: int
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
    method: str
    reason: str


def compare_pairs(
    base: Float64Array,
    run: Float64Array,
    level: float = DEFAULT_LEVEL,
    replicates: int = DEFAULT_REPLICATES,
    seed: int = DEFAULT_SEED,
) -> list[PairedResult]:
    """Compare M scores over the same N cases.

    Args:
        base, run: ``(N, M)`` float64, a row per case, a column per score; NaN where a case has no value.
        level, replicates, seed: of the bootstrap; the same draws of cases serve all scores.

    Returns:
        One result per column.
    """
    if base.ndim != 2 or base.shape != run.shape:
        raise ValueError(f"Expected `base` and `run` of one shape (N, M), but got {base.shape} and {run.shape}.")
    differences = differences_of(base, run)
    low, high = mean_interval(differences, level, replicates, seed)
    return [
        _compare_column(
            base[:, column], run[:, column], differences[:, column], float(low[column]), float(high[column])
        )
        for column in range(base.shape[1])
    ]


def differences_of(base: Float64Array, run: Float64Array) -> Float64Array:
    """Return run - base, of any one shape, with 0 for what is at most :data:`EQUAL_WITHIN` and NaN where either is."""
    differences = np.asarray(run - base)
    differences[np.abs(differences) <= EQUAL_WITHIN] = 0.0
    return differences


def signed_rank_test(differences: Float64Array) -> tuple[float, str, str]:
    """Return p, method and, where no test is made (p NaN), the reason; see the conventions above.

    Args:
        differences: ``(N,)`` without NaN.
    """
    unequal = differences[differences != 0]
    if not differences.size:
        return np.nan, "", "no case has a value in both runs"
    if not unequal.size:
        return np.nan, "", f"equal in all {_counted(differences.size)}"
    if unequal.size < MIN_DIFFERENCES:
        reason = f"differs in {_counted(unequal.size)} only, and fewer than {MIN_DIFFERENCES} cannot give p < 0.05"
        return np.nan, "", reason
    tied = np.unique(np.abs(unequal)).size < unequal.size
    method = "exact" if unequal.size <= EXACT_UP_TO and not tied else "asymptotic"
    # scipy before 1.16 knows the normal approximation as "approx" only, later ones by both names
    result = stats.wilcoxon(
        unequal, zero_method="wilcox", correction=True, method="exact" if method == "exact" else "approx"
    )
    return float(result.pvalue), method, ""


def rank_biserial(differences: Float64Array) -> float:
    """Return the matched-pairs rank-biserial correlation of ``(N,)`` differences, zeros dropped; NaN if all are 0."""
    unequal = differences[differences != 0]
    if not unequal.size:
        return np.nan
    ranks = stats.rankdata(np.abs(unequal))
    return float((ranks * np.sign(unequal)).sum() / ranks.sum())


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


def smallest_p(n_pairs: int) -> float:
    """Return the smallest two-sided p that the exact signed-rank test can give for so many pairs."""
    return min(1.0, 2.0 ** (1 - n_pairs))


def _compare_column(
    base: Float64Array, run: Float64Array, differences: Float64Array, low: float, high: float
) -> PairedResult:
    paired = ~np.isnan(differences)
    differences = differences[paired]
    p, method, reason = signed_rank_test(differences)
    return PairedResult(
        n_pairs=int(paired.sum()),
        n_undefined_base=int(np.isnan(base).sum()),
        n_undefined_run=int(np.isnan(run).sum()),
        base=_mean(base[paired]),
        run=_mean(run[paired]),
        difference=_mean(differences),
        low=low,
        high=high,
        n_lower=int((differences < 0).sum()),
        n_equal=int((differences == 0).sum()),
        n_higher=int((differences > 0).sum()),
        rank_biserial=rank_biserial(differences),
        p=p,
        method=method,
        reason=reason,
    )


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if values.size else np.nan


def _counted(number: int) -> str:
    return f"{number} case" if number == 1 else f"{number} cases"
