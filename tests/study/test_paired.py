"""Paired statistics: worked examples, agreement with scipy, and the error rates that they promise."""

import itertools

import numpy as np
import pytest
import scipy.stats

from nnunet_nacl.study.paired import compare_pairs, holm, rank_biserial, signed_rank_test, smallest_p


@pytest.fixture
def random():
    return np.random.default_rng(11)


def within_binomial(count, n, share):
    """Whether a count is within the central 99.9 % of its binomial distribution."""
    low, high = scipy.stats.binom.interval(0.999, n, share)
    return low <= count <= high


def attainable_level(n, alpha=0.05):
    """The largest p not above alpha of the exact two-sided test with n pairs, from all sign patterns."""
    sums = np.zeros(1, dtype=np.int64)
    for rank in range(1, n + 1):
        sums = np.add.outer(sums, [0, rank]).ravel()
    distance = np.abs(2 * sums - n * (n + 1) // 2)
    shares = [(distance >= value).mean() for value in np.unique(distance)]
    return max(share for share in shares if share <= alpha)


def test_false_positive_rate_is_the_level(random):
    n_cases, n_sets = 12, 2000
    base = random.normal(size=(n_cases, n_sets))
    run = base + random.laplace(size=base.shape) * random.uniform(0.1, 3, size=n_cases)[:, None]
    p = np.array([result.p for result in compare_pairs(base, run, replicates=10)])
    assert within_binomial((p < 0.05).sum(), n_sets, attainable_level(n_cases))


def test_false_positive_rate_with_ties_and_zeros(random):
    """Dice differences that are often 0 and come in steps: the normal approximation must not exceed the level."""
    n_sets = 1500
    differences = random.integers(-3, 4, size=(25, n_sets)) / 100
    results = compare_pairs(np.full(differences.shape, 0.5), 0.5 + differences, replicates=10)
    assert {result.method for result in results} == {"asymptotic"}
    count = sum(result.p < 0.05 for result in results)
    assert count <= scipy.stats.binom.ppf(0.999, n_sets, 0.05)
    assert count >= scipy.stats.binom.ppf(0.001, n_sets, 0.03)


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


def test_holm_by_hand():
    """p .01 .04 .03 .005: 4 x .005, 3 x .01, 2 x .03, then .04 raised to .06, since the steps never fall."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, np.nan, 0.7])), [1.0, np.nan, 1.0])
    assert np.isnan(holm(np.array([np.nan]))).all()
    assert holm(np.array([])).shape == (0,)


def test_exact_p_by_all_sign_patterns(random):
    differences = random.normal(loc=0.4, size=9)
    ranks = scipy.stats.rankdata(np.abs(differences))
    observed = abs((ranks * np.sign(differences)).sum())
    patterns = np.array(list(itertools.product([-1, 1], repeat=9)))
    expected = (np.abs(patterns @ ranks) >= observed).mean()
    assert signed_rank_test(differences) == (pytest.approx(expected), "exact", "")


@pytest.mark.parametrize(
    ("n", "ties", "method"), [(50, False, "exact"), (51, False, "asymptotic"), (30, True, "asymptotic")]
)
def test_p_is_scipys(random, n, ties, method):
    differences = random.normal(loc=0.2, size=n)
    differences = differences.round(1) if ties else differences
    differences = differences[differences != 0]
    theirs = scipy.stats.wilcoxon(
        np.append(differences, [0, 0]), correction=True, method="auto" if not ties else "approx"
    )
    expected = theirs.pvalue if method == "asymptotic" else scipy.stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_test(np.append(differences, [0.0, 0.0])) == (pytest.approx(expected), method, "")


def test_rank_biserial_by_hand():
    """|d| 1, 2, 3, 4 with -, +, +, +: (9 - 1) / 10."""
    assert rank_biserial(np.array([-1.0, 2.0, 3.0, 4.0, 0.0])) == pytest.approx(0.8)
    assert rank_biserial(np.array([-1.0, -5.0])) == -1
    assert np.isnan(rank_biserial(np.zeros(3)))


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ([], "no case has a value in both runs"),
        ([0.0] * 40, "equal in all 40 cases"),
        ([0.0], "equal in all 1 case"),
        ([0.1, -0.2, 0.3, 0.4, 0.5, 0, 0], "differs in 5 cases only, and fewer than 6 cannot give p < 0.05"),
    ],
)
def test_no_test(differences, reason):
    p, method, said = signed_rank_test(np.array(differences))
    assert np.isnan(p)
    assert (method, said) == ("", reason)


def test_six_pairs_are_enough():
    p, method, _ = signed_rank_test(np.arange(1.0, 7.0))
    assert (p, method) == (2 / 2**6, "exact")
    assert p == smallest_p(6) < 0.05 < smallest_p(5)


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


def test_rounding_is_no_difference(random):
    base = random.random((30, 1))
    (result,) = compare_pairs(base, base * (1 + 1e-15))
    assert (result.n_equal, result.difference, result.reason) == (30, 0.0, "equal in all 30 cases")


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"of one shape \(N, M\), but got \(3, 1\) and \(4, 1\)"):
        compare_pairs(np.zeros((3, 1)), np.zeros((4, 1)))
