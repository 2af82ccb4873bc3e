"""Fits of factors on arrays: known ones are found again, an independent optimiser agrees, and no optimum is marked as such."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit, softmax

from nnunet_nacl.calibration.log_probabilities import floor_of, log_probabilities, two_classes
from nnunet_nacl.calibration.temperature import (
    HIGHEST_FACTOR,
    LOWEST_FACTOR,
    NoVoxelsError,
    fit_factors,
    negative_log_likelihood,
)

FLOOR = floor_of(np.dtype(np.float32))


def oracle(n_voxels, num_classes=3, seed=0):
    """Return a posterior of varied confidence and labels drawn from it voxel by voxel."""
    rng = np.random.default_rng(seed)
    posterior = softmax(3 * rng.normal(size=(num_classes, n_voxels)), axis=0)
    labels = (rng.random(n_voxels) > np.cumsum(posterior, axis=0)[:-1]).sum(0)
    return posterior, labels


def once(probabilities, labels):
    return lambda: [(log_probabilities(probabilities, FLOOR), labels)]


def test_sharpened_oracle_is_repaired():
    posterior, labels = oracle(200_000)
    sharp = softmax(np.log(posterior) / 0.5, axis=0).astype(np.float32)
    fit = fit_factors(once(sharp, labels), 3)
    assert 1 / fit.factors == pytest.approx([2.0] * 3, rel=0.01)
    assert fit.converged
    assert fit.nll_after < fit.nll_before
    assert fit.n_voxels == 200_000
    assert fit.at_bound == fit.held == ()


def test_known_factors_per_class_are_found():
    known = np.array([0.4, 0.8, 1.5])
    given, _ = oracle(400_000)
    # the posterior is that of which the factors make the given probabilities
    posterior = softmax(np.log(given) * known[:, None], axis=0)
    labels = (np.random.default_rng(1).random(400_000) > np.cumsum(posterior, axis=0)[:-1]).sum(0)
    fit = fit_factors(once(given, labels), 3, per_class=True)
    np.testing.assert_allclose(fit.factors, known, rtol=0.02)
    assert fit.nll_after < fit_factors(once(given, labels), 3).nll_after


def test_regions_with_known_temperatures_are_found():
    rng = np.random.default_rng(0)
    for temperature in (2.0, 0.5):
        posterior = expit(3 * rng.normal(size=300_000))
        inside = rng.random(posterior.size) < posterior
        given = expit(logit(posterior) * temperature).astype(np.float32)
        fit = fit_factors(once(two_classes(given), inside.astype(int)), 2)
        assert 1 / fit.factors[0] == pytest.approx(temperature, rel=0.01)


def test_agrees_with_a_root_of_the_derivative():
    """brentq on an independently written derivative."""
    posterior, labels = oracle(5_000, num_classes=4)
    logits = np.log(posterior) * 1.7

    def slope(factor):
        q = softmax(factor * logits, axis=0)
        return ((q * logits).sum(0) - logits[labels, np.arange(labels.size)]).sum()

    fit = fit_factors(lambda: [(logits, labels)], 4)
    assert fit.factors[0] == pytest.approx(brentq(slope, 0.01, 10), rel=1e-6)


@pytest.mark.parametrize("n_pieces", [2, 7])
@pytest.mark.parametrize("per_class", [False, True])
def test_pieces_give_the_same_fit(n_pieces, per_class):
    posterior, labels = oracle(3_000)
    logarithm = 1.5 * np.log(posterior)
    pieces = list(zip(np.array_split(logarithm, n_pieces, 1), np.array_split(labels, n_pieces), strict=True))
    whole = fit_factors(lambda: [(logarithm, labels)], 3, per_class)
    parts = fit_factors(lambda: pieces, 3, per_class)
    np.testing.assert_allclose(parts.factors, whole.factors, rtol=1e-6)
    assert parts.nll_before == pytest.approx(whole.nll_before, rel=1e-12)


def test_gradient_is_that_of_the_value_and_the_value_is_convex():
    posterior, labels = oracle(500, num_classes=5)
    logarithm = np.log(posterior)
    rng = np.random.default_rng(3)
    for _ in range(20):
        here, there = rng.uniform(0.1, 3, (2, 5))
        nats, gradient = negative_log_likelihood(logarithm, labels, here)
        for number, slope in enumerate(gradient):
            step = np.zeros(5)
            step[number] = 1e-5
            ahead, behind = (negative_log_likelihood(logarithm, labels, here + sign * step)[0] for sign in (1, -1))
            assert slope == pytest.approx((ahead - behind) / 2e-5, rel=1e-4, abs=1e-4)
        between = negative_log_likelihood(logarithm, labels, (here + there) / 2)[0]
        assert between <= (nats + negative_log_likelihood(logarithm, labels, there)[0]) / 2 + 1e-9
        expected = -np.log(softmax(logarithm * here[:, None], axis=0))[labels, np.arange(500)].sum()
        assert nats == pytest.approx(expected, rel=1e-12)


def test_a_network_without_errors_ends_at_the_bound():
    posterior, _ = oracle(1_000)
    fit = fit_factors(once(posterior, posterior.argmax(0)), 3)
    assert fit.factors[0] == pytest.approx(HIGHEST_FACTOR)
    assert fit.at_bound == (0, 1, 2)
    fit = fit_factors(once(posterior, posterior.argmin(0)), 3)
    assert fit.factors[0] == pytest.approx(LOWEST_FACTOR)


@pytest.mark.parametrize("lowest", [0.55, 0.9, 1 - 1e-5, 1 - 1e-9])
@pytest.mark.parametrize("per_class", [False, True])
def test_where_no_voxel_is_wrong_there_is_no_optimum_however_flat_the_likelihood(lowest, per_class):
    """The optimiser's own tolerance ended these fits at factors of 52 to 1, unmarked."""
    rng = np.random.default_rng(0)
    confidence, labels = rng.uniform(lowest, 1 - (1 - lowest) / 10, 5000), rng.integers(0, 2, 5000)
    probabilities = np.where(labels == 0, [confidence, 1 - confidence], [1 - confidence, confidence])
    fit = fit_factors(once(probabilities, labels), 2, per_class)
    assert fit.separable
    assert fit.at_bound == (0, 1)
    assert fit.factors.max() == HIGHEST_FACTOR
    assert fit.nll_after <= fit.nll_before
    labels[0] = 1 - labels[0]
    fit = fit_factors(once(probabilities, labels), 2, per_class)
    assert not fit.separable


def test_a_class_without_labels_has_the_common_factor():
    posterior, labels = oracle(2_000)
    kept = labels != 2
    blocks = once(posterior[:, kept], labels[kept])
    fit = fit_factors(blocks, 3, per_class=True)
    assert fit.held == (2,)
    assert fit.factors[2] == fit_factors(blocks, 3).factors[0]
    assert len(set(fit.factors)) == 3


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("absent", [None, 1])
def test_the_start_changes_nothing_but_the_time(per_class, absent):
    posterior, labels = oracle(20_000)
    kept = labels != absent
    blocks = once((posterior**2 / (posterior**2).sum(0))[:, kept], labels[kept])
    cold = fit_factors(blocks, 3, per_class)
    warm = fit_factors(blocks, 3, per_class, start=cold.factors)
    np.testing.assert_allclose(warm.factors, cold.factors, rtol=1e-4)
    assert warm.evaluations < cold.evaluations
    assert (warm.nll_before, warm.held) == (cold.nll_before, cold.held)


def test_nothing_to_fit_on():
    with pytest.raises(NoVoxelsError):
        fit_factors(lambda: [], 3)
