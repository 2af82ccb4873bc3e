"""The signed-rank test: against all sign patterns, against scipy's permutation method, ties, units, and the error rate it promises."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.evaluation.surface import hd95
from nnunet_nacl.study.paired import compare_pairs
from nnunet_nacl.study.signed_rank import EXACT_UP_TO, rank_biserial, signed_rank_test, smallest_p


@pytest.fixture
def random():
    return np.random.default_rng(11)


def by_all_patterns(differences):
    """The two-sided p from all 2^n sign patterns."""
    unequal = differences[differences != 0]
    ranks = scipy.stats.rankdata(np.abs(unequal))
    patterns = np.array(list(itertools.product([-1, 1], repeat=unequal.size)))
    return (np.abs(patterns @ ranks) >= abs((ranks * np.sign(unequal)).sum()) - 1e-9).mean()


def test_a_thousand_tied_samples_are_scipys_permutation_test(random):
    """Multiples of a step, as HD95 and counts come."""
    for size in ((1000, 6), (50, 7)):
        samples = random.choice([-3.0, -2, -1, 1, 2, 3, 4], size=size)
        every_pattern = scipy.stats.PermutationMethod(n_resamples=np.inf)
        expected = scipy.stats.wilcoxon(samples, axis=1, method=every_pattern).pvalue
        found = [signed_rank_test(np.append(differences, [0.0, 0.0])) for differences in samples]
        assert {method for _, method, _ in found} == {"exact"}
        np.testing.assert_allclose([p for p, _, _ in found], expected, rtol=0, atol=1e-12)


def test_a_thousand_tied_samples_by_all_sign_patterns(random):
    for _ in range(1000):
        differences = random.choice([-3.0, -2, -1, 1, 2, 3, 4], size=random.integers(6, 11))
        assert signed_rank_test(differences)[0] == pytest.approx(by_all_patterns(differences), abs=1e-12)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12))
def test_exact_p_by_all_sign_patterns(differences):
    differences = np.array(differences, float)
    if np.count_nonzero(differences) >= 6:
        assert signed_rank_test(differences)[0] == pytest.approx(by_all_patterns(differences), abs=1e-12)


@pytest.mark.parametrize("n", [7, 50, 200, EXACT_UP_TO])
def test_without_ties_it_is_scipys_exact_test(random, n):
    differences = random.normal(loc=0.1, size=n)
    expected = scipy.stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank_test(np.append(differences, [0.0, 0.0])) == (pytest.approx(expected, rel=1e-9), "exact", "")


def test_beyond_it_is_scipys_approximation(random):
    differences = random.normal(loc=0.1, size=EXACT_UP_TO + 1)
    expected = scipy.stats.wilcoxon(differences, correction=True, method="approx").pvalue
    assert signed_rank_test(differences) == (pytest.approx(expected), "asymptotic", "")


def test_as_much_on_either_side_is_a_p_of_one():
    differences = np.r_[np.arange(1.0, EXACT_UP_TO), -np.arange(1.0, EXACT_UP_TO)]
    assert scipy.stats.wilcoxon(differences, correction=True, method="approx").pvalue == 1
    assert signed_rank_test(differences) == (1.0, "asymptotic", "")


@pytest.mark.parametrize("positive", [270, 281, 290])
def test_the_approximation_knows_the_step_of_tied_ranks(positive):
    """All magnitudes equal makes it the sign test, whose p is binomial: half a step, not half a rank, is the correction."""
    n = EXACT_UP_TO + 20
    p, method, _ = signed_rank_test(np.r_[np.ones(positive), -np.ones(n - positive)])
    assert method == "asymptotic"
    assert p == pytest.approx(scipy.stats.binomtest(positive, n).pvalue, rel=0.02)


def test_many_ties_at_size_are_the_sign_test():
    p, method, _ = signed_rank_test(np.r_[np.full(250, 0.7), np.full(200, -0.7)])
    assert (p, method) == (pytest.approx(scipy.stats.binomtest(250, 450).pvalue, rel=1e-9), "exact")


def attainable_level(n, alpha=0.05):
    """The largest p not above alpha of the exact two-sided test with n pairs, from all sign patterns."""
    sums = np.zeros(1, dtype=np.int64)
    for rank in range(1, n + 1):
        sums = np.add.outer(sums, [0, rank]).ravel()
    distance = np.abs(2 * sums - n * (n + 1) // 2)
    shares = [(distance >= value).mean() for value in np.unique(distance)]
    return max(share for share in shares if share <= alpha)


def within_binomial(count, n, share):
    """Whether a count is within the central 99.9 % of its binomial distribution."""
    low, high = scipy.stats.binom.interval(0.999, n, share)
    return low <= count <= high


def test_false_positive_rate_is_the_level(random):
    n_cases, n_sets = 12, 2000
    differences = random.laplace(size=(n_sets, n_cases)) * random.uniform(0.1, 3, size=n_cases)
    p = np.array([signed_rank_test(each)[0] for each in differences])
    assert within_binomial((p < 0.05).sum(), n_sets, attainable_level(n_cases))


@pytest.mark.parametrize("n_cases", [8, 25])
def test_false_positive_rate_with_ties_and_zeros(random, n_cases):
    """Differences that are often 0 and come in steps: the rate stays below the level, by the step of p."""
    n_sets = 1500
    samples = random.integers(-3, 4, size=(n_sets, n_cases)) / 100
    p = np.array([signed_rank_test(each)[0] for each in samples])
    assert (p < 0.05).sum() <= scipy.stats.binom.ppf(0.999, n_sets, 0.05)
    assert (p < 0.05).sum() >= scipy.stats.binom.ppf(0.001, n_sets, 0.015)


UNITS = (1.0, 0.5, 0.7, 0.9, 1.1, 1 / 3, 1e-4, 25.4)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(-3, 3)), min_size=6, max_size=30))
def test_units_do_not_change_p(pairs):
    """Multiples of the spacing, in voxels and in mm: rounding must not rank what is equal."""
    base = np.array([value for value, _ in pairs], float)
    run = base + np.array([change for _, change in pairs])
    found = {
        (result.p, result.rank_biserial, result.n_lower, result.n_equal, result.n_higher)
        for unit in UNITS
        for result in compare_pairs(base[:, None] * unit, run[:, None] * unit)
        if not np.isnan(result.p)
    }
    assert len(found) <= 1


def test_hd95_in_any_spacing(random):
    """A bar moved by whole voxels: twelve cases of which three get better, so p is that of nine tied against three."""

    def moved(shift, spacing):
        masks = np.zeros((2, 24, 40), bool)
        masks[0, 4:10, 4:10] = masks[1, 4:10, 4 + shift : 10 + shift] = True
        return hd95(*masks, (spacing, spacing))

    base = [8, 4, 3, 7, 9, 11, 3, 6, 7, 6, 6, 4]
    change = [1, 1, -1, 1, 1, -1, 1, -1, 1, 1, 1, 1]
    for spacing in (1.0, 0.5, 0.7, 0.9, 1.1):
        pairs = [
            (moved(shift, spacing), moved(shift + more, spacing)) for shift, more in zip(base, change, strict=True)
        ]
        (result,) = compare_pairs(*(np.array(side)[:, None] for side in zip(*pairs, strict=True)))
        assert result.p == pytest.approx(scipy.stats.binomtest(3, 12).pvalue, abs=1e-12)
        assert result.rank_biserial == pytest.approx(0.5)


@given(st.lists(st.integers(-5, 5), min_size=6, max_size=25), st.randoms())
def test_p_knows_no_order_and_no_side(differences, random):
    values = np.array(differences, float)
    shuffled = values.copy()
    random.shuffle(shuffled)
    p = signed_rank_test(values)[0]
    np.testing.assert_equal(signed_rank_test(-values)[0], p)
    np.testing.assert_equal(signed_rank_test(shuffled)[0], p)


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
    assert signed_rank_test(np.ones(6))[0] == 2 / 2**6
