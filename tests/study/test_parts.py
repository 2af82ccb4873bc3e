"""The differences of the folds, comparisons over some folds only, and what they look like on the terminal and in the files."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from runs import pair, run_of

from nnunet_nacl.errors import InputError
from nnunet_nacl.report.comparison_table import print_comparison
from nnunet_nacl.report.parts_table import signs_in_words
from nnunet_nacl.study.case_scores import Quantity
from nnunet_nacl.study.comparison import compare_runs
from nnunet_nacl.study.comparison_files import write_comparison
from nnunet_nacl.study.parts import PartDifference, common_sign, differences_of_parts, folds_among, in_order


def compared(base, runs, scores=("Dice", "ECE"), **options):
    return compare_runs(base, runs, scores, **options)


def of(comparison, score, voxel_set=None, run="run"):
    (found,) = [one for one in comparison.of_run(run) if one.quantity == Quantity(score, voxel_set)]
    return found


def printed(comparison, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_comparison(comparison, console)
    return console.file.getvalue()


def test_differences_of_folds_by_hand(tmp_path):
    names = ["fold_0", "fold_1", "fold_0", "fold_1", "fold_2"]
    ece = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    change = np.array([-0.03, 0.01, -0.01, np.nan, 0.0])
    base = run_of(tmp_path / "base", ece, dict.fromkeys(("all", "predicted", "foreground"), ece), names)
    run = run_of(tmp_path / "run", ece, dict.fromkeys(("all", "predicted", "foreground"), ece + change), names)
    found = of(compared(base, [run]), "ECE", "all")
    assert [(part.part, part.n_pairs) for part in found.parts] == [("fold_0", 2), ("fold_1", 1), ("fold_2", 1)]
    assert [part.difference for part in found.parts] == pytest.approx([-0.02, 0.01, 0.0])
    assert common_sign(found.parts) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1, 1) | st.just(np.nan)), min_size=1, max_size=20))
def test_parts_together_are_the_whole(cases):
    """Weighted by their pairs, the means of the parts are the mean of all; a common sign is that of the mean."""
    names, values = [name for name, _ in cases], np.array([value for _, value in cases])
    parts = differences_of_parts(values, names)
    assert [part.part for part in parts] == sorted(set(names))
    assert sum(part.n_pairs for part in parts) == np.count_nonzero(~np.isnan(values))
    filled = [part for part in parts if part.n_pairs]
    assert all(np.isnan(part.difference) for part in parts if not part.n_pairs)
    if filled:
        assert sum(part.n_pairs * part.difference for part in filled) == pytest.approx(np.nansum(values), abs=1e-12)
    sign = common_sign(parts)
    if sign:
        assert len(filled) == len(parts)
        assert all(part.difference * sign > 0 for part in parts)
    flipped = differences_of_parts(-values, names)
    assert common_sign(flipped) == -sign


@pytest.mark.parametrize(
    ("differences", "sign"),
    [
        ((-0.1, -0.2), -1),
        ((0.1, 1e-9), 1),
        ((0.1, -1e-9), 0),
        ((0.1, 0.0), 0),
        ((0.1, np.nan), 0),
        ((0.0,), 0),
        ((), 0),
    ],
)
def test_common_sign(differences, sign):
    assert common_sign([PartDifference(str(number), 1, value) for number, value in enumerate(differences)]) == sign


def test_names_in_order():
    assert in_order(["fold_10", "fold_2", "b/fold_1", "fold_2", "10", "9", "b"]) == [
        "9", "10", "b", "b/fold_1", "fold_2", "fold_10",
    ]  # fmt: skip
    assert folds_among(["B/fold_1", "A/fold_0", "left", "fold_1"]) == ["fold_0", "fold_1"]


def test_folds_are_no_tests(tmp_path):
    """n_tests, p and the interval are the same with parts known and without."""
    known, unknown = (compared(*split(pair(tmp_path, predicted=-0.01, n_folds=n))) for n in (3, None))
    assert known.n_tests == unknown.n_tests == 4
    assert [one.p_holm for one in known.differences] == [one.p_holm for one in unknown.differences]
    assert all(len(one.parts) == 3 for one in known.differences)
    assert not any(one.parts for one in unknown.differences)


def split(runs):
    return runs[0], [*runs[1:]]


def test_one_side_or_none_knows_its_folds(tmp_path):
    with_folds, without = pair(tmp_path / "a"), pair(tmp_path / "b", n_folds=None)
    for base, run, words in (
        (with_folds[0], without[1], "the run does not know"),
        (without[0], with_folds[1], "the base does not know"),
        (without[0], without[1], "neither base nor run knows"),
    ):
        comparison = compared(base, [run])
        assert comparison.no_parts["run"].startswith(words)
        assert not any(one.parts for one in comparison.differences)


def test_other_splits_are_not_held_against_each_other(tmp_path):
    base, run = pair(tmp_path)
    for number in (3, 7):
        run.summary["metric_per_case"][number]["part"] = "fold_2"
    comparison = compared(base, [run])
    assert comparison.no_parts["run"] == "case_003 is of fold_0 in the base and of fold_2 in the run (1 more differ)"
    assert not any(one.parts for one in comparison.differences)
    with pytest.raises(InputError, match=r"by parts: case_003 is of fold_0 in the base and of fold_2 in the run"):
        compared(base, [run], parts=["fold_0"])


def test_parts_of_one_run_do_not_depend_on_another(tmp_path):
    base, run = pair(tmp_path)
    plain = pair(tmp_path / "other", n_folds=None)[1]
    comparison = compared(base, [run, type(plain)("plain", plain.folder, plain.summary, {})])
    assert of(comparison, "ECE", "all").parts and not of(comparison, "ECE", "all", "plain").parts
    assert set(comparison.no_parts) == {"plain"}


def test_some_folds_only(tmp_path):
    base, run = pair(tmp_path, predicted=-0.01)
    whole, some = compared(base, [run]), compared(base, [run], parts=["fold_2", "fold_1"])
    assert some.parts == ("fold_1", "fold_2")
    assert some.cases == tuple(f"case_{row:03d}" for row in range(30) if row % 3)
    assert some.of_other_parts == tuple(f"case_{row:03d}" for row in range(0, 30, 3))
    assert some.left_out == {"base": (), "run": ()}
    found = of(some, "ECE", "predicted")
    assert found.result.n_pairs == 20
    assert found.parts == of(whole, "ECE", "predicted").parts[1:]
    assert found.result.difference == pytest.approx(np.mean([part.difference for part in found.parts]))
    text = printed(some, 100)
    assert "against base, 20 cases of fold_1, fold_2" in text
    assert "10 cases of other folds left out, as chosen" in text


def test_cases_that_a_run_lacks_are_not_those_of_other_folds(tmp_path):
    base, run = pair(tmp_path)
    del run.summary["metric_per_case"][4], run.summary["metric_per_case"][0]
    some = compared(base, [run], parts=["fold_1"])
    assert some.left_out == {"base": ("case_000", "case_004"), "run": ()}
    assert "case_004" not in some.of_other_parts and "case_003" in some.of_other_parts


def test_parts_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="base: has no part fold_7, x; it has fold_0, fold_1, fold_2"):
        compared(*split(pair(tmp_path)), parts=["fold_7", "fold_1", "x"])
    with pytest.raises(InputError, match=r"cannot be compared with .*base by parts: neither base nor run knows"):
        compared(*split(pair(tmp_path, n_folds=None)), parts=["fold_1"])


def test_files_hold_every_fold(tmp_path):
    base, run = pair(tmp_path, predicted=-0.01)
    base.summary["metric_per_case"][0]["voxel_sets"]["all"]["ECE"] = None
    comparison = compared(base, [run])
    csv_path, json_path = write_comparison(comparison, tmp_path)
    content = json.loads(json_path.read_text())
    with csv_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, test, difference in zip(rows, content["tests"], comparison.differences, strict=True):
        assert list(test["parts"]) == ["fold_0", "fold_1", "fold_2"]
        for part in difference.parts:
            assert test["parts"][part.part] == {"n_pairs": part.n_pairs, "difference": part.difference}
            assert row[f"difference_{part.part}"] == str(part.difference)
            assert row[f"n_pairs_{part.part}"] == str(part.n_pairs)
        assert row["same_sign"] == str(test["same_sign"]) == str(common_sign(difference.parts) != 0)
    in_all = next(test for test in content["tests"] if (test["score"], test["voxel_set"]) == ("ECE", "all"))
    assert [part["n_pairs"] for part in in_all["parts"].values()] == [9, 10, 10]
    assert (content["parts"], content["of_other_parts"]) == (None, [])
    chosen = json.loads(write_comparison(compared(base, [run], parts=["fold_2"]), tmp_path)[1].read_text())
    assert chosen["parts"] == ["fold_2"] and len(chosen["of_other_parts"]) == 20


def test_a_fold_without_pairs_is_empty_in_the_files(tmp_path):
    base, run = pair(tmp_path)
    for case in run.summary["metric_per_case"][1::3]:
        case["voxel_sets"]["all"]["ECE"] = None
    csv_path, json_path = write_comparison(compared(base, [run], scores=("ECE",)), tmp_path)
    first = json.loads(json_path.read_text())["tests"][0]
    assert first["parts"]["fold_1"] == {"n_pairs": 0, "difference": None}
    assert first["same_sign"] is False
    with csv_path.open(newline="") as file:
        assert next(csv.DictReader(file))["difference_fold_1"] == ""


@pytest.mark.parametrize(("width", "n_folds"), [(80, 5), (80, 12), (120, 5), (120, 9), (120, 12)])
def test_folds_on_the_terminal(tmp_path, width, n_folds):
    comparison = compared(*split(pair(tmp_path, predicted=-0.01, in_all=0.0001, n_folds=n_folds, n_cases=60)))
    text = printed(comparison, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    table = text[text.index("signs") :]
    predicted, in_all = (
        next(line for line in table.splitlines() if line.split()[:2] == ["ECE", name]) for name in ("predicted", "all")
    )
    parts = of(comparison, "ECE", "predicted").parts
    assert predicted.rstrip().endswith("same sign") and in_all.rstrip().endswith("differ")
    if n_folds == 12:
        assert predicted.split()[2:6] == [
            f"{min(part.difference for part in parts):+.4f}",
            f"{max(part.difference for part in parts):+.4f}",
            "12",
            "0",
        ]
    else:
        assert predicted.split()[2:-2] == [f"{part.difference:+.4f}" for part in parts]


def test_one_fold_has_no_table_of_folds(tmp_path):
    text = printed(compared(*split(pair(tmp_path, n_folds=1))), 200)
    assert "signs" not in text
    assert "no answer with fewer than 5 trainings of different folds, and this is 1" in text


def test_names_of_parts_stay_text(tmp_path):
    base, run = pair(tmp_path)
    for each in (base, run):
        for case in each.summary["metric_per_case"]:
            case["part"] = f"[red]{case['part'][-1]}[/nonsense]"
    assert "[red]" in printed(compared(base, [run]), 200)


def test_a_part_that_is_no_text(tmp_path):
    base, run = pair(tmp_path)
    for case in run.summary["metric_per_case"]:
        case["part"] = None
    assert compared(base, [run]).no_parts["run"].startswith("the run does not know")


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ((0.0, 0.0, 0.0), "no difference in any"),
        ((0.1, 0.0, 0.2), "signs differ"),
        ((-0.1, -0.2), "same sign"),
        ((0.0, np.nan), "signs differ"),
        ((), "signs differ"),
    ],
)
def test_signs_in_words(differences, words):
    """A recalibration changes no mask: Dice differs in no fold, which was called differing signs."""
    assert signs_in_words([PartDifference(str(place), 1, value) for place, value in enumerate(differences)]) == words
