"""Volume intervals: coverage in simulated studies, absent structures, whole voxels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from nnunet_nacl.decisions import VolumeInterval, Volumes, fit_interval, leave_one_out
from nnunet_nacl.decisions.volumes import WAYS, choose_way, fit_bounds

STUDIES = 250
VOXEL = 0.001


def simulated(
    random: np.random.Generator, n_cases: int, *, heavy: bool = False, absent: bool = False
) -> tuple[np.ndarray, Volumes]:
    """Return true volumes and predictions whose errors are larger where the spread is."""
    truth = np.round(random.lognormal(0, 0.5, n_cases) / VOXEL)
    trouble = random.lognormal(-3, 0.7, n_cases)
    noise = random.standard_t(1.5, n_cases) if heavy else random.normal(0, 1, n_cases)
    if absent:
        truth[random.random(n_cases) < 0.3] = 0
    seen = np.where(truth > 0, truth, 30 * (random.random(n_cases) < 0.5))
    error = np.clip(trouble * noise + 0.1, -3, 3)  # a bias, which signed errors correct
    hard, soft = np.round(seen * np.exp(error)), seen * np.exp(0.9 * error)
    return truth * VOXEL, Volumes(hard * VOXEL, np.full(n_cases, VOXEL), soft * VOXEL, trouble * seen * VOXEL)


@pytest.mark.parametrize("n_cases", [20, 40, 100])
@pytest.mark.parametrize(("heavy", "absent"), [(False, False), (True, False), (False, True)])
def test_coverage_of_a_new_case(n_cases: int, heavy: bool, absent: bool) -> None:
    random = np.random.default_rng(1000 * n_cases + 10 * heavy + absent)
    covered = dict.fromkeys(WAYS, 0)
    for _ in range(STUDIES):
        truth, volumes = simulated(random, n_cases + 1, heavy=heavy, absent=absent)
        known, new = np.arange(n_cases), np.array([n_cases])
        interval = VolumeInterval(0.9, fit_bounds(truth[known], volumes[known]), WAYS[0])
        for way in WAYS:
            low, high = interval.apply(volumes[new], way)
            covered[way] += bool(low[0] <= truth[-1] + 1e-9 and truth[-1] <= high[0] + 1e-9)
    for way, count in covered.items():
        assert binomtest(count, STUDIES, 0.9, alternative="less").pvalue > 1e-3, way


def test_the_chosen_way_covers_too_and_follows_the_uncertainty() -> None:
    random = np.random.default_rng(3)
    covered, chosen = 0, []
    for _ in range(STUDIES // 2):
        hard = np.round(random.lognormal(0, 0.5, 41) / VOXEL) * VOXEL
        trouble = np.where(random.random(41) < 0.2, 0.2, 0.02)  # one case in five is ten times as hard
        truth = np.round(hard * np.exp(trouble * random.normal(0, 1, 41)) / VOXEL) * VOXEL
        volumes = Volumes(hard, np.full(41, VOXEL), hard, trouble * hard)
        interval = fit_interval(truth[:-1], volumes[np.arange(40)])
        chosen.append(interval.chosen)
        low, high = interval.apply(volumes[np.array([40])])
        covered += bool(low[0] <= truth[-1] + 1e-9 and truth[-1] <= high[0] + 1e-9)
    assert binomtest(covered, STUDIES // 2, 0.9, alternative="less").pvalue > 1e-3
    assert np.mean([name.endswith("adaptive") for name in chosen]) > 0.8


def test_leave_one_out_is_the_fit_without_the_patient() -> None:
    truth, volumes = simulated(np.random.default_rng(0), 45)
    patients = np.arange(45) // 2
    ends = leave_one_out(truth, volumes, 0.9, patients)
    for case in (0, 7, 44):
        others = patients != patients[case]
        interval = fit_interval(truth[others], volumes[others], 0.9, patients[others])
        for way in WAYS:
            low, high = interval.apply(volumes[np.array([case])], way)
            assert (ends[way][0][case], ends[way][1][case]) == (low[0], high[0])


def test_ends_are_whole_voxels_and_never_negative() -> None:
    truth, volumes = simulated(np.random.default_rng(1), 60, absent=True)
    low, high = fit_interval(truth, volumes).apply(volumes)
    for end in (low, high):
        assert (end >= 0).all()
        assert end / VOXEL == pytest.approx(np.round(end / VOXEL), abs=1e-6)
    assert (high >= low).all()


def test_with_just_enough_patients_the_interval_is_finite() -> None:
    """Leaving one out is then too few, so that nothing can be chosen by width, and no warning comes of it."""
    truth, volumes = simulated(np.random.default_rng(4), 19)
    interval = fit_interval(truth, volumes)
    assert interval.chosen == "hard"
    low, high = interval.apply(volumes)
    assert np.isfinite([low, high]).all()
    assert all(np.isinf(ends[1]).all() for ends in leave_one_out(truth, volumes).values())


def test_results_without_spread_have_the_two_plain_ways() -> None:
    truth, volumes = simulated(np.random.default_rng(2), 40)
    interval = fit_interval(truth, Volumes(volumes.hard, volumes.voxel, volumes.soft))
    assert set(interval.bounds) == {"hard", "soft"}
    adaptive = VolumeInterval(0.9, fit_bounds(truth, volumes), "soft_adaptive")
    assert adaptive.way_for(Volumes(volumes.hard, volumes.voxel, volumes.soft)) == "soft"
    assert adaptive.way_for(Volumes(volumes.hard, volumes.voxel)) == "hard"


def test_a_way_that_does_not_cover_is_not_chosen_for_being_narrow() -> None:
    hard = np.full(100, 1.0)
    volumes = Volumes(hard, np.full(100, VOXEL), hard, hard * 0.1)
    narrow, wide = (hard - 1e-3, hard + 1e-3), (hard - 0.5, hard + 0.5)
    truth = np.where(np.arange(100) < 70, 1.0, 1.2)
    assert choose_way(truth, volumes, {"hard": wide, "soft": narrow}, 0.9) == "hard"
    assert choose_way(hard, volumes, {"hard": wide, "soft": narrow}, 0.9) == "soft"


def test_without_error_the_interval_is_the_volume() -> None:
    hard = np.arange(1, 31) * VOXEL
    volumes = Volumes(hard, np.full(30, VOXEL))
    low, high = fit_interval(hard, volumes).apply(volumes)
    assert low == pytest.approx(hard)
    assert high == pytest.approx(hard)


def test_segmentations_alone_give_the_hard_interval() -> None:
    truth, volumes = simulated(np.random.default_rng(2), 40)
    interval = fit_interval(truth, volumes)
    alone = Volumes(volumes.hard, volumes.voxel)
    assert interval.apply(alone)[0] == pytest.approx(interval.apply(volumes, "hard")[0])
    with pytest.raises(ValueError, match="way"):
        interval.apply(alone, "soft")


def test_too_few_patients_are_refused_with_the_number_needed() -> None:
    truth, volumes = simulated(np.random.default_rng(2), 20)
    fit_interval(truth, volumes)
    with pytest.raises(ValueError, match="at least 19 patients, but got 10"):
        fit_interval(truth, volumes, 0.9, np.arange(20) // 2)


def test_unusable_volumes_are_named() -> None:
    one = np.ones(3)
    for arguments, name in (
        ((one, np.zeros(3)), "voxel"),
        ((-one, one), "hard"),
        ((one, one, None, one), "soft"),
        ((one, one, np.ones(2), one), "soft"),
        ((one, one, one, one * np.nan), "spread"),
    ):
        with pytest.raises(ValueError, match=name):
            Volumes(*arguments)
