"""`nnunet-nacl merge`: parts, folds and machines together are the whole, bit for bit."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation import evaluate_folder
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, write_result
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.merging import merge_results
from nnunet_nacl.evaluation.summary import summarize


def statistics_of(seed, n_bins=4):
    generator = np.random.default_rng(seed)
    statistics = CalibrationStatistics.empty(2, n_bins)
    n_voxels = int(generator.integers(0, 40))
    statistics.update(generator.dirichlet([1, 1], n_voxels).T, generator.integers(0, 2, n_voxels))
    return statistics


def result_of(names, n_problems=1, protocol=None):
    cases = tuple(
        CaseResult(
            Case(name, Path(f"{name}.npz"), Path(f"{name}.nii")),
            tuple(statistics_of([problem, *map(ord, name)]) for problem in range(n_problems)),
            1.0,
            np.full(2, np.nan),
        )
        for name in sorted(names)
    )
    return FolderResult(cases, protocol or {"n_bins": 4}, {})


def assert_same_cases(one, other):
    assert [result.case for result in one.cases] == [result.case for result in other.cases]
    for ours, theirs in zip(one.cases, other.cases, strict=True):
        for a, b in zip(ours.problems, theirs.problems, strict=True):
            assert_equal(a, b)


def assert_equal(one, other):
    for field in fields(CalibrationStatistics):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@settings(max_examples=30)
@given(
    parts=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 3), min_size=1, max_size=8),
    n_problems=st.integers(1, 3),
    order=st.permutations(range(4)),
)
def test_any_split_in_any_order_is_the_whole(parts, n_problems, order):
    whole = result_of(parts, n_problems)
    split = {
        Path(str(part)): replace(whole, cases=tuple(case for case in whole.cases if parts[case.case.name] == part))
        for part in order
    }
    merged = merge_results(split)
    assert_same_cases(merged, whole)
    assert_equal(merged.pooled, whole.pooled)
    for ours, theirs in zip(merged.pooled_problems, whole.pooled_problems, strict=True):
        assert_equal(ours, theirs)
    # and so is merging what was merged
    (first, part), *rest = split.items()
    again = merge_results({Path("some"): merge_results(dict(rest)), first: part})
    assert_same_cases(again, whole)


def test_duplicates_are_named():
    with pytest.raises(InputError, match=r"2 came twice: b \(in one and two\), c \(in one and two\)"):
        merge_results({Path("one"): result_of("abc"), Path("two"): result_of("bcd")})


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({"n_bins": 9, "labels": {"0": "background"}}, "n_bins 4 against 9"),
        ({"n_bins": 4, "labels": {"0": "air"}}, "labels {'0': 'background'} against {'0': 'air'}"),
        ({"n_bins": 4, "labels": {"0": "background"}, "new": 1}, "new None against 1"),
    ],
)
def test_other_protocol_is_named(protocol, words):
    base = result_of("a", protocol={"n_bins": 4, "labels": {"0": "background"}})
    with pytest.raises(InputError, match="two was evaluated differently from one: ") as refused:
        merge_results({Path("one"): base, Path("two"): result_of("b", protocol=protocol)})
    assert words in str(refused.value)


def test_order_of_regions_counts():
    """It is the order of the channels, and of the problems."""
    one = result_of("a", 2, {"labels": {"(1, 2)": "whole", "2": "core"}})
    other = result_of("b", 2, {"labels": {"2": "core", "(1, 2)": "whole"}})
    with pytest.raises(InputError, match="was evaluated differently"):
        merge_results({Path("one"): one, Path("two"): other})


@pytest.fixture
def folders(phantom_task, dataset_files):
    return [phantom_task / "labelsTr", phantom_task / "posteriorTr", *dataset_files]


@pytest.fixture
def parts(folders, tmp_path):
    """Four parts of six cases: two of two cases, two of one."""
    paths = [tmp_path / f"part_{part}_of_4" for part in range(4)]
    for part, path in enumerate(paths):
        path.mkdir()
        write_result(evaluate_folder(*folders, num_parts=4, part_id=part), path)
    return paths


def test_parts_merged_by_command_are_the_whole(parts, folders, tmp_path, capsys):
    assert main(["merge", *map(str, reversed(parts)), "-o", str(tmp_path / "out")]) == 0
    assert "wrote" in capsys.readouterr().out
    whole, merged = evaluate_folder(*folders), read_result(tmp_path / "out" / BINS_FILE)
    assert_same_cases(merged, whole)
    expected = summarize(whole)
    summary = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert [part["folder"] for part in summary["provenance"]["files"]["merged"]] == [str(p) for p in reversed(parts)]
    # beside the part that each case is of, it is what one evaluation of all of them gives
    assert [case.pop("part") for case in summary["metric_per_case"]] == [
        f"part_{number % 4}_of_4" for number in range(6)
    ]
    for name in set(expected) - {"provenance"}:
        assert summary[name] == json.loads(json.dumps(expected[name])), name
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"calibration.json", "calibration_cases.csv", BINS_FILE, "reliability_all.png"} <= written


def test_a_missing_part_is_named(parts, tmp_path, capsys):
    assert main(["merge", *map(str, [parts[0], parts[3]]), "-o", str(tmp_path / "out")]) == 1
    assert (
        f"Expected all 4 parts of 6 cases, but got part 0 ({parts[0]}), 3 ({parts[3]}) and not part 1 (2 cases), 2 (1 case). "
        "Evaluate what is missing" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_parts_without_a_case_are_not_asked_for(folders, tmp_path):
    results = {Path(str(part)): evaluate_folder(*folders, num_parts=8, part_id=part) for part in range(6)}
    assert len(merge_results(results).cases) == 6


def test_folders_that_hold_one_part_each(folders, tmp_path):
    """As two machines leave them that predict with -num_parts 2: evaluated with the same options they are the whole."""
    labels, predictions, *files = folders
    results = {}
    for part in range(2):
        machine = tmp_path / f"machine{part}"
        machine.mkdir()
        for path in sorted(predictions.glob("*.npz"))[part::2]:
            (machine / path.name).symlink_to(path)
        results[machine] = evaluate_folder(labels, machine, *files, num_parts=2, part_id=part)
    merged = merge_results(results)
    assert [result.case.name for result in merged.cases] == [f"phantom_{number:03d}" for number in range(6)]


def test_parts_of_parts_are_not_merged(folders, tmp_path):
    """Machines that hold other cases than every second one: nobody can know, but their parts are not of one whole."""
    labels, predictions, *files = folders
    results = {}
    for part in range(2):
        machine = tmp_path / f"machine{part}"
        machine.mkdir()
        for path in sorted(predictions.glob("*.npz"))[3 * part : 3 * part + 3]:
            (machine / path.name).symlink_to(path)
        results[machine] = evaluate_folder(labels, machine, *files, num_parts=2, part_id=part)
    with pytest.raises(InputError, match=r"not part 1 \(1 case\)\. The others were taken of folders with other cases"):
        merge_results(results)


@pytest.mark.parametrize("held", [3, {}, {"num_parts": "a", "part_id": 0, "n_cases": 2, "whole": ""}, {"num_parts": 0}])
def test_parts_that_cannot_be_read_are_none(held):
    result = result_of("a")
    merge_results({Path("one"): replace(result, files={"part": held})})


def test_part_command_writes_into_a_folder_of_its_own(folders, tmp_path):
    labels, predictions, dataset, plans = folders
    command = ["evaluate", predictions, "-gt", labels, "-djfile", dataset, "-pfile", plans, "-np", 1, "-o", tmp_path]
    assert main([str(part) for part in [*command, "-num_parts", 3, "-part_id", 2]]) == 0
    cases = read_result(tmp_path / "part_2_of_3" / BINS_FILE).cases
    assert [result.case.name for result in cases] == ["phantom_002", "phantom_005"]
    assert [path.name for path in tmp_path.iterdir()] == ["part_2_of_3"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("-num_parts", 3, "-part_id", 3), "-part_id from 0 to 2 (-num_parts 3), but got 3"),
        (("-num_parts", 3, "-part_id", -1), "but got -1"),
        (("-part_id", 1), "-part_id from 0 to 0"),
        (("-num_parts", 9, "-part_id", 8), "part 8 of 9 has no case"),
    ],
)
def test_parts_that_are_none(extra, message, folders, tmp_path, capsys):
    labels, predictions, dataset, plans = folders
    command = [
        "evaluate",
        predictions,
        "-gt",
        labels,
        "-djfile",
        dataset,
        "-pfile",
        plans,
        "-o",
        tmp_path / "out",
        *extra,
    ]
    assert main([str(part) for part in command]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{0}", "{0}"), "one was given twice"),
        (("{0}", "{1}", "-o", "{1}"), "is one of the results that are merged"),
        (("{0}", "{0}/none"), "calibration_bins.npz: cannot be read"),
    ],
)
def test_merge_refuses(arguments, message, parts, tmp_path, capsys):
    arguments = [argument.format(*parts) for argument in ("-o", str(tmp_path / "out"), *arguments)]
    assert main(["merge", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
