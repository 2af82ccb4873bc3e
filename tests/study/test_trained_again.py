"""The test whose unit is the training: against generalised least squares, by simulation, and where there is no answer."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
from runs import pair, run_of

from nnunet_nacl.errors import InputError
from nnunet_nacl.study.comparison import compare_runs
from nnunet_nacl.study.parts import PartDifference, differences_of_parts
from nnunet_nacl.study.run import Run, load_repeated
from nnunet_nacl.study.trained_again import ASSUMED_CORRELATION, MIN_TRAININGS, NO_ANSWER, trained_again


@pytest.fixture
def random():
    return np.random.default_rng(17)


def parts_of(means, n_pairs=24):
    return [PartDifference(f"fold_{fold}", n_pairs, float(mean)) for fold, mean in enumerate(means)]


def by_generalised_least_squares(means):
    """Mean, standard error and p for observations that are all correlated by 0.3, from the covariance matrix itself."""
    n = len(means)
    covariance = np.full((n, n), ASSUMED_CORRELATION) + (1 - ASSUMED_CORRELATION) * np.eye(n)
    # whitened by the Cholesky factor: ordinary least squares of one column
    factor = np.linalg.cholesky(covariance)
    column, values = np.linalg.solve(factor, np.ones(n)), np.linalg.solve(factor, means)
    mean = column @ values / (column @ column)
    residual = values - mean * column
    error = np.sqrt(residual @ residual / (n - 1) / (column @ column))
    return mean, error, 2 * scipy.stats.t.sf(abs(mean) / error, n - 1)


@pytest.mark.parametrize("n", [5, 7, 10])
def test_it_is_least_squares_of_correlated_trainings(random, n):
    means = random.normal(0.3, 1, size=n)
    mean, error, p = by_generalised_least_squares(means)
    found = trained_again(parts_of(means))
    assert (found.difference, found.p) == (pytest.approx(mean), pytest.approx(p))
    half = scipy.stats.t.ppf(0.975, n - 1) * error
    assert (found.low, found.high) == (pytest.approx(mean - half), pytest.approx(mean + half))
    assert found.trainings == tuple(f"fold_{fold}" for fold in range(n))


@pytest.mark.parametrize(("folds", "correlation"), [(5, 0.0), (5, 0.3), (10, 0.15), (10, 0.3)])
def test_false_claims(random, folds, correlation):
    """At most 5 % for correlations of 0 to 0.3; at 0.3 it is 5 %."""
    n_studies = 800
    shared, own = random.normal(size=(n_studies, 1)), random.normal(size=(n_studies, folds))
    means = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    found = sum(trained_again(parts_of(study)).p < 0.05 for study in means)
    assert found <= scipy.stats.binom.ppf(0.999, n_studies, 0.05)
    if correlation == 0.3:
        assert found >= scipy.stats.binom.ppf(0.001, n_studies, 0.05)


def test_power_at_the_fewest_trainings(random):
    """Two sd over cases, trainings that vary 0.7 times as much, 24 cases: found in four of five studies."""
    means = 2 + 0.7 * random.normal(size=(400, MIN_TRAININGS)) + random.normal(size=(400, MIN_TRAININGS)) / 24**0.5
    found = sum(trained_again(parts_of(study)).p < 0.05 for study in means)
    assert scipy.stats.binom.ppf(0.001, 400, 0.76) <= found


def test_patients_are_inside_a_training(random):
    """Many patients of one training are one observation: doubling them all changes nothing."""
    differences = random.normal(size=60)
    names = [f"fold_{number % 6}" for number in range(60)]
    once = trained_again(differences_of_parts(differences, names))
    twice = trained_again(differences_of_parts(np.tile(differences, 2), names * 2))
    assert (once.p, once.low) == (pytest.approx(twice.p), pytest.approx(twice.low))


def test_the_other_way_round(random):
    means = random.normal(size=6)
    there, back = (trained_again(parts_of(side * means)) for side in (1, -1))
    assert (back.difference, back.low, back.high, back.p) == (-there.difference, -there.high, -there.low, there.p)


@pytest.mark.parametrize(
    ("parts", "unknown", "reason"),
    [
        (parts_of([0.1] * 3), "", f"{NO_ANSWER} of different folds, and these are 3"),
        (parts_of([0.1]), "", f"{NO_ANSWER} of different folds, and this is 1"),
        ([], "", f"{NO_ANSWER} of different folds, and these are 0"),
        ([], "the run does not know", "no answer, since the run does not know"),
        (parts_of([0.1, 0.2, 0.3, 0.4, math.nan]), "", "no answer, since a training has no case in which both have a value"),
        ([*parts_of([0.1] * 5), PartDifference("machine_2", 3, 0.1)], "", "no answer, since which training machine_2 is of is not known"),
        ([PartDifference(f"{machine}/fold_0", 3, 0.1) for machine in "abcdef"], "", f"{NO_ANSWER} of different folds, and this is 1"),
    ],
)  # fmt: skip
def test_no_answer(parts, unknown, reason):
    found = trained_again(parts, unknown)
    assert found.reason == reason
    assert np.isnan([found.low, found.high, found.p]).all()


def test_parts_of_one_fold_are_one_training():
    parts = [*parts_of([0.1, 0.2, 0.3, 0.4]), PartDifference("a/fold_4", 10, 0.4), PartDifference("b/fold_4", 30, 0.8)]
    found = trained_again(parts)
    assert len(found.trainings) == 5
    assert found.difference == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.7) / 5)


def test_trainings_without_any_spread():
    """Dice after a temperature is what it was in every training: known to be equal, not unknown."""
    equal, shifted = trained_again(parts_of([0.0] * 5)), trained_again(parts_of([0.25] * 5))
    assert (equal.difference, equal.low, equal.high, equal.p) == (0, 0, 0, 1)
    assert (shifted.difference, shifted.low, shifted.p) == (0.25, 0.25, 0)


def again(run, folder, shift):
    """The same trainer trained again: other scores of the same cases in the same folds."""
    cases = run.summary["metric_per_case"]
    dice = np.array([case["metrics"]["1"]["Dice"] for case in cases])
    ece = {
        name: np.array([case["voxel_sets"][name]["ECE"] for case in cases]) + shift for name in cases[0]["voxel_sets"]
    }
    return run_of(folder, dice, ece, [case["part"] for case in cases])


def test_repeated_trainings_are_averaged_within_a_fold(tmp_path, random):
    """Two runs that are off by +0.03 and -0.03 in a fold are one training of that fold whose difference is their mean."""
    base, run = pair(tmp_path, predicted=-0.02, n_folds=5, n_cases=50)
    shift = 0.03 * np.tile([1.0, -1, 1, -1, 1], 10)
    ups, downs = again(run, tmp_path / "up", shift), again(run, tmp_path / "down", -shift)
    both = dataclasses.replace(ups, repeats=(downs,))
    single, alone, together = (
        compare_runs(base, [each], ("ECE",), ("predicted",)).differences[0] for each in (run, ups, both)
    )
    assert together.again.difference == pytest.approx(single.again.difference)
    assert together.again.low == pytest.approx(single.again.low)
    assert alone.again.high - alone.again.low > 5 * (together.again.high - together.again.low)
    assert len(together.again.trainings) == 5
    assert together.result.n_pairs == 50


def test_repeats_of_the_base_as_well(tmp_path):
    base, run = pair(tmp_path, predicted=-0.02, n_folds=5, n_cases=50)
    other = again(base, tmp_path / "base2", 0.01)
    (found,) = compare_runs(dataclasses.replace(base, repeats=(other,)), [run], ("ECE",), ("predicted",)).differences
    (single,) = compare_runs(base, [run], ("ECE",), ("predicted",)).differences
    assert found.result.difference == pytest.approx(single.result.difference - 0.005)


def test_another_fold_is_no_repetition(tmp_path):
    base, run = pair(tmp_path, n_folds=5, n_cases=50)
    moved = again(run, tmp_path / "moved", 0.0)
    moved.summary["metric_per_case"][3]["part"] = "fold_0"
    with pytest.raises(InputError, match=r"moved is no repetition of .*run: expected the same cases in the same folds"):
        compare_runs(base, [dataclasses.replace(run, repeats=(moved,))], ("ECE",))
    fewer = again(run, tmp_path / "fewer", 0.0)
    del fewer.summary["metric_per_case"][0]
    with pytest.raises(InputError, match=r"fewer is no repetition of"):
        compare_runs(base, [dataclasses.replace(run, repeats=(fewer,))], ("ECE",))


def test_a_copied_training_is_no_second_one(tmp_path):
    """Neither a whole one nor one fold of it, given as the second or the third."""
    base, run = pair(tmp_path, n_folds=5, n_cases=50)
    other, copy = again(run, tmp_path / "other", 0.001), again(run, tmp_path / "copy", 0.0)
    with pytest.raises(
        InputError,
        match=r"copy: has the scores of .*run in all cases of fold_0, fold_1, fold_2, fold_3, fold_4, to the last digit",
    ):
        compare_runs(base, [dataclasses.replace(run, repeats=(copy,))], ("ECE",))
    of_one_fold = np.where(np.arange(50) % 5 == 2, 0.001, 0.002)
    with pytest.raises(InputError, match=r"one: has the scores of .*other in all cases of fold_2, to the last digit"):
        compare_runs(
            base, [dataclasses.replace(run, repeats=(other, again(run, tmp_path / "one", of_one_fold)))], ("ECE",)
        )
    almost = again(run, tmp_path / "almost", np.where(np.arange(50) < 45, 0.001, 0.002))
    compare_runs(base, [dataclasses.replace(run, repeats=(other, almost))], ("ECE",))


def test_folders_joined_by_commas(tmp_path, monkeypatch):
    """``a,b`` is two results of one trainer; a folder with a comma in its name is one."""

    def load(folder):
        return Run(folder.name, folder, {}, {})

    monkeypatch.setattr("nnunet_nacl.study.run.load_run", load)
    (tmp_path / "c,d").mkdir()
    first = load_repeated(tmp_path.relative_to(tmp_path) / f"{tmp_path}/a,{tmp_path}/b")
    assert (first.name, [each.name for each in first.repeats]) == ("a", ["b"])
    assert load_repeated(tmp_path / "c,d").name == "c,d"
    with pytest.raises(InputError, match="one folder came twice"):
        load_repeated(tmp_path / f"a,{tmp_path}/a")
