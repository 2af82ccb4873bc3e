"""Bootstrap intervals over cases: against scipy and numpy, against a plain loop, and their coverage."""

import numpy as np
import pytest
import scipy.stats

from nnunet_nacl.calibration import CalibrationStatistics, bootstrap
from nnunet_nacl.calibration.bootstrap import (
    case_weights,
    mean_interval,
    percentile_interval,
    pooled_interval,
    resampled_sums,
)
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


def test_means_agree_with_scipy(random):
    values = random.gamma(2, size=37)
    low, high = mean_interval(values, replicates=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    # an end from R replicates has a standard error of about sqrt(0.025 * 0.975 / R) / density, here below 2 % of the width
    tolerance = 0.03 * (high - low)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=tolerance)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=tolerance)


def test_means_equal_a_plain_loop_with_nans(random):
    values = random.normal(size=(12, 4))
    values[random.random(values.shape) < 0.3] = np.nan
    drawn = [np.repeat(values, row.astype(int), axis=0) for row in case_weights(12, 500, seed=3)]
    expected = np.nanquantile([np.nanmean(cases, axis=0) for cases in drawn], [0.05, 0.95], axis=0)
    np.testing.assert_allclose(mean_interval(values, level=0.9, replicates=500, seed=3), expected)


def test_one_column_is_as_good_alone(random):
    values = random.normal(size=(30, 5))
    low, high = mean_interval(values)
    assert low.shape == high.shape == (5,)
    alone = mean_interval(values[:, 2])
    assert alone[0].shape == ()
    np.testing.assert_allclose(alone, (low[2], high[2]), rtol=1e-12)


def test_coverage_of_the_mean(random):
    """For a normal mean the percentile interval covers as mean +- 1.96 s / sqrt(N) with the biased s does."""
    n_cases, n_sets = 40, 2000
    low, high = mean_interval(random.normal(size=(n_cases, n_sets)), replicates=1000)
    nominal = 1 - 2 * scipy.stats.t.sf(1.96 * np.sqrt((n_cases - 1) / n_cases), n_cases - 1)
    covered = int(((low < 0) & (high > 0)).sum())
    assert scipy.stats.binom.cdf(covered, n_sets, nominal) == pytest.approx(0.5, abs=0.499)
    assert 0.925 < covered / n_sets < 0.955


def test_coverage_of_a_pooled_share(random):
    """Of cases whose size and accuracy vary; the truth is the ratio of the expectations."""
    n_cases, n_sets = 60, 500
    sizes = random.integers(100, 1000, size=(n_cases, n_sets))
    chance = np.clip(0.5 + sizes / 2500 + 0.1 * random.normal(size=sizes.shape), 0, 1)
    right = random.binomial(sizes, chance)
    low, high = pooled_interval({"n": sizes, "right": right}, lambda sums: sums["right"] / sums["n"])
    every = np.arange(100, 1000)
    truth = (every * (0.5 + every / 2500)).sum() / every.sum()
    covered = ((low < truth) & (truth < high)).mean()
    assert 0.90 < covered < 0.98


def test_pooled_ece_equals_merged_cases(random):
    cases = bins_of_cases(random, 9)
    merged = [
        total([case for case, times in zip(cases, row, strict=True) for _ in range(int(times))])
        for row in case_weights(9, 200, seed=5)
    ]
    expected = np.quantile([statistics.scores("predicted").ece for statistics in merged], [0.025, 0.975])
    interval = pooled_interval(top_label_arrays(cases), pooled_ece, replicates=200, seed=5)
    np.testing.assert_allclose(interval, expected, rtol=1e-12)


def test_chunks_do_not_change_the_draws(random, monkeypatch):
    arrays = {"a": random.integers(10**12, size=(7, 3, 2)), "b": random.integers(5, size=7)}
    whole = list(resampled_sums(arrays, 100, seed=2))
    monkeypatch.setattr(bootstrap, "CHUNK_BYTES", 3000)
    pieces = list(resampled_sums(arrays, 100, seed=2))
    assert len(whole) == 1
    assert len(pieces) > 5
    for name in arrays:
        joined = np.concatenate([piece[name] for piece in pieces])
        np.testing.assert_array_equal(joined, whole[0][name])
        assert joined.shape == (100, *arrays[name].shape[1:])
    exact = case_weights(7, 100, seed=2).astype(np.int64) @ arrays["a"].reshape(7, -1)
    np.testing.assert_array_equal(whole[0]["a"].reshape(100, -1), exact)


def test_weights_are_multinomial():
    weights = case_weights(25, 4000, seed=0)
    assert (weights.sum(1) == 25).all()
    assert weights.mean() == 1
    # Var = 1 - 1/N and Cov = -1/N, within five standard errors
    np.testing.assert_allclose(np.cov(weights.T), np.eye(25) - 1 / 25, atol=5 * np.sqrt(2 / 4000))


def test_seed(random):
    values = random.normal(size=20)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_one_case_has_no_interval():
    assert np.isnan(mean_interval([0.3])).all()
    interval = pooled_interval({"a": np.ones((1, 4))}, lambda sums: sums["a"])
    assert np.shape(interval) == (2, 4)
    assert np.isnan(interval).all()


def test_one_case_with_a_value_has_no_interval(random):
    values = np.full((50, 3), np.nan)
    values[0, 0] = 0.5
    values[:2, 1] = 0.4, 0.6
    low, high = mean_interval(values)
    assert np.isnan([low[0], high[0], low[2], high[2]]).all()
    assert (low[1], high[1]) == (0.4, 0.6)


@pytest.mark.parametrize("n_cases", [2, 3, 50])
def test_pooled_statistic_of_one_contributing_case_has_no_interval(n_cases):
    count = np.zeros((n_cases, 2))
    count[0] = 10
    count[1, 1] = 20
    right = count * [[0.5]]

    def share(sums):
        with np.errstate(invalid="ignore"):
            return sums["right"] / sums["count"]

    low, high = pooled_interval({"count": count, "right": right}, share)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (0.5, 0.5)


def test_equal_values_have_an_interval_of_no_width():
    low, high = mean_interval(np.full(7, 0.1))
    assert low == high == 0.1


def test_no_column():
    low, high = mean_interval(np.empty((5, 0)))
    assert low.shape == high.shape == (0,)


def test_percentiles_are_numpys(random):
    values = random.normal(size=(101, 3, 2))
    values[random.random(values.shape) < 0.2] = np.nan
    values[:, 1, 1] = np.nan
    values[1:, 2, 0] = np.nan
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(RuntimeWarning, "All-NaN slice")
        expected = np.nanquantile(values, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(percentile_interval(values, 0.95), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval(np.zeros((2, 2, 2))), r"`values` to have shape .* but got \(2, 2, 2\)"),
        (lambda: mean_interval([1.0, np.inf]), "`values` to be finite or NaN"),
        (lambda: mean_interval([]), "at least 1, on the first axis"),
        (lambda: mean_interval([1.0, 2.0], level=95), "`level` to be between 0 and 1, but got 95"),
        (lambda: mean_interval([1.0, 2.0], replicates=0), "`replicates` to be at least 1, but got 0"),
        (lambda: list(resampled_sums({"a": np.zeros(3), "b": np.zeros(4)})), "arrays of one number of cases"),
    ],
)
def test_unusable_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
