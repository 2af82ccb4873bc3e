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
