"""Risk-coverage and volumes of runs: against the functions on arrays, by hand, groups, trainings, old results, the files."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from nnunet_nacl.decisions import Volumes, excess_augrc, fit_interval, oracle, risk_coverage
from nnunet_nacl.decisions.volume_bias import biases
from nnunet_nacl.report.decisions_table import print_quality
from nnunet_nacl.study import failure_detection as detection
from nnunet_nacl.study.decision_quality import decision_quality, quality_content, write_quality
from nnunet_nacl.study.failure_detection import DECIDING, MEAN, MEASURES, failure_detection
from nnunet_nacl.study.run import Run
from nnunet_nacl.study.volume_errors import volume_errors

LABELS = {"0": "background", "1": "body", "2": "cap"}


def make_run(folder, dice, sure, volumes=None):
    """A run of cases with Dice and soft Dice confidence ``(N, 2)``, NaN is null; volumes ``(N, 3)`` in ml: true, hard, soft."""

    def plain(value):
        return None if value is None or np.isnan(value) else float(value)

    cases = []
    for row, _ in enumerate(dice):
        ml = [None] * 3 if volumes is None else volumes[row]
        entry = {
            str(number + 1): {
                "Dice": plain(dice[row][number]),
                "confidence": {"soft_Dice": plain(sure[row][number])},
                "n_ref": 0 if np.isnan(dice[row][number]) else 100, "n_pred": 0 if np.isnan(dice[row][number]) else 100,
                "volume_ml": {
                    "reference": plain(ml[0]), "predicted": plain(ml[1]), "soft": plain(ml[2]),
                    "spread": None if ml[2] is None else 0.1 * float(ml[2]),
                },
            }
            for number in range(2)
        }  # fmt: skip
        entry["0"] = {"Dice": 0.99, "n_ref": 1000, "n_pred": 1000, "volume_ml": {"reference": 1.0, "predicted": 1.0}}
        cases.append({"case": f"case_{row:03d}", "metrics": entry})
    summary = {"metric_per_case": cases, "mean": dict.fromkeys(LABELS), "protocol": {"labels": LABELS}}
    return Run(folder, folder, summary, {})


def names(number):
    return [f"case_{row:03d}" for row in range(number)]


@pytest.fixture
def random():
    return np.random.default_rng(11)


@pytest.fixture
def dice(random):
    return random.uniform(0.3, 0.95, (40, 2))


def test_it_is_the_curve_of_the_mean_over_the_classes(random, dice):
    sure = dice + random.normal(0, 0.1, dice.shape)
    found = failure_detection([make_run("base", dice, sure)], names(40))
    assert found.labels == [MEAN, "1", "2"] and not found.missing
    mean, body, _ = found.detections
    curve = risk_coverage(sure.mean(1), 1 - dice.mean(1))
    assert mean.measures["aurc"] == pytest.approx(curve.aurc)
    assert mean.measures[DECIDING] == pytest.approx(excess_augrc(sure.mean(1), 1 - dice.mean(1)))
    assert mean.risk == pytest.approx(1 - dice.mean())
    np.testing.assert_allclose(mean.curve.selective_risk, curve.selective_risk)
    assert body.measures["augrc"] == pytest.approx(risk_coverage(sure[:, 0], 1 - dice[:, 0]).augrc)
    low, high = mean.intervals["aurc"]
    assert low < mean.measures["aurc"] < high
    assert body.best.aurc == pytest.approx(oracle(1 - dice[:, 0]).aurc)


def test_a_confidence_that_knows_against_one_that_does_not(random, dice):
    """Of the same segmentations: the words are of the confidence alone; the same order is said to be that."""
    blind, knowing = random.uniform(0.3, 0.95, dice.shape), dice - 0.2
    runs = [make_run("blind", dice, blind), make_run("knowing", dice, knowing), make_run("sharper", dice, knowing**2)]
    found = failure_detection(runs, names(40))
    better, also = (held for held in found.differences if held.label == "1")
    assert better.same_segmentations
    assert better.in_words == "finds the bad cases of the same segmentations better"
    assert better.intervals[DECIDING][1] < 0
    back = failure_detection([runs[1], runs[0], runs[2]], names(40))
    assert next(held for held in back.differences if held.label == "1").in_words.endswith("worse")
    same = next(held for held in back.differences if held.run == "sharper" and held.label == "1")
    assert same.in_words == "finds the bad cases in the same order", "a strictly monotone map of it changes no order"
    assert also.differences["aurc"] == pytest.approx(better.differences["aurc"])
    others = failure_detection([runs[0], make_run("other", dice - 0.1, blind)], names(40)).differences[0]
    assert not others.same_segmentations
    assert others.in_words == "no clear difference in how the bad cases of its own segmentations are found"


def test_two_confidences_that_know_as_much_differ_in_few_studies(random, monkeypatch):
    monkeypatch.setattr(detection, "REPLICATES", 150)
    n_studies, found = 30, 0
    for _ in range(n_studies):
        dice = random.uniform(0.3, 0.95, (30, 2))
        runs = [make_run(name, dice, dice + random.normal(0, 0.2, dice.shape)) for name in ("a", "b")]
        words = failure_detection(runs, names(30)).differences[0].in_words
        found += words.endswith(("better", "worse"))
    assert found <= scipy.stats.binom.ppf(0.999, n_studies, 0.08)


def test_cases_are_in_order_within_their_fold(random, dice):
    """Networks on two scales: perfect orders each, a bad one together. Another monotone map for each fold changes no order."""
    folds = np.arange(40) % 2
    sure = np.where(folds[:, None] == 0, dice / 10, 0.9 + dice / 10)
    run = make_run("run", dice, sure)
    assert failure_detection([run], names(40)).detections[0].measures[DECIDING] > 0.005
    merged, mapped = make_run("merged", dice, sure), make_run("mapped", dice, sure ** (1.0 + folds[:, None]))
    for each in (merged, mapped):
        for number, entry in enumerate(each.summary["metric_per_case"]):
            entry["part"] = f"fold_{folds[number]}"
    found = failure_detection([merged, mapped], names(40))
    held = found.of_label("1")[0]
    assert held.measures[DECIDING] == pytest.approx(0)
    assert found.differences[1].in_words == "finds the bad cases in the same order"
    each = [risk_coverage(sure[folds == fold, 0], 1 - dice[folds == fold, 0]) for fold in (0, 1)]
    assert held.measures["aurc"] == pytest.approx(np.mean([curve.aurc for curve in each]))
    assert held.curve.aurc == pytest.approx(held.measures["aurc"])


def test_cases_of_one_patient_are_drawn_together(random, dice):
    """Each case three times: as cases of their own the interval is narrower than the 40 patients allow."""
    sure = dice + random.normal(0, 0.2, dice.shape)
    thrice = make_run("base", np.repeat(dice, 3, 0), np.repeat(sure, 3, 0))
    groups = [f"patient_{row // 3}" for row in range(120)]
    widths = [
        np.ptp(failure_detection([run], cases, of).detections[0].intervals["aurc"])
        for run, cases, of in (
            (make_run("base", dice, sure), names(40), None),
            (thrice, names(120), groups),
            (thrice, names(120), None),
        )
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)
    assert widths[2] < 0.7 * widths[0]


def test_trainings_are_averaged(random, dice):
    first, second = (make_run(name, dice, random.uniform(0, 1, dice.shape)) for name in ("first", "second"))
    alone = [failure_detection([run], names(40)).detections[0].measures["augrc"] for run in (first, second)]
    both = failure_detection([dataclasses.replace(first, repeats=(second,))], names(40)).detections[0]
    assert both.measures["augrc"] == pytest.approx(np.mean(alone))


def test_cases_without_a_dice_in_one_run_and_few_cases(dice):
    """A class that is nowhere has none: left out of all runs. Four cases have measures and no interval."""
    lacking = dice.copy()
    lacking[:3, 0] = np.nan
    found = failure_detection([make_run("a", lacking, dice), make_run("b", dice, dice)], names(40))
    assert {held.n_cases for held in found.of_label("1")} == {37}
    assert {held.n_cases for held in found.of_label(MEAN)} == {40}
    few = failure_detection([make_run("a", dice, dice), make_run("b", dice, 1 - dice)], names(4))
    assert np.isnan(few.detections[0].intervals["aurc"]).all()
    assert few.differences[0].in_words == "not told: too few cases"


def missing(run, row, label):
    """Leave the mask of a class empty, with probabilities of exactly 0: its Dice is 0, and its confidence null."""
    entry = run.summary["metric_per_case"][row]["metrics"][label]
    entry.update({"Dice": 0.0, "n_pred": 0, "confidence": {"soft_Dice": None}})


def test_a_missed_class_counts_as_a_bad_case(dice):
    """Of a class that every case has its confidence is 0, in it and in the mean."""
    run, truth = make_run("base", dice, dice), dice.copy()
    for row in (3, 7):
        missing(run, row, "2")
        truth[row, 1] = 0
    mean, body, cap = failure_detection([run], names(40)).detections
    assert {mean.n_cases, body.n_cases, cap.n_cases} == {40}
    assert (mean.risk, cap.risk) == (pytest.approx(1 - truth.mean()), pytest.approx(1 - truth[:, 1].mean()))
    assert mean.measures["aurc"] == pytest.approx(risk_coverage(truth.mean(1), 1 - truth.mean(1)).aurc)
    assert cap.measures[DECIDING] == pytest.approx(0)


def test_no_confidence_knows_the_label(dice):
    """Of a class that one case lacks an empty mask says nothing about the case, and the missed one is a risk nonetheless."""
    dice[0, 1] = np.nan
    run, truth, sure = make_run("base", dice, dice), dice.copy(), dice.copy()
    missing(run, 5, "2")
    truth[5, 1], sure[5, 1] = 0, np.nan
    mean = failure_detection([run], names(40)).detections[0]
    risk = 1 - np.nanmean(truth, 1)
    assert mean.n_cases == 40 and mean.risk == pytest.approx(risk.mean())
    assert mean.measures["aurc"] == pytest.approx(risk_coverage(np.nanmean(sure, 1), risk).aurc)


def test_results_of_before_the_sums_were_kept(dice):
    old = make_run("old", dice, np.full(dice.shape, np.nan))
    found = failure_detection([old, make_run("new", dice, dice)], names(40))
    (sentence,) = found.missing
    assert sentence.startswith("old was evaluated before the sums of its masks were kept; evaluate it again")
    assert [held.run for held in found.detections] == ["new"] * 3 and not found.differences


def volumes_of(random, number):
    truth = random.lognormal(3, 0.4, number)
    return np.stack(
        [truth, truth * np.exp(random.normal(0.1, 0.1, number)), truth * np.exp(random.normal(0, 0.05, number))], 1
    )


def in_folds(run, folds):
    for number, entry in enumerate(run.summary["metric_per_case"]):
        entry["part"] = f"fold_{folds[number]}"
    return run


def as_arrays(volumes):
    """True and predicted volumes; :func:`make_run` gives the true one 100 voxels."""
    return volumes[:, 0], Volumes(volumes[:, 1], volumes[:, 0] / 100, volumes[:, 2], 0.1 * volumes[:, 2])


def test_volume_bias_width_and_coverage_across_folds(random):
    """By the functions on arrays, as `volumes fit`; cases left out one by one would say nothing about a run."""
    volumes = volumes_of(random, 60)
    truth, given = as_arrays(volumes)
    sure = np.full((60, 2), 0.8)
    alone, _ = volume_errors(make_run("run", sure, sure, volumes), names(60))
    for kind, bias in biases(truth, given).items():
        assert vars(alone.bias[kind]) == pytest.approx(vars(bias), rel=1e-6)
    assert alone.bias["hard"].low > 0 > alone.bias["soft"].low
    interval = fit_interval(truth, given)
    low, high = interval.apply(given)
    assert alone.way == interval.chosen
    assert alone.width == pytest.approx(np.median((high - low) / (given.hard + 10 * given.voxel)))
    assert alone.coverage is None and "two or more networks" in alone.reason

    volumes[30:, 1:] *= 3  # the other network's are three times as large
    body, _ = volume_errors(in_folds(make_run("run", sure, sure, volumes), np.arange(60) // 30), names(60))
    assert body.of_each == {"fold_0": 0.0, "fold_1": 0.0} and body.coverage[:2] == (0.0, 0.0)
    assert body.reason == ""


def test_volumes_of_few_patients_and_of_none(random):
    volumes = volumes_of(random, 40)
    run = make_run("run", np.full((40, 2), 0.8), np.full((40, 2), 0.8), volumes)
    pairs = [f"patient_{row // 3}" for row in range(40)]
    errors = volume_errors(run, names(40), pairs)[0]
    assert errors.coverage is None and errors.width is None
    assert errors.reason == "an interval at level 0.9 needs 19 patients, and these are 14"
    assert volume_errors(make_run("flat", np.full((40, 2), 0.8), np.full((40, 2), 0.8)), names(40)) == []


def test_patients_weigh_alike_in_coverage_across_folds(random):
    """The patient whose network is wrong has 21 cases of fold_0; as cases they would be half of it."""
    volumes = volumes_of(random, 80)
    volumes[:21, 1:] *= 5
    patients = ["many"] * 21 + [f"patient_{row}" for row in range(21, 80)]
    sure = np.full((80, 2), 0.8)
    run = in_folds(make_run("run", sure, sure, volumes), (np.arange(80) > 40).astype(int))
    errors = volume_errors(run, names(80), patients)[0]
    assert errors.of_each["fold_0"] > 0.7


def test_soft_volumes_count_without_the_sums_of_uncertainty(random):
    """An old result of the same predictions: soft volumes were dropped, and its intervals were three times as wide."""
    volumes = volumes_of(random, 60)
    volumes[:, 1] = volumes[:, 0] * np.exp(random.normal(0, 0.8, 60))
    sure = np.full((60, 2), 0.8)
    old = make_run("old", sure, sure, volumes)
    for case in old.summary["metric_per_case"]:
        for metrics in case["metrics"].values():
            metrics["volume_ml"].pop("spread", None)
    errors = volume_errors(old, names(60))[0]
    assert errors.way == "soft" and errors.width < 0.5


def test_files(random, dice, tmp_path):
    volumes = volumes_of(random, 40)
    runs = [make_run("base", dice, dice, volumes), make_run("run", dice, dice**2, volumes)]
    quality = decision_quality(runs, names(40))
    content = json.loads(json.dumps(quality_content(quality), allow_nan=False))
    first = content["failure_detection"]["runs"][0]
    assert set(first) == {"run", "class", "n_cases", "mean_risk", "curve", *MEASURES}
    assert content["failure_detection"]["differences"][0]["in_words"]
    assert content["volumes"]["runs"][0]["bias"]["soft"]["ml"] is not None
    (path,) = write_quality(quality, tmp_path)
    rows = list(csv.DictReader(path.open()))
    assert {row["quantity"] for row in rows} == {
        *MEASURES,
        "bias_hard_ml",
        "bias_soft_ml",
        "bias_hard_share",
        "bias_soft_share",
        "interval_width",
    }
    row = next(row for row in rows if (row["run"], row["class"], row["quantity"]) == ("run", MEAN, DECIDING))
    assert float(row["difference"]) == pytest.approx(quality.detection.differences[0].differences[DECIDING])
    few = decision_quality([make_run("old", dice, np.full(dice.shape, np.nan))], names(40))
    assert write_quality(few, tmp_path) == []


def in_parts(run, parts):
    for entry, part in zip(run.summary["metric_per_case"], parts, strict=True):
        entry["part"] = part
    return run


@pytest.mark.parametrize("swapped", [False, True])
def test_both_runs_have_the_same_order(random, dice, swapped):
    """The run is a recalibration, merged of folders without a fold in their path: pooled against the base's folds its excess was .006 more."""
    folds = [f"fold_{row % 2}" for row in range(40)]
    sure = np.where(np.arange(40)[:, None] % 2 == 0, dice / 10, 0.9 + dice / 10)
    base = in_parts(make_run("base", dice, sure), folds)
    run = in_parts(make_run("run", dice, sure), [f"RECAL_{row % 2}" for row in range(40)])
    found = failure_detection([run, base] if swapped else [base, run], names(40))
    assert {held.in_words for held in found.differences} == {"finds the bad cases in the same order"}
    first, second = found.of_label("1")
    assert first.best.aurc == second.best.aurc and first.measures == second.measures
    assert first.measures[DECIDING] == pytest.approx(0)
    assert found.order.endswith("by the folds of base, since run names none.")


def test_folds_under_other_names_or_divided_otherwise(random, dice):
    sure = dice + random.normal(0, 0.2, dice.shape)
    base, other = (make_run(name, dice, sure) for name in ("base", "other"))
    in_parts(base, [f"A/fold_{row % 2}" for row in range(40)])
    in_parts(other, [f"B/fold_{1 - row % 2}" for row in range(40)])
    within = failure_detection([base, other], names(40))
    assert within.order == "Cases are put in order within each fold, and the folds are averaged."
    in_parts(other, [f"fold_{row % 4}" for row in range(40)])
    pooled = failure_detection([base, other], names(40))
    assert pooled.order == "All cases are put in one order, since the runs have them in different folds."
    for held in pooled.of_label("1"):
        assert held.measures["aurc"] == pytest.approx(risk_coverage(sure[:, 0], 1 - dice[:, 0]).aurc)
    none = failure_detection([make_run("run", dice, sure)], names(40))
    assert none.order == "All cases are put in one order, since their folds are not known."
    assert quality_content(decision_quality([base], names(40)))["failure_detection"]["order"] == within.order


LONG_NAMES = [
    "nnUNetTrainer_36epochs",
    "nnUNetTrainerDiceL1ACE_soft_bins10_36epochs",
    "nnUNetTrainerDiceNACL_weight0p2_36epochs",
]


def printed(quality, runs, width):
    console = Console(file=io.StringIO(), width=width)
    print_quality(quality, runs, LABELS, console)
    return console.file.getvalue().splitlines()


def test_printed_tables_have_one_line_a_run(random):
    """With long names: each is in one line, so are the figures beside it, and shorter names are explained."""
    dice = random.uniform(0.3, 0.95, (6, 2))
    held = [make_run(name, dice, random.uniform(0, 1, (6, 2)), random.uniform(1, 2, (6, 3))) for name in LONG_NAMES]
    quality = decision_quality(held, names(6))
    shorter = ["nnUNetTrainer", "DiceL1ACE_soft_bins10", "DiceNACL_weight0p2"]
    for width, labels in ((80, shorter), (200, LONG_NAMES)):
        lines = printed(quality, LONG_NAMES, width)
        found = [line.split() for line in lines]
        for label in labels:
            assert sum(line[:1] == [label] and len(line) == 5 for line in found) == 1, "confidences"
            assert found.count([label]) == 1, "volumes, above its classes"
        explained = "Names of runs without what they have in common: nnUNetTrainer..._36epochs" in lines
        assert explained == (width == 80)
        assert sum(line[:1] == ["body"] for line in found) == 3


def test_the_trainings_of_a_run_have_its_name(random):
    """Volumes are of each training, a name that is none of the runs."""
    runs = ["base", f"{LONG_NAMES[1]}{LONG_NAMES[2]}"]
    dice = random.uniform(0.3, 0.95, (3, 2))
    held = [make_run(name, dice, dice, random.uniform(1, 2, (3, 3))) for name in runs]
    held[1] = dataclasses.replace(held[1], repeats=(make_run("again", dice, dice, random.uniform(1, 2, (3, 3))),))
    lines = [line.strip() for line in printed(decision_quality(held, names(3)), runs, 80)]
    assert f"run: {runs[1]}" in lines
    assert {"run (training 1)", "run (training 2)"} <= set(lines)
