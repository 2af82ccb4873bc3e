"""Intervals over cases: against scipy and by hand, groups, what is undefined, and their coverage."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.calibration import CalibrationStatistics, intervals
from nnunet_nacl.calibration.intervals import mean_interval, p_of_zero, pooled_interval, sums_without_each
from nnunet_nacl.calibration.scores import expected_calibration_error
from nnunet_nacl.calibration.statistics import total


@pytest.fixture
def random():
    return np.random.default_rng(7)


def bins_of_cases(random, n_cases, classes=3, bins=15):
    """Statistics of random cases of different size and sharpness."""
    cases = []
    for size in random.integers(50, 400, size=n_cases):
        logits = random.normal(size=(classes, size)) * random.uniform(0.5, 4)
        probabilities = np.exp(logits) / np.exp(logits).sum(0)
        statistics = CalibrationStatistics.empty(classes, bins)
        statistics.update(probabilities, random.integers(classes, size=size))
        cases.append(statistics)
    return cases


def pooled_ece(sums):
    return expected_calibration_error(sums["count"], sums["confidence"], sums["correct"])


def top_label_arrays(cases):
    stacks = zip(*(case.top_label_bins("predicted") for case in cases), strict=True)
    return dict(zip(("count", "confidence", "correct"), map(np.stack, stacks), strict=True))


def by_definition(values, level=0.95):
    """Hall's interval by solving h(T) = quantile numerically, case by case."""
    n, mean, deviation = len(values), np.mean(values), np.std(values, ddof=1)
    skewness = scipy.stats.skew(values)

    def distance(truth, quantile):
        t = (mean - truth) / deviation
        h = t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / (6 * n)
        return np.sqrt(n) * h - quantile

    reach = 1e3 * deviation
    quantile = scipy.stats.t.ppf((1 + level) / 2, n - 1)
    return [scipy.optimize.brentq(distance, mean - reach, mean + reach, args=(side * quantile,)) for side in (1, -1)]


@pytest.mark.parametrize("n", [5, 12, 60])
def test_it_is_halls_transformation(random, n):
    values = random.gamma(1, size=n)
    np.testing.assert_allclose(mean_interval(values), by_definition(values), rtol=1e-9)
    np.testing.assert_allclose(mean_interval(-values, 0.8), by_definition(-values, 0.8), rtol=1e-9)


def test_without_skewness_it_is_the_t_interval(random):
    half = random.normal(size=15)
    values = np.r_[3 + half, 3 - half]
    theirs = scipy.stats.t.interval(0.95, 29, 3, scipy.stats.sem(values))
    np.testing.assert_allclose(mean_interval(values), theirs, rtol=1e-6)


def test_it_covers_as_the_studentized_bootstrap(random):
    """Of skewed values, the two agree to a tenth of the width; the percentile interval misses to the right."""
    values = random.lognormal(size=40)
    low, high = mean_interval(values)
    drawn = random.integers(40, size=(20_000, 40))
    means, errors = values[drawn].mean(1), scipy.stats.sem(values[drawn], axis=1)
    quantiles = np.quantile((means - values.mean()) / errors, [0.975, 0.025])
    studentized = values.mean() - quantiles * scipy.stats.sem(values)
    np.testing.assert_allclose([low, high], studentized, atol=0.1 * (high - low))
    assert high > np.quantile(means, 0.975)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30), st.floats(0.1, 5), st.floats(-3, 3))
def test_units_and_sides(values, factor, shift):
    """Another unit or origin moves the ends along; the negative values have the negative interval; the mean is inside."""
    low, high = mean_interval(values)
    moved = mean_interval(factor * np.array(values) + shift)
    width = max(1.0, np.abs(values).max())
    np.testing.assert_allclose(moved, (factor * low + shift, factor * high + shift), atol=1e-5 * width)
    np.testing.assert_allclose(mean_interval(-np.array(values)), (-high, -low), atol=1e-9 * width)
    assert low - 1e-9 * width <= np.mean(values) <= high + 1e-9 * width


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30), st.integers(1, 4), st.sampled_from([0.5, 0.9, 0.95]))
def test_p_of_zero_is_that_of_the_interval(values, size, level):
    groups = [str(number // size) for number in range(len(values))]
    p = p_of_zero(values, groups)
    low, high = mean_interval(values, level, groups)
    if np.isnan(p):
        assert np.isnan(low) and len(set(groups)) == 1
    elif abs(p - (1 - level)) > 1e-6:
        assert (p > 1 - level) == (low <= 0 <= high)


def test_p_of_zero_without_skewness_is_that_of_the_t_test(random):
    half = random.normal(size=15)
    values = np.r_[0.3 + half, 0.3 - half]
    assert p_of_zero(values) == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue, rel=1e-6)
    assert p_of_zero(np.c_[np.zeros(4), np.ones(4), [np.nan] * 3 + [1]]).tolist() == pytest.approx(
        [1, 0, np.nan], nan_ok=True
    )


def test_missing_values_are_left_out(random):
    values = random.gamma(2, size=(30, 4))
    values[random.random(values.shape) < 0.3] = np.nan
    low, high = mean_interval(values)
    assert low.shape == high.shape == (4,)
    for column in range(4):
        alone = values[:, column]
        expected = by_definition(alone[~np.isnan(alone)])
        np.testing.assert_allclose((low[column], high[column]), expected, rtol=1e-9)


def coverage(draw, truth, n, random, n_sets=1500):
    low, high = mean_interval(draw(random, (n, n_sets)))
    return ((low <= truth) & (truth <= high)).mean()


NORMAL = (lambda random, size: random.normal(size=size), 0.0)
LOGNORMAL = (lambda random, size: random.lognormal(0, 1, size), np.exp(0.5))


@pytest.mark.parametrize(
    ("population", "n", "lowest"),
    [(NORMAL, 5, 0.93), (NORMAL, 20, 0.93), (LOGNORMAL, 5, 0.83), (LOGNORMAL, 10, 0.86), (LOGNORMAL, 40, 0.88)],
)
def test_coverage(random, population, n, lowest):
    """Skewed scores: percentile bootstrap intervals hold the mean in 71, 80 and 88 % with 5, 10 and 40 cases."""
    assert lowest < coverage(*population, n, random) < 0.98


def near_zero(random, n):
    """Bins of cases that are too sure or too unsure by 0.08, and by 0 on average: together their ECE is nearly 0."""
    size = random.lognormal(7, 0.8, size=n).astype(int) + 50
    confidence = np.linspace(0.52, 0.98, 15)
    count = random.multinomial(size, np.r_[np.full(14, 0.03), 0.58])
    slope = random.normal(0, 0.08, size=n)[:, None] * np.linspace(2, 0.3, 15)
    correct = random.binomial(count, np.clip(confidence - slope, 0, 1))
    return {"count": count, "confidence": count * confidence, "correct": correct}


def test_coverage_of_a_pooled_ece_near_zero(random):
    """Every bootstrap replicate has more error than the data, so that percentile intervals never hold the truth here."""
    many = near_zero(random, 100_000)
    truth = pooled_ece({name: stack.sum(0)[None] for name, stack in many.items()})[0]
    held = percentile = 0
    for _ in range(200):
        cases = near_zero(random, 20)
        low, high = pooled_interval(cases, pooled_ece, within=(0, 1))
        held += low <= truth <= high
        weights = random.multinomial(20, np.full(20, 1 / 20), size=200)
        percentile += np.quantile(pooled_ece({name: weights @ stack for name, stack in cases.items()}), 0.025) <= truth
    assert held >= scipy.stats.binom.ppf(0.001, 200, 0.9)
    assert percentile <= 2


def test_pooled_ece_equals_leaving_cases_out(random):
    cases = bins_of_cases(random, 9)
    without = [total(cases[:left] + cases[left + 1 :]).scores("predicted").ece for left in range(9)]
    deviation = np.sqrt(8 / 9 * ((without - np.mean(without)) ** 2).sum())
    whole = total(cases).scores("predicted").ece
    low, high = pooled_interval(top_label_arrays(cases), pooled_ece)
    np.testing.assert_allclose([low, high], scipy.stats.t.interval(0.95, 8, whole, deviation), rtol=1e-9)


def test_a_pooled_mean_is_the_t_interval(random):
    values = random.gamma(2, size=25)
    low, high = pooled_interval({"sum": values, "n": np.ones(25)}, lambda sums: sums["sum"] / sums["n"])
    np.testing.assert_allclose([low, high], scipy.stats.t.interval(0.95, 24, values.mean(), scipy.stats.sem(values)))


def test_groups_are_units(random):
    """Each case twice under one group says no more than once, and without the group the interval is too narrow."""
    values = random.gamma(2, size=(12, 3))
    twice = np.concatenate([values, values])
    names = [f"patient {number}" for number in range(12)] * 2
    np.testing.assert_allclose(mean_interval(twice, groups=names), mean_interval(values), rtol=1e-12)
    assert (np.subtract(*mean_interval(twice)[::-1]) < np.subtract(*mean_interval(values)[::-1])).all()
    arrays = {"a": values, "n": random.integers(5, 9, size=(12, 1))}

    def share(sums):
        return sums["a"] / sums["n"]

    doubled = {name: np.concatenate([stack, stack]) for name, stack in arrays.items()}
    np.testing.assert_allclose(pooled_interval(doubled, share, groups=names), pooled_interval(arrays, share))


def test_groups_of_one_case_change_nothing(random):
    values = random.gamma(2, size=(12, 3))
    values[3, 1] = np.nan
    np.testing.assert_allclose(mean_interval(values, groups=list("abcdefghijkl")), mean_interval(values), rtol=1e-12)


def test_coverage_with_groups(random):
    """Two cases of a patient that share most of what they are: the groups' interval covers, that of the cases does not."""
    names = [str(number // 2) for number in range(40)]
    held = {"groups": 0, "cases": 0}
    for _ in range(300):
        values = np.repeat(random.normal(size=20), 2) + 0.3 * random.normal(size=40)
        for key, groups in (("groups", names), ("cases", None)):
            low, high = mean_interval(values, groups=groups)
            held[key] += low <= 0 <= high
    assert held["groups"] >= scipy.stats.binom.ppf(0.001, 300, 0.95)
    assert held["cases"] <= scipy.stats.binom.ppf(0.001, 300, 0.93)


def test_a_group_of_most_cases_widens_the_interval(random):
    """Two of ten patients have twenty cases each: that of the linearised mean held in 64 %, that of the means without each patient in 80 %."""
    held = []
    for _ in range(300):
        sizes = np.where(np.arange(10) < 2, 20, 1)
        groups = np.repeat(np.arange(10), sizes)
        values = random.normal(size=10)[groups] + 0.3 * random.normal(size=groups.size)
        low, high = mean_interval(values, groups=list(map(str, groups)))
        held.append(low <= 0 <= high)
    assert np.mean(held) > 0.7


def test_groups_of_one_size_have_the_interval_of_their_means(random):
    values, groups = random.gamma(2, size=24), [str(number % 8) for number in range(24)]
    np.testing.assert_allclose(mean_interval(values, groups=groups), mean_interval(values.reshape(3, 8).mean(0)))


def test_chunks_do_not_change_the_sums(random, monkeypatch):
    arrays = {"a": random.integers(10**12, size=(7, 3, 2)), "b": random.integers(5, size=7)}
    whole = list(sums_without_each(arrays))
    monkeypatch.setattr(intervals, "CHUNK_BYTES", 120)
    pieces = list(sums_without_each(arrays))
    assert len(whole) == 1 and len(pieces) > 3
    for name, stack in arrays.items():
        joined = np.concatenate([piece[name] for piece in pieces])
        np.testing.assert_array_equal(joined, whole[0][name])
        np.testing.assert_array_equal(joined, stack.sum(0)[None] - stack)


def test_no_interval_reaches_beyond_the_range(random):
    values = 1 - 0.02 * random.gamma(1, size=(6, 2))
    assert (mean_interval(values)[1] > 0.99).all()
    low, high = mean_interval(np.c_[values, values], within=([0.97, 0, 0, 0], [1, 1, 0.985, 1]))
    assert low[0] >= 0.97 and high.max() <= 1 and high[2] <= 0.985


def test_one_case_has_no_interval():
    assert np.isnan(mean_interval([0.3])).all()
    interval = pooled_interval({"a": np.ones((1, 4))}, lambda sums: sums["a"])
    assert np.shape(interval) == (2, 4)
    assert np.isnan(interval).all()


def test_one_case_with_a_value_has_no_interval():
    values = np.full((50, 3), np.nan)
    values[0, 0] = 0.5
    values[:2, 1] = 0.4, 0.6
    low, high = mean_interval(values)
    assert np.isnan([low[0], high[0], low[2], high[2]]).all()
    # of two: t with one degree of freedom, and as wide as that
    assert (low[1], high[1]) == pytest.approx(scipy.stats.t.interval(0.95, 1, 0.5, 0.1))


@pytest.mark.parametrize("n_cases", [2, 3, 50])
def test_pooled_statistic_of_one_contributing_case_has_no_interval(n_cases):
    count = np.zeros((n_cases, 2))
    count[0] = 10
    count[1, 1] = 30
    right = count * [[0.5]]
    right[1] *= 1.5

    def share(sums):
        with np.errstate(invalid="ignore"):
            return sums["right"] / sums["count"]

    low, high = pooled_interval({"count": count, "right": right}, share, within=(0, 1))
    assert np.isnan([low[0], high[0]]).all()
    # two cases of 50 contribute: one degree of freedom, not 49
    assert (low[1], high[1]) == (0, 1)


def test_equal_values_have_an_interval_of_no_width():
    low, high = mean_interval(np.full(7, 0.1))
    assert low == high == pytest.approx(0.1)


def test_no_column():
    low, high = mean_interval(np.empty((5, 0)))
    assert low.shape == high.shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(np.zeros((2, 2, 2))), r"`values` to have shape .* but got \(2, 2, 2\)"),
        (lambda: mean_interval([1.0, np.inf]), "`values` to be finite or NaN"),
        (lambda: mean_interval([]), "at least 1, on the first axis"),
        (lambda: mean_interval([1.0, 2.0], level=95), "`level` to be between 0 and 1, but got 95"),
        (lambda: mean_interval([1.0, 2.0], level=0), "`level` to be between 0 and 1, but got 0"),
        (lambda: mean_interval([1.0, 2.0], level=1), "`level` to be between 0 and 1, but got 1"),
        (lambda: mean_interval([1.0, 2.0], groups=["a"]), "`groups` to name the group of 2 cases, but got 1 names"),
        (lambda: list(sums_without_each({"a": np.zeros(3), "b": np.zeros(4)})), "arrays of one number of cases"),
    ],
)
def test_unusable_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
