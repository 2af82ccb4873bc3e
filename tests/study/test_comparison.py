"""Comparisons of runs whose scores per case are given: verdicts, names, what is left out, what is refused, the files."""

import copy
import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from nnunet_nacl.errors import InputError
from nnunet_nacl.report.comparison_table import print_comparison
from nnunet_nacl.study.cautions import cautions
from nnunet_nacl.study.comparison import compare_runs
from nnunet_nacl.study.comparison_files import write_comparison
from nnunet_nacl.study.direction import Better, direction_of
from nnunet_nacl.study.run import Run

SETS = ("all", "foreground", "predicted")


def make_run(folder, dice, ece, gap=None, names=None):
    """A run of cases with given Dice ``(N, 2)``, and ECE and gap ``(N,)`` in every voxel set; NaN is null."""
    dice, ece = np.asarray(dice, float), np.asarray(ece, float)
    gap = np.full(len(ece), 0.01) if gap is None else gap

    def plain(value):
        return None if np.isnan(value) else float(value)

    cases = [
        {
            "case": name,
            "metrics": {
                str(label): {
                    "Dice": plain(value),
                    "class_wise_ECE": dict.fromkeys(SETS, plain(ece[row] / (label + 1))),
                    "n_ref": 100 + row,
                }
                for label, value in enumerate((0.99, *dice[row]))
            },
            "voxel_sets": {
                voxel_set: {"n_voxels": 1000 + row, "ECE": plain(ece[row]), "gap": plain(gap[row]), "confidence": 0.9}
                for voxel_set in SETS
            },
            "n_ignored": 0,
        }
        for row, name in enumerate(names or [f"case_{number:03d}" for number in range(len(ece))])
    ]
    protocol = {
        "n_bins": 15,
        "voxel_sets": dict.fromkeys(SETS, "meaning"),
        "labels": {"0": "background", "1": "body", "2": "cap [red]"},
        "n_cases": len(cases),
    }
    summary = {"schema_version": 1, "metric_per_case": cases, "protocol": protocol}
    return Run(folder.name, folder, summary, {})


@pytest.fixture
def random():
    return np.random.default_rng(3)


@pytest.fixture
def base(tmp_path, random):
    return make_run(tmp_path / "base", random.uniform(0.7, 0.9, (30, 2)), random.uniform(0.1, 0.2, 30))


def changed(run, folder, **change):
    """The run in another folder with ``change`` added to the scores of its cases."""
    cases = run.summary["metric_per_case"]
    dice = np.array([[case["metrics"][label]["Dice"] for label in "12"] for case in cases], float)
    ece = np.array([case["voxel_sets"]["all"]["ECE"] for case in cases], float)
    gap = np.array([case["voxel_sets"]["all"]["gap"] for case in cases], float)
    values = {"dice": dice, "ece": ece, "gap": gap}
    return make_run(folder, **{name: value + change.get(name, 0) for name, value in values.items()})


def row(comparison, score, voxel_set=None, label=None):
    (found,) = [
        difference
        for difference in comparison.differences
        if (difference.quantity.score, difference.quantity.voxel_set, difference.quantity.label)
        == (score, voxel_set, label)
    ]
    return found


def printed(comparison, width):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(comparison, console)
    return console.file.getvalue()


def test_words_and_numbers(base, tmp_path, random):
    better = changed(
        base, tmp_path / "better", dice=-0.02 + random.normal(0, 0.001, (30, 2)), ece=random.uniform(-0.06, -0.04, 30)
    )
    comparison = compare_runs(base, [better], scores=("Dice", "ECE", "gap"))
    dice, ece = row(comparison, "Dice"), row(comparison, "ECE", "predicted")
    assert (dice.verdict, ece.verdict) == ("worse", "better")
    assert dice.in_words == "segments worse: Dice lower by 0.0199"
    assert ece.in_words == f"better calibrated: ECE lower by {-ece.result.difference:.4f}"
    assert row(comparison, "ECE", "foreground").in_words.startswith("better by convention: ECE lower by")
    assert (ece.result.n_lower, ece.result.rank_biserial, ece.result.method) == (30, -1, "exact")
    assert ece.result.low < ece.result.difference < ece.result.high < 0
    assert row(comparison, "gap", "all").verdict == "no test"
    assert row(comparison, "gap", "all").in_words == "not tested: equal in all 30 cases"
    # Holm over the tests made: Dice and three voxel sets of ECE, all with the smallest p there is
    assert comparison.n_tests == 4
    assert ece.p_holm == pytest.approx(4 * 2 / 2**30)
    (caution,) = cautions(comparison)
    assert "Segmentation is worse in better (Dice" in caution


def test_no_clear_difference(base, tmp_path, random):
    other = changed(base, tmp_path / "other", ece=np.tile([0.01, -0.01], 15) * random.uniform(0.5, 1.5, 30))
    difference = row(compare_runs(base, [other], scores=("ECE",)), "ECE", "all")
    assert difference.verdict == "unclear"
    assert difference.in_words.startswith("no clear difference: ECE ")
    assert difference.result.low < 0 < difference.result.high


def test_gap_is_compared_by_its_absolute_value(base, tmp_path):
    """From +0.01 to -0.05 is lower, but further from zero."""
    under = changed(base, tmp_path / "under", gap=-0.06 - np.linspace(0, 0.01, 30))
    gap = row(compare_runs(base, [under], scores=("gap",)), "gap", "all")
    assert gap.absolute
    assert (gap.verdict, gap.result.base) == ("worse", pytest.approx(0.01))
    assert gap.result.difference == pytest.approx(0.045)
    assert gap.in_words == "worse calibrated: |gap| higher by 0.0450"


def test_mean_and_ranks_that_disagree(base, tmp_path):
    """A little lower in 28 cases, far higher in two: the test finds lower, the mean is higher."""
    change = np.r_[np.linspace(-0.01, -0.02, 28), 0.9, 0.8]
    difference = row(compare_runs(base, [changed(base, tmp_path / "odd", ece=change)], scores=("ECE",)), "ECE", "all")
    assert difference.p_holm < 0.05
    assert difference.result.difference > 0 > difference.result.rank_biserial
    assert difference.verdict == "mixed"
    assert "on average, but the ranks of the cases point the other way" in difference.in_words


def test_test_and_interval_that_disagree(tmp_path):
    """Lower in all cases but one, far higher in that: the ranks tell it from 0, the interval of the mean does not."""
    base = make_run(tmp_path / "base", np.full((16, 2), 0.8), np.linspace(0.1, 0.2, 16))
    change = np.r_[np.linspace(-0.07, -0.05, 15), 0.2]
    difference = row(compare_runs(base, [changed(base, tmp_path / "odd", ece=change)], scores=("ECE",)), "ECE", "all")
    assert difference.p_holm < 0.05
    assert difference.result.low < difference.result.difference < 0 < difference.result.high
    assert difference.result.rank_biserial < 0, "mean and ranks point the same way"
    assert difference.verdict == "unclear"
    assert difference.in_words.startswith("test and interval disagree: ECE lower by 0.04")


def test_score_without_a_better_direction(base, tmp_path):
    other = copy.deepcopy(base.summary)
    for number, case in enumerate(other["metric_per_case"]):
        case["voxel_sets"]["all"]["confidence"] = 0.95 + number / 1000
    run = Run("sure", tmp_path / "sure", other, {})
    difference = row(compare_runs(base, [run], scores=("confidence",), voxel_sets=("all",)), "confidence", "all")
    assert difference.verdict == "higher"
    assert difference.in_words == "confidence higher by 0.0645"
    everything = compare_runs(base, [run], scores=("all",), voxel_sets=("all",))
    assert {one.quantity.score for one in everything.differences} == {"Dice", "ECE", "gap"}


@pytest.mark.parametrize(
    ("score", "better"),
    [
        *(
            (name, Better.LOWER)
            for name in ("ECE", "ACE", "MCE", "class_wise_ECE", "equal_mass_ECE", "NLL", "Brier", "HD95")
        ),
        *((name, Better.HIGHER) for name in ("Dice", "accuracy")),
        ("gap", Better.NEARER_TO_ZERO),
        *(
            (name, Better.NEITHER)
            for name in ("confidence", "soft_volume_ml", "Brier_uncertainty", "ECEntricity", "new")
        ),
    ],
)
def test_directions(score, better):
    assert direction_of(score).better is better


def test_rows_per_class(base, tmp_path):
    other = changed(base, tmp_path / "other", ece=-0.01, dice=0.01)
    comparison = compare_runs(base, [other], scores=("Dice", "class_wise_ECE"), voxel_sets=("all",), per_class=True)
    keys = [(one.quantity.score, one.quantity.voxel_set, one.quantity.label) for one in comparison.differences]
    assert keys == [
        ("Dice", None, None), ("Dice", None, "1"), ("Dice", None, "2"),
        ("class_wise_ECE", "all", "1"), ("class_wise_ECE", "all", "2"),
    ]  # fmt: skip
    assert row(comparison, "class_wise_ECE", "all", "2").result.difference == pytest.approx(-0.01 / 3)
    with pytest.raises(InputError, match="has class_wise_ECE for each class only"):
        compare_runs(base, [other], scores=("class_wise_ECE",))


def absent_in(run, label, rows):
    """Make the labels of these cases lack a class."""
    for number in rows:
        run.summary["metric_per_case"][number]["metrics"][label]["n_ref"] = 0


def test_a_class_that_only_one_run_predicts_costs(tmp_path):
    """The labels of cases 1 and 2 lack the cap. The base leaves it out; the run predicts it and gets Dice 0, as from nnU-Net."""
    nan = np.nan
    base = make_run(tmp_path / "base", [[0.8, 0.6], [0.8, nan], [0.6, nan]], [0.1] * 3)
    run = make_run(tmp_path / "run", [[0.8, 0.6], [0.8, 0.0], [0.6, nan]], [0.1] * 3)
    for each in (base, run):
        absent_in(each, "2", (1, 2))
    comparison = compare_runs(base, [run], per_class=True, scores=("Dice",))
    mean = row(comparison, "Dice").result
    assert (mean.n_pairs, mean.n_undefined_base, mean.n_undefined_run) == (3, 0, 0)
    assert (mean.base, mean.run) == (pytest.approx((0.7 + 0.8 + 0.6) / 3), pytest.approx((0.7 + 0.4 + 0.6) / 3))
    # nnU-Net's mean of the class: 0.6 over one case, and (0.6 + 0) / 2
    of_class = row(comparison, "Dice", None, "2").result
    assert (of_class.n_pairs, of_class.base, of_class.run) == (2, pytest.approx(0.6), pytest.approx(0.3))
    assert comparison.predicted_where_absent == {"base": {"1": 0, "2": 0}, "run": {"1": 0, "2": 1}}
    assert any(
        "run: predicts cap [red] in 1 of 3 cases whose labels lack it, the base in 0" in each
        for each in cautions(comparison)
    )
    back = row(compare_runs(run, [base], per_class=True, scores=("Dice",)), "Dice", None, "2").result
    assert back.difference == pytest.approx(-of_class.difference)


def test_healthy_cases_in_which_one_run_finds_something(tmp_path):
    """One class, labelled in six cases; in four others the run alone predicts it. Both means are nnU-Net's: 0.8, and 6 x 0.8 / 10."""
    dice = np.full((10, 2), np.nan)
    dice[:6, 0] = 0.8
    base = make_run(tmp_path / "base", dice, [0.1] * 10)
    dice[6:, 0] = 0.0
    run = make_run(tmp_path / "run", dice, [0.1] * 10)
    for each in (base, run):
        absent_in(each, "1", range(6, 10))
    result = row(compare_runs(base, [run], scores=("Dice",)), "Dice").result
    assert (result.n_pairs, result.base, result.run) == (10, pytest.approx(0.8), pytest.approx(0.48))


def test_a_class_that_the_base_never_has(tmp_path):
    """No mean to enter with: no pair, and counted."""
    base = make_run(tmp_path / "base", [[0.8, np.nan]] * 3, [0.1] * 3)
    run = make_run(tmp_path / "run", [[0.8, 0.0]] * 3, [0.1] * 3)
    comparison = compare_runs(base, [run], per_class=True, scores=("Dice",))
    assert row(comparison, "Dice").result.difference == pytest.approx(-0.4)
    result = row(comparison, "Dice", None, "2").result
    assert (result.n_pairs, result.n_undefined_base, result.n_undefined_run) == (0, 3, 0)
    assert any("Dice class 2: compared in 0 of 3 cases" in caution for caution in cautions(comparison))


def test_cases_left_out_and_holm_over_all_runs(base, tmp_path, random):
    names = [f"case_{number:03d}" for number in range(30)]
    first = changed(base, tmp_path / "first", ece=-0.01)
    second = changed(base, tmp_path / "second", ece=random.normal(0, 0.02, 30))
    second.summary["metric_per_case"][:] = second.summary["metric_per_case"][5:]
    comparison = compare_runs(base, [first, second], scores=("ECE",))
    assert comparison.cases == tuple(names[5:])
    assert comparison.left_out == {"base": tuple(names[:5]), "first": tuple(names[:5]), "second": ()}
    assert comparison.n_tests == 6
    assert all(one.result.n_pairs == 25 for one in comparison.differences)
    assert "left out of base, since not every run has them: case_000, case_001" in printed(comparison, 200)
    assert "for all 6 tests made" in printed(comparison, 200)


def test_few_cases(tmp_path, random):
    base = make_run(tmp_path / "base", np.full((7, 2), 0.8), np.linspace(0.1, 0.2, 7))
    run = changed(base, tmp_path / "run", ece=-np.linspace(0.01, 0.02, 7))
    few, many = (compare_runs(base, [run], scores=("ECE",), voxel_sets=sets) for sets in (("all",), SETS))
    assert row(few, "ECE", "all").verdict == "better"
    assert row(many, "ECE", "all").verdict == "better"
    many = compare_runs(base, [run, changed(run, tmp_path / "run2", ece=-np.linspace(0.01, 0.02, 7))], scores=("ECE",))
    assert {one.verdict for one in many.differences} == {"unclear"}
    assert any("With 7 cases and 6 tests not even a score that differs the same way" in text for text in cautions(many))
    (caution,) = cautions(few)
    assert caution.startswith("With 7 cases the intervals are too narrow where scores are skewed")


def test_one_case(tmp_path):
    base, run = (make_run(tmp_path / name, [[0.8, 0.7]], [ece]) for name, ece in (("base", 0.1), ("run", 0.05)))
    comparison = compare_runs(base, [run], scores=("ECE",))
    difference = row(comparison, "ECE", "all")
    assert difference.in_words.startswith("not tested: differs in 1 case only")
    assert np.isnan([difference.result.low, difference.p_holm]).all()
    assert comparison.n_tests == 0
    assert "against base, 1 case" in (text := printed(comparison, 80))
    assert "all 0 tests made" in text
    (tmp_path / "out").mkdir()
    content = json.loads(write_comparison(comparison, tmp_path / "out")[1].read_text())
    assert (content["tests"][0]["low"], content["tests"][0]["p"], content["n_tests"]) == (None, None, 0)


def test_same_folder_again(base, tmp_path):
    other = changed(base, tmp_path / "other", ece=-0.01)
    comparison = compare_runs(base, [base, other, other], scores=("ECE",))
    assert [run.name for run in comparison.runs] == ["other"]
    assert comparison.repeated == (str(base.folder), str(other.folder))
    assert f"given more than once, taken once: {base.folder}" in printed(comparison, 300)
    with pytest.raises(InputError, match="expected at least one run beside the base, but got the base again"):
        compare_runs(base, [base])


def test_equal_runs(base, tmp_path):
    comparison = compare_runs(base, [changed(base, tmp_path / "copy")], scores=("Dice", "ECE"))
    assert {one.in_words for one in comparison.differences} == {"not tested: equal in all 30 cases"}
    assert {(one.result.low, one.result.high) for one in comparison.differences} == {(0, 0)}


def test_names_are_told_apart(base, tmp_path):
    def named(name, *parts):
        run = changed(base, tmp_path.joinpath(*parts), ece=0.01)
        return Run(name, run.folder, run.summary, {})

    same = "T__P__3d"
    folds = [named("T", same, f"fold_{fold}", "validation") for fold in (0, 1)]
    comparison = compare_runs(folds[0], [folds[1], base], scores=("ECE",))
    assert [comparison.base.name, *(run.name for run in comparison.runs)] == ["T (fold_0)", "T (fold_1)", "base"]
    assert {one.run for one in comparison.differences} == {"T (fold_1)", "base"}
    plans = [named("T", f"T__{plan}__3d", "fold_0", "validation") for plan in "PQ"]
    assert compare_runs(plans[0], [plans[1]], scores=("ECE",)).runs[0].name == "T (T__Q__3d)"
    nested = [named("a", "a"), named("a", "a", "a")]
    names = {(both := compare_runs(*nested[:1], nested[1:], scores=("ECE",))).base.name, both.runs[0].name}
    assert len(names) == 2


def test_other_labels_are_refused(base, tmp_path):
    other = changed(base, tmp_path / "other")
    for number in (2, 3):
        other.summary["metric_per_case"][number]["metrics"]["1"]["n_ref"] += 1
    with pytest.raises(InputError, match=r"against other labels than .* differ in case_002, case_003\. Evaluate both"):
        compare_runs(base, [other])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_bins": 10}, "n_bins"),
        ({"voxel_sets": dict.fromkeys(SETS, "other meaning")}, "voxel_sets"),
        ({"labels": {"0": "background", "1": "body", "2": "tail"}}, "labels"),
    ],
)
def test_other_protocols_are_refused(base, tmp_path, change, named):
    other = changed(base, tmp_path / "other")
    other.summary["protocol"].update(change)
    with pytest.raises(InputError, match=f"was evaluated differently from .*{named}"):
        compare_runs(base, [other])


@pytest.mark.parametrize(
    "damage",
    [
        lambda summary: summary.pop("metric_per_case"),
        lambda summary: summary.pop("protocol"),
        lambda summary: summary["metric_per_case"].clear(),
        lambda summary: summary["metric_per_case"][4].pop("voxel_sets"),
        lambda summary: summary["metric_per_case"][4]["voxel_sets"]["all"].pop("ECE"),
        lambda summary: summary["metric_per_case"][4]["voxel_sets"]["all"].update(ECE="much"),
        lambda summary: summary["metric_per_case"][4]["voxel_sets"]["all"].update(ECE=float("inf")),
        lambda summary: summary.update(metric_per_case=3),
    ],
)
def test_damaged_summaries(base, tmp_path, damage):
    other = changed(base, tmp_path / "other")
    damage(other.summary)
    with pytest.raises(InputError, match=r"other/calibration.json: its cases are not as .* writes them"):
        compare_runs(base, [other], scores=("Dice", "ECE"))


def test_unknown_names(base, tmp_path):
    other = changed(base, tmp_path / "other", ece=0.1)
    with pytest.raises(InputError, match="has no scores ece; it has Dice, ECE, gap, confidence, class_wise_ECE"):
        compare_runs(base, [other], scores=("ece",))
    with pytest.raises(InputError, match="has no voxel sets edge; it has all, foreground, predicted"):
        compare_runs(base, [other], scores=("ECE",), voxel_sets=("edge",))


def test_a_score_that_one_run_was_evaluated_without(base, tmp_path):
    older = changed(base, tmp_path / "older", ece=0.1)
    for case in older.summary["metric_per_case"]:
        for of_set in case["voxel_sets"].values():
            del of_set["gap"]
    with pytest.raises(InputError, match="older: has no scores gap; it has Dice, ECE, confidence"):
        compare_runs(base, [older], scores=("gap",))
    compared = {each.quantity.score for each in compare_runs(base, [older], scores=("all",)).differences}
    assert "ECE" in compared and "gap" not in compared
    assert "gap" in {
        each.quantity.score
        for each in compare_runs(base, [changed(base, tmp_path / "new")], scores=("all",)).differences
    }


def test_files(base, tmp_path, random):
    other = changed(base, tmp_path / "other", ece=random.normal(-0.01, 0.02, 30))
    comparison = compare_runs(base, [other], scores=("Dice", "ECE"))
    csv_path, json_path = write_comparison(comparison, tmp_path)
    content = json.loads(json_path.read_text())
    assert content["schema_version"] == 2
    assert (content["base"], content["runs"], content["n_tests"]) == ("base", ["other"], 3)
    assert content["protocol"]["interval"]["level"] == 0.95
    assert "Hall" in content["protocol"]["interval"]["method"]
    assert content["protocol"]["evaluation"]["n_bins"] == 15
    assert content["provenance"]["files"] == {"base": str(base.folder), "other": str(other.folder)}
    assert "scipy" in content["provenance"]["versions"]
    assert content["cases"] == [f"case_{number:03d}" for number in range(30)]
    with csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(content["tests"]) == 4
    for in_csv, in_json in zip(rows, content["tests"], strict=True):
        assert in_json.pop("parts") == {}
        again = in_json.pop("trained_again")
        assert again.pop("trainings") == []
        in_json |= {f"trained_again_{key}": value for key, value in again.items()}
        assert in_csv == {key: "" if value is None else str(value) for key, value in in_json.items()}
    ece = next(test for test in content["tests"] if (test["score"], test["voxel_set"]) == ("ECE", "all"))
    assert ece["difference"] == row(comparison, "ECE", "all").result.difference
    assert ece["run_mean"] - ece["base_mean"] == pytest.approx(ece["difference"])
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.csv", "comparison.json"}


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits(base, tmp_path, random, width):
    other = changed(base, tmp_path / "other", ece=random.normal(-0.01, 0.02, 30), dice=-0.05)
    comparison = compare_runs(base, [other], scores=("all",), per_class=True)
    text = printed(comparison, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    difference = row(comparison, "ECE", "predicted")
    result = difference.result
    line = next(line for line in text.splitlines() if line.lstrip().startswith("ECE") and "predicted" in line)
    for shown in (
        f"{result.base:.4f}",
        f"{result.run:.4f}",
        f"{result.difference:+.4f}",
        f"{result.low:+.4f} to {result.high:+.4f}",
    ):
        assert shown in line
    assert "cap [red]" in text
    assert "* voxels chosen by their label" in text
    assert ("effect" in text) == (width == 120)


def test_many_cautions_are_cut(tmp_path):
    base = make_run(tmp_path / "base", np.full((25, 2), 0.8), np.r_[np.nan, np.linspace(0.1, 0.2, 24)])
    runs = [changed(base, tmp_path / f"run{number}", ece=0.01 * (number + 1)) for number in range(5)]
    text = printed(compare_runs(base, runs, scores=("ECE",)), 200)
    assert text.count("compared in 24 of 25 cases; not defined in 1 of the base and 1 of the run") == 10
    assert "! 5 more in comparison.json" in text
