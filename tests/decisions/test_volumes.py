"""Volume intervals: coverage in simulated studies, absent structures, whole voxels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from nnunet_nacl.decisions import VolumeInterval, Volumes, fit_interval, leave_one_out
from nnunet_nacl.decisions.coverage import coverage
from nnunet_nacl.decisions.dice_estimate import fit_dice
from nnunet_nacl.decisions.miss_rate import mean_over_patients
from nnunet_nacl.decisions.volume_bias import biases
from nnunet_nacl.decisions.volume_choice import choose_way, fewest_for_choice, n_for_choice
from nnunet_nacl.decisions.volumes import WAYS, fit_bounds, quantile, relative_width

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
        bounds = fit_bounds(truth[known], volumes[known])
        interval = VolumeInterval(0.9, bounds, WAYS[0], bounds[WAYS[0]])
        for way in WAYS:
            low, high = interval.apply(volumes[new], way)
            covered[way] += bool(low[0] <= truth[-1] + 1e-9 and truth[-1] <= high[0] + 1e-9)
    for way, count in covered.items():
        assert binomtest(count, STUDIES, 0.9, alternative="less").pvalue > 1e-3, way


def rivals(random: np.random.Generator, n_cases: int, correlation: float) -> tuple[np.ndarray, Volumes]:
    """Return true and predicted volumes; errors of hard and soft volume differ, so that one looks narrower by chance."""
    truth, trouble = random.lognormal(8, 0.7, n_cases), random.lognormal(0, 0.5, n_cases)
    first, second = random.normal(0, 1, (2, n_cases))
    second = correlation * first + np.sqrt(1 - correlation**2) * second
    hard, soft = (truth * np.exp(0.08 * trouble * error) for error in (first, second))
    spread = 0.05 * truth * random.lognormal(0, 0.3, n_cases) * trouble
    return truth.round() * VOXEL, Volumes(hard.round() * VOXEL, np.full(n_cases, VOXEL), soft * VOXEL, spread * VOXEL)


@pytest.mark.parametrize(("n_cases", "correlation"), [(20, 0.0), (28, 0.0), (40, 0.0), (40, 0.8)])
def test_the_chosen_way_covers_as_often_as_it_says(n_cases: int, correlation: float) -> None:
    """Chosen and bounded on the same cases it covers less: with 20 and with 40 cases and independent errors this failed."""
    random, shares, chosen = np.random.default_rng(5), [], set()
    for _ in range(500):
        interval = fit_interval(*rivals(random, n_cases, correlation))
        chosen.add(interval.chosen)
        truth, volumes = rivals(random, 100, correlation)
        low, high = interval.apply(volumes)
        shares.append(np.mean((low <= truth + 1e-9) & (truth <= high + 1e-9)))
    assert chosen == (set(WAYS) if n_cases >= 28 else {"hard"})
    assert np.mean(shares) > 0.9 - 2.5 * np.std(shares) / np.sqrt(len(shares))
    assert np.std(shares) / np.sqrt(len(shares)) < 0.005  # so that 0.88 would fail


def test_the_chosen_way_follows_the_uncertainty() -> None:
    random, chosen = np.random.default_rng(3), []
    for _ in range(100):
        hard = np.round(random.lognormal(0, 0.5, 60) / VOXEL) * VOXEL
        trouble = np.where(random.random(60) < 0.2, 0.2, 0.02)  # one case in five is ten times as hard
        truth = np.round(hard * np.exp(trouble * random.normal(0, 1, 60)) / VOXEL) * VOXEL
        chosen.append(fit_interval(truth, Volumes(hard, np.full(60, VOXEL), hard, trouble * hard)).chosen)
    assert np.mean([name.endswith("adaptive") for name in chosen]) > 0.8


def test_the_choice_depends_on_no_order_and_its_patients_are_not_fitted_on() -> None:
    truth, volumes = simulated(np.random.default_rng(8), 60, absent=True)
    patients = np.arange(60) // 2
    interval = fit_interval(truth, volumes, 0.9, patients)
    order = np.random.default_rng(0).permutation(60)
    again = fit_interval(truth[order], volumes[order], 0.9, 100 - patients[order])
    assert (again.chosen, again.chosen_bounds) == (interval.chosen, interval.chosen_bounds)
    assert interval.chosen_bounds != interval.bounds[interval.chosen]
    for n_patients, level in product(range(1, 200), (0.8, 0.9, 0.95)):
        chosen_on = n_for_choice(n_patients, level)
        assert (chosen_on > 0) == (n_patients >= fewest_for_choice(level))
    assert fewest_for_choice(0.9) == 28
    few = fit_interval(truth[:27], volumes[np.arange(27)])
    assert (few.chosen, few.chosen_bounds) == ("hard", few.bounds["hard"])


def test_patients_that_differ_in_their_uncertainty_alone_have_an_order_too() -> None:
    random = np.random.default_rng(5)
    hard = np.full(60, 1.0)
    truth = np.tile([0.8, 0.9, 1.1, 1.2], 15)
    spread = np.abs(np.log(truth)) * random.uniform(0.9, 1.1, 60)
    fits = []
    for order in (np.arange(60), np.arange(60)[::-1], random.permutation(60)):
        volumes = Volumes(hard, np.full(60, VOXEL), hard, spread[order])
        fits.append(fit_interval(truth[order], volumes))
    assert fits[0].chosen == "hard_adaptive" and fits[0].chosen_bounds != fits[0].bounds["hard_adaptive"]
    for other in fits[1:]:
        assert other.chosen_bounds == pytest.approx(fits[0].chosen_bounds)


def test_absent_structures_are_on_both_sides_of_the_split() -> None:
    """All alike: a draw by what a case is like would put them all on one side, and bounds without them would not hold. Bounds of the
    structures that are there are above 0, since all of them are predicted too small."""
    hard = np.r_[np.zeros(20), np.full(40, 2.0)]
    truth = np.r_[np.zeros(20), 2.0 * np.tile([1.1, 1.2, 1.3, 1.4], 10)]
    for number in range(20):
        truth[-1] = 2.8 + number * VOXEL
        interval = fit_interval(truth, Volumes(hard, np.full(60, VOXEL), hard))
        # some 13 of the 20 are among the 40 patients that give the bounds, and the second smallest error is the lower one
        assert interval.chosen_bounds.low == 0 < interval.chosen_bounds.median
        assert quantile(np.log((truth + 10 * VOXEL) / (hard + 10 * VOXEL))[20:], 0.025) > 0.09


def test_estimates_are_corrected_and_lie_in_their_intervals() -> None:
    """Predicted volumes are half as large again; the raw ones lie outside of most intervals."""
    random = np.random.default_rng(6)
    truth = np.round(random.lognormal(0, 0.5, 90) / VOXEL) * VOXEL
    hard = np.round(truth * 1.5 * random.lognormal(0, 0.03, 90) / VOXEL) * VOXEL
    volumes = Volumes(hard, np.full(90, VOXEL), hard * 1.01, 0.1 * hard)
    interval = fit_interval(truth, volumes)
    for way in (None, *WAYS):
        (low, high), estimate = interval.apply(volumes, way), interval.estimate(volumes, way)
        assert ((low <= estimate) & (estimate <= high)).all()
        assert np.median(estimate / truth) == pytest.approx(1, abs=0.02)
        assert (hard > high).mean() > 0.9
    bias = biases(truth, volumes)["hard"]
    assert bias.ml == pytest.approx((hard - truth).mean())
    floor = 10 * VOXEL
    assert bias.share == pytest.approx(np.exp(np.log((hard + floor) / (truth + floor)).mean()) - 1)
    assert bias.share_low < bias.share < bias.share_high
    assert bias.in_words("liver").startswith("liver: predicted volumes are 4")
    assert "too large" in bias.in_words("liver")


def test_quantiles_are_numpys_with_each_patient_as_often_as_any_other() -> None:
    """Numpy has no weights for this definition: a patient of one case has it six times, one of two or three cases three or two times."""
    random = np.random.default_rng(3)
    patient = np.repeat(np.arange(9), [1, 2, 3] * 3)
    times = np.array([6, 3, 2])[patient % 3]
    for errors in (random.normal(size=18), random.integers(0, 4, 18).astype(float)):
        for share in (0.05, 1 / 9, 0.25, 0.5, 2 / 3, 0.95):
            expected = np.quantile(np.repeat(errors, times), share, method="averaged_inverted_cdf")
            assert quantile(errors, share, patient) == pytest.approx(expected)
            expected = np.quantile(errors, share, method="averaged_inverted_cdf")
            assert quantile(errors, share) == pytest.approx(expected)


def test_the_correction_is_the_median_error_of_the_patients() -> None:
    """Twenty patients of one case each with an error of log 2, and one of thirty cases without any."""
    hard = np.full(50, 1.0)
    truth = np.r_[np.full(20, 2.0 + 10 * VOXEL), np.full(30, 1.0)]
    of = np.r_[np.arange(20), np.full(30, 20)]
    for groups, error in ((of, np.log(2)), (None, 0.0)):
        found = fit_bounds(truth, Volumes(hard, np.full(50, VOXEL)), 0.9, groups)["hard"]
        assert found.median == pytest.approx(error)


def test_segmentations_alone_have_the_bounds_of_all_cases_of_the_fit() -> None:
    """The way that was chosen with a look at some patients may be the same one; for segmentations nothing was chosen."""
    random = np.random.default_rng(1)
    hard = np.round(random.lognormal(0, 0.5, 90) / VOXEL) * VOXEL
    truth = np.round(hard * random.lognormal(0, 0.1, 90) / VOXEL) * VOXEL
    volumes = Volumes(hard, np.full(90, VOXEL), hard * random.lognormal(0, 1, 90), hard * random.lognormal(0, 1, 90))
    interval = fit_interval(truth, volumes)
    assert interval.chosen == "hard" and interval.chosen_bounds != interval.bounds["hard"]
    alone = Volumes(hard, np.full(90, VOXEL))
    assert interval.way_for(volumes) == interval.way_for(alone) == "hard"
    for given, bounds in ((volumes, interval.chosen_bounds), (alone, interval.bounds["hard"])):
        low, high = interval.apply(given)
        floor = 10 * VOXEL
        assert high == pytest.approx((hard + floor) * np.exp(bounds.high) - floor, abs=VOXEL)
        assert low == pytest.approx(np.maximum((hard + floor) * np.exp(bounds.low) - floor, 0), abs=VOXEL)


def test_how_many_left_out_lie_inside_follows_from_their_number() -> None:
    """So it is no evidence: good, random and drifting predictions have the same."""
    random, truth = np.random.default_rng(0), np.random.default_rng(1).lognormal(8, 1, 32).round() * VOXEL
    for hard in (
        truth * random.lognormal(0, 0.05, 32),
        random.permutation(truth),
        truth * np.exp(np.linspace(-2, 2, 32)),
    ):
        low, high = leave_one_out(truth, Volumes(hard, np.full(32, VOXEL)))["hard"]
        assert ((low <= truth + 1e-9) & (truth <= high + 1e-9)).sum() == 30


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


def test_widths_are_relative_to_the_predicted_volume_and_ten_voxels() -> None:
    volumes = Volumes(np.array([0.0, 0.99]), np.array([0.01, 0.001]))
    assert relative_width([0.0, 0.5], [0.05, 2.5], volumes) == pytest.approx([0.5, 2.0])


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
    bounds = fit_bounds(truth, volumes)
    adaptive = VolumeInterval(0.9, bounds, "soft_adaptive", bounds["soft_adaptive"])
    assert adaptive.way_for(Volumes(volumes.hard, volumes.voxel, volumes.soft)) == "hard"
    assert adaptive.way_for(Volumes(volumes.hard, volumes.voxel)) == "hard"
    assert adaptive.way_for(volumes) == "soft_adaptive"


def test_the_narrowest_way_is_chosen_and_the_first_of_equals() -> None:
    truth, volumes = simulated(np.random.default_rng(2), 40)
    exact = Volumes(volumes.hard, volumes.voxel, truth)
    assert choose_way(truth, exact, 0.9) == "soft"
    assert choose_way(truth, Volumes(truth, volumes.voxel, truth), 0.9) == "hard"


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
    assert interval.chosen in WAYS
    assert interval.apply(alone)[0] == pytest.approx(interval.apply(volumes, "hard")[0])
    with pytest.raises(ValueError, match="way"):
        interval.apply(alone, "soft")


def test_too_few_patients_are_refused_with_the_number_needed() -> None:
    truth, volumes = simulated(np.random.default_rng(2), 20)
    fit_interval(truth, volumes)
    with pytest.raises(ValueError, match="at least 19 patients, but got 10"):
        fit_interval(truth, volumes, 0.9, np.arange(20) // 2)


def test_no_case_and_groups_of_another_length_are_refused_in_words() -> None:
    truth, volumes = simulated(np.random.default_rng(0), 30)
    for groups in (["a"] * 29, ["a"] * 31, [["a"]] * 30):
        for fit in (leave_one_out, fit_interval):
            with pytest.raises(ValueError, match=r"groups.*\(30,\)"):
                fit(truth, volumes, 0.9, groups)
        with pytest.raises(ValueError, match=r"groups.*\(30,\)"):
            fit_dice(truth, truth, 0.9, groups)
        with pytest.raises(ValueError, match=r"groups.*\(30,\)"):
            coverage(truth > 1, groups)
        with pytest.raises(ValueError, match=r"groups.*\(30,\)"):
            mean_over_patients(truth, groups)
    for level in (0.0, 1.5):
        for wrong in (leave_one_out, fit_interval):
            with pytest.raises(ValueError, match=f"level.*got {level}"):
                wrong(truth, volumes, level)
        with pytest.raises(ValueError, match=f"level.*got {level}"):
            leave_one_out(truth[:1], volumes[np.arange(1)], level)
    none = np.zeros(0, int)
    with pytest.raises(ValueError, match="at least one case"):
        leave_one_out(truth[none], volumes[none])
    with pytest.raises(ValueError, match="at least one case"):
        coverage([])


def test_unusable_volumes_are_named() -> None:
    one = np.ones(3)
    for arguments, name in (
        ((one, np.zeros(3)), "voxel"),
        ((-one, one), "hard"),
        ((one, one, None, one), "soft"),
        ((one, one, np.ones(2), one), "soft"),
        ((one, one, one, one * np.nan), "spread"),
        ((one * np.inf, one), "hard"),
        ((np.ones((3, 1)), np.ones((3, 1))), "hard"),
    ):
        with pytest.raises(ValueError, match=name):
            Volumes(*arguments)


def test_a_bias_that_is_the_same_everywhere_has_no_interval() -> None:
    truth = np.full(3, 2.0)
    bias = biases(truth, Volumes(2 * truth, np.full(3, VOXEL), None, None))["hard"]
    assert bias.ml == 2 and np.isnan([bias.low, bias.high, bias.share_low, bias.share_high]).all()
    assert bias.in_words("cyst") == f"cyst: predicted volumes are {bias.share:.1%} too large in the fit"
