"""Paired statistics: worked examples, agreement with scipy, and the error rates that they promise."""

import numpy as np
import pytest
import scipy.stats

from nnunet_nacl.calibration.intervals import mean_interval
from nnunet_nacl.study.paired import adjusted, compare_pairs, holm
from nnunet_nacl.study.signed_rank import signed_rank_test


@pytest.fixture
def random():
    return np.random.default_rng(11)


def test_holm_keeps_the_family_wise_error(random):
    """Twenty correlated scores of 15 cases, of which five differ: a false finding in at most 5 % of the families."""
    n_families, n_null, n_real = 300, 15, 5
    shared = random.normal(size=(15, n_families, 1))
    differences = 0.5 * shared + random.normal(size=(15, n_families, n_null + n_real))
    differences[..., n_null:] += 1.5
    p = np.array([signed_rank_test(column)[0] for column in differences.reshape(15, -1).T]).reshape(n_families, -1)
    adjusted = np.array([holm(family) for family in p])
    false_families = (adjusted[:, :n_null] < 0.05).any(1).sum()
    assert false_families <= scipy.stats.binom.ppf(0.999, n_families, 0.05)
    # and it is needed, and does find what is there
    assert (p[:, :n_null] < 0.05).any(1).mean() > 0.2
    assert (adjusted[:, n_null:] < 0.05).mean() > 0.5


def test_several_skewed_differences_of_mean_zero_are_seldom_told_from_it(random):
    """Eleven scores of 100 cases, lognormal around their mean: ranks differ from 0 in every study, and single intervals leave it out in a third."""
    either = both = 0
    for _ in range(60):
        values = random.lognormal(0, 1, (100, 11)) - np.exp(0.5)
        results = compare_pairs(np.full(values.shape, 10.0), 10.0 + values)
        of_ranks, of_both = adjusted(results)
        leaves_out = np.array([not result.low <= 0 <= result.high for result in results])
        either += ((of_ranks < 0.05) & leaves_out).any()
        both += (of_both < 0.05).any()
        assert (of_both >= of_ranks).all()
    assert either >= 15
    assert both <= scipy.stats.binom.ppf(0.999, 60, 0.06)


def test_holm_by_hand():
    """p .01 .04 .03 .005: 4 x .005, 3 x .01, 2 x .03, then .04 raised to .06, since the steps never fall."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, np.nan, 0.7])), [1.0, np.nan, 1.0])
    assert np.isnan(holm(np.array([np.nan]))).all()
    assert holm(np.array([])).shape == (0,)


def test_missing_values_are_left_out_and_counted(random):
    base, run = random.normal(size=(2, 20, 1))
    base[:3], run[2:7] = np.nan, np.nan
    (result,) = compare_pairs(base, run)
    assert (result.n_pairs, result.n_undefined_base, result.n_undefined_run) == (13, 3, 5)
    assert result.base == pytest.approx(base[7:].mean())
    assert result.run == pytest.approx(run[7:].mean())
    assert result.difference == pytest.approx((run - base)[7:].mean())
    assert result.n_lower + result.n_higher == 13
    assert result.low < result.difference < result.high
    assert result.p == pytest.approx(scipy.stats.wilcoxon((run - base)[7:, 0]).pvalue)


def test_nothing_defined():
    (result,) = compare_pairs(np.full((4, 1), np.nan), np.ones((4, 1)))
    assert result.n_pairs == 0
    assert np.isnan([result.base, result.run, result.difference, result.low, result.high, result.p]).all()


def test_one_pair():
    (result,) = compare_pairs(np.array([[0.5]]), np.array([[0.75]]))
    assert (result.n_pairs, result.difference, result.n_higher) == (1, 0.25, 1)
    assert np.isnan([result.low, result.high, result.p]).all()


def test_cases_of_one_group_are_one_unit(random):
    """Each case three times under one name says what it says once: interval, test, and counts of units. Means are those of cases."""
    base, run = random.normal(size=(2, 14, 1))
    (once,) = compare_pairs(base, run, 0.9)
    names = [f"patient {row}" for row in range(14)]
    (grouped,) = compare_pairs(np.tile(base, (3, 1)), np.tile(run, (3, 1)), 0.9, names * 3)
    assert (grouped.n_pairs, grouped.n_units) == (42, 14)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    assert (grouped.difference, grouped.p, grouped.rank_biserial) == pytest.approx((once.difference, once.p, once.rank_biserial))  # fmt: skip
    assert (grouped.n_lower, grouped.n_equal, grouped.n_higher) == (once.n_lower, once.n_equal, once.n_higher)
    assert once.n_units == 14 and once.high - once.low > 0
    assert (once.low, once.high) != pytest.approx(tuple(np.ravel(mean_interval(run - base, 0.95))))


def test_the_mean_is_of_cases_and_the_test_of_groups(random):
    """Seven patients of one to seven cases, one of them without a value, by scipy: the test over the means of the patients."""
    patient = np.repeat(np.arange(7), np.arange(1, 8))
    base, run = random.normal(size=(2, 28, 1))
    base[patient == 3] = np.nan
    run[-1] = np.nan
    (found,) = compare_pairs(base, run, groups=[f"{number}" for number in patient])
    differences = (run - base)[:, 0]
    means = np.array([np.nanmean(differences[patient == number]) for number in range(7) if number != 3])
    assert (found.n_pairs, found.n_units) == (23, 6)
    assert found.difference == pytest.approx(np.nanmean(differences))
    assert found.p == pytest.approx(scipy.stats.wilcoxon(means).pvalue)
    assert (found.n_lower, found.n_higher) == ((means < 0).sum(), (means > 0).sum())


def test_rounding_is_no_difference(random):
    base = random.random((30, 1))
    (result,) = compare_pairs(base, base * (1 + 1e-15))
    assert (result.n_equal, result.difference, result.reason) == (30, 0.0, "equal in all 30 cases")


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="at least 1"):
        compare_pairs(np.zeros((0, 1)), np.zeros((0, 1)))
    with pytest.raises(ValueError, match=r"of one shape \(N, M\), but got \(3, 1\) and \(4, 1\)"):
        compare_pairs(np.zeros((3, 1)), np.zeros((4, 1)))
    with pytest.raises(ValueError, match=r"of one shape \(N, M\), but got \(3,\) and \(3,\)"):
        compare_pairs(np.zeros(3), np.zeros(3))
