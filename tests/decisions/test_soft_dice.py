"""Soft Dice confidence and the Dice that it foretells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from nnunet_nacl.decisions import soft_dice_confidence
from nnunet_nacl.decisions.dice_estimate import fit_dice


def test_it_is_its_definition() -> None:
    random = np.random.default_rng(0)
    p = random.random(1000)
    mask = p > 0.5
    expected = 2 * (p * mask).sum() / (p.sum() + mask.sum())
    assert soft_dice_confidence((p * mask).sum(), p.sum(), mask.sum()) == pytest.approx(expected)


def test_it_is_the_mean_dice_of_calibrated_probabilities() -> None:
    random = np.random.default_rng(1)
    p = random.beta(0.3, 0.6, 5000)
    mask = p > 0.5
    dice = []
    for _ in range(200):
        truth = random.random(p.size) < p
        dice.append(2 * (truth & mask).sum() / (truth.sum() + mask.sum()))
    assert soft_dice_confidence(p[mask].sum(), p.sum(), mask.sum()) == pytest.approx(np.mean(dice), abs=2e-3)


def test_edges() -> None:
    assert np.isnan(soft_dice_confidence(0.0, 0.0, 0))
    assert soft_dice_confidence(0.0, 1e-3, 0) == 0
    assert soft_dice_confidence(10.0 + 1e-6, 10.0, 10) == 1


def test_the_bound_of_the_dice_covers() -> None:
    random = np.random.default_rng(2)
    above = 0
    for _ in range(1000):
        dice = random.beta(8, 2, 31)
        confidence = np.clip(dice + random.normal(0.05, 0.05, 31), 0, 1)
        estimate, bound = fit_dice(confidence[:-1], dice[:-1]).apply(confidence[-1:])
        assert bound[0] <= estimate[0]
        above += dice[-1] >= bound[0]
    assert binomtest(above, 1000, 0.9, alternative="less").pvalue > 1e-3
    assert above / 1000 < 0.95


def test_patients_weigh_alike() -> None:
    # one patient with 100 bad cases does not outweigh nine good ones
    dice, groups = np.array([0.9] * 9 + [0.1] * 100), np.array([*range(9), *[9] * 100])
    estimate, _ = fit_dice(np.full(109, 0.9), dice, 0.9, groups).apply([0.9])
    assert estimate[0] == pytest.approx(0.9)
    with pytest.raises(ValueError, match="at least 9 patients, but got 2"):
        fit_dice([0.9] * 20, [0.9] * 20, 0.9, np.arange(20) // 10)


def test_of_few_voxels_it_is_above_the_mean_dice() -> None:
    """One uncertain voxel of probability p is a Dice of 1 with that probability, and 2 p / (1 + p) is more; of a thousand it is the same."""
    assert soft_dice_confidence(0.6, 0.6, 1) == pytest.approx(0.75)
    random = np.random.default_rng(3)
    for n_voxels, excess in ((1, 0.09), (5, 0.012), (20, 0.003), (1000, 0.0)):
        p = random.beta(2, 1, (20_000 if n_voxels < 100 else 200, n_voxels))
        mask, truth = p > 0.5, random.random(p.shape) < p
        there = mask.any(1)
        dice = 2 * (truth & mask).sum(1)[there] / (truth.sum(1) + mask.sum(1))[there]
        sure = soft_dice_confidence((p * mask).sum(1), p.sum(1), mask.sum(1))[there]
        assert (sure - dice).mean() == pytest.approx(excess, abs=0.008 if n_voxels < 5 else 0.004)


def test_no_estimate_and_no_bound_is_beyond_a_dice() -> None:
    """What is added is 0.3, or taken away, in all nine cases of the fit."""
    above = fit_dice(np.full(9, 0.5), np.full(9, 0.8)).apply([0.1, 0.6, 0.9])
    below = fit_dice(np.full(9, 0.8), np.full(9, 0.5)).apply([0.1, 0.6, 0.9])
    for found, expected in ((above, [0.4, 0.9, 1.0]), (below, [0.0, 0.3, 0.6])):
        assert found[0].tolist() == found[1].tolist() == pytest.approx(expected)
