"""Which part of a merged result each case is of: from one merge, from merges of merges, through the files and without them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.evaluation import evaluate_folder
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, write_result
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.merging import merge_results
from nnunet_nacl.evaluation.output import write_summary
from nnunet_nacl.evaluation.part_names import fold_of, part_names
from nnunet_nacl.evaluation.summary import summarize


def result_of(names, softmax="/somewhere", part=""):
    """A result of empty cases, whose softmax files lie in one folder."""
    statistics = (CalibrationStatistics.empty(2, 3),)
    cases = [Case(name, Path(softmax) / f"{name}.npz", Path(f"/gt/{name}.nii")) for name in names]
    return FolderResult(
        tuple(CaseResult(case, statistics, 1.0, np.full(2, np.nan), part=part) for case in cases), {}, {}
    )


def parts(merged):
    return {case.case.name: case.part for case in merged.cases}


def merged(**results):
    """Merge results by folder, ``__`` in a name for ``/``."""
    return merge_results({Path("/", *folder.split("__")): result for folder, result in results.items()})


def test_folds_of_a_trainer():
    plain = merged(T__fold_0=result_of("ac"), T__fold_1=result_of("b"))
    assert parts(plain) == {"a": "fold_0", "b": "fold_1", "c": "fold_0"}
    within = merged(T__fold_0__validation__calibration=result_of("a"), T__fold_10__validation=result_of("b"))
    assert parts(within) == {"a": "fold_0", "b": "fold_10"}


def test_the_same_names_for_each_trainer():
    """What pairs the folds of two runs is their name, so the trainer must not be in it."""
    runs = [merge_results({Path(f"/{trainer}/fold_{n}"): result_of(str(n)) for n in range(3)}) for trainer in "AB"]
    assert parts(runs[0]) == parts(runs[1])


def test_other_folders_go_by_what_tells_them_apart():
    assert parts(merged(x__left=result_of("a"), x__right=result_of("b"))) == {"a": "left", "b": "right"}
    assert parts(merged(x__calibration=result_of("a"), y__calibration=result_of("b"))) == {"a": "x", "b": "y"}
    assert parts(merged(x__run=result_of("a"), y__run=result_of("b"))) == {"a": "x/run", "b": "y/run"}


def test_a_fold_evaluated_in_parts_is_one_fold():
    """Parts of nnU-Net's -num_parts are no replicates: their cases share a network."""
    by_path = merged(T__fold_2__part_0_of_2=result_of("a"), T__fold_2__part_1_of_2=result_of("b"))
    assert parts(by_path) == {"a": "fold_2", "b": "fold_2"}
    validation = "/results/T__P__3d_fullres/fold_2/validation"
    by_softmax = merged(node1=result_of("a", validation), node2=result_of("b", validation))
    assert parts(by_softmax) == {"a": "fold_2", "b": "fold_2"}
    # parts without a fold that are merged first, into the folder of their fold, and then with another fold
    first = merged(node1=result_of("a"), node2=result_of("b"))
    assert parts(first) == {"a": "node1", "b": "node2"}
    assert parts(merged(T__fold_0=first, T__fold_1=result_of("c"))) == {"a": "fold_0", "b": "fold_0", "c": "fold_1"}


def test_the_innermost_fold_is_kept():
    first = merged(T__fold_0=result_of("a"), T__fold_1=result_of("b"))
    second = merged(T__so_far=first, T__fold_2=result_of("c"))
    assert parts(second) == {"a": "fold_0", "b": "fold_1", "c": "fold_2"}
    # a folder above that is named as a fold is not the fold
    assert parts(merged(fold_7__T__all=second)) == {"a": "fold_0", "b": "fold_1", "c": "fold_2"}


def test_folds_of_the_same_name_are_told_apart():
    """Which of them share a network is not known, so they are not one; both are still fold 0."""
    one = merged(A__fold_0=result_of("a"), A__fold_1=result_of("b"))
    other = merged(B__fold_0=result_of("c"))
    both = merged(x__one=one, x__other=other)
    assert parts(both) == {"a": "one/fold_0", "b": "fold_1", "c": "other/fold_0"}
    again = merged(y=both, z=result_of("d", "/T/fold_2"))
    assert parts(again) == {"a": "one/fold_0", "b": "fold_1", "c": "other/fold_0", "d": "fold_2"}
    assert [fold_of(part) for part in parts(again).values()] == ["fold_0", "fold_1", "fold_0", "fold_2"]


def test_a_result_that_was_merged_before_parts_were_kept():
    """Its softmax files still lie in the folds."""
    old = FolderResult(
        tuple(case for fold in (0, 1) for case in result_of(f"{fold}", f"/T/fold_{fold}/validation").cases), {}, {}
    )
    assert parts(merged(old=old)) == {"0": "fold_0", "1": "fold_1"}
    assert parts(merged(old=result_of("a"), T__fold_3=result_of("b"))) == {"a": "old", "b": "fold_3"}


@pytest.mark.parametrize("name", ["fold_all", "fold_", "fold_1x", "manifold_1", "fold_0/validation", "", "crossval_results_folds_0_1"])  # fmt: skip
def test_what_is_no_fold(name):
    """``fold_all`` validates on what it was trained on."""
    assert fold_of(name) == ""


STEPS = st.sampled_from(["A", "B", "fold_0", "fold_1", "validation"])


@given(st.lists(st.lists(STEPS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=8))
def test_distinct_origins_have_distinct_names(paths):
    origins = [Path("/", *path) for path in paths]
    names = part_names(origins)
    assert set(names) == set(origins)
    assert len(set(names.values())) == len(set(origins))
    # and a name tells the fold, where the origin is one
    assert all(fold_of(name) == fold_of(origin.name) for origin, name in names.items())


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6, unique=True), st.data())
def test_merging_in_steps_gives_the_same_parts(folds, data):
    """Whatever was merged first, folds of distinct names keep them."""
    results = {Path(f"/T/fold_{fold}"): result_of([f"c{fold}", f"d{fold}"]) for fold in folds}
    at_once = parts(merge_results(results))
    paths = data.draw(st.permutations(sorted(results)))
    cut = data.draw(st.integers(0, len(paths)))
    first, rest = paths[:cut], paths[cut:]
    held = {path: results[path] for path in rest}
    if first:
        held[Path("/T/so_far")] = merge_results({path: results[path] for path in first})
    assert parts(merge_results(held)) == at_once


def test_parts_are_in_both_files(tmp_path):
    result = merged(T__fold_0=result_of("a"), T__fold_1=result_of(["ä/b"]))
    assert parts(read_result(write_result(result, tmp_path))) == {"a": "fold_0", "ä/b": "fold_1"}


def test_files_without_parts_are_as_ever(phantom_task, dataset_files, tmp_path):
    """A result that is not merged has no such key, in neither file, and one without the key is read."""
    result = evaluate_folder(phantom_task / "labelsTr", phantom_task / "posteriorTr", *dataset_files)
    path = write_result(result, tmp_path)
    with np.load(path) as stored:
        assert "part" not in stored
    summary = json.loads(write_summary(summarize(result), tmp_path).read_text())
    assert all("part" not in case for case in summary["metric_per_case"])
    assert set(parts(read_result(path)).values()) == {""}
    named = replace(result, cases=tuple(replace(case, part="fold_0") for case in result.cases))
    assert [case["part"] for case in summarize(named)["metric_per_case"]] == ["fold_0"] * 6


def test_an_evaluation_recalls_no_part(phantom_task, dataset_files, tmp_path):
    """Cases that are found finished in a merged result are evaluated ones again."""
    folders = [phantom_task / "labelsTr", phantom_task / "posteriorTr", *dataset_files]
    result = evaluate_folder(*folders)
    write_result(replace(result, cases=tuple(replace(case, part="fold_0") for case in result.cases)), tmp_path)
    again = evaluate_folder(*folders, output_folder=tmp_path)
    assert again.recalled == 6
    assert set(parts(again).values()) == {""}
    assert BINS_FILE in {path.name for path in tmp_path.iterdir()}


def test_a_recalibrated_folder_keeps_the_fold_of_its_network(tmp_path):
    """`recalibrate apply --held-out` of each fold into RECAL_0 and RECAL_1: by the record, in the result or, of an older one, beside the predictions."""
    results = {}
    for number, held in enumerate("ab"):
        kept = {"recalibrated": {"predictions": f"/T/fold_{number}/validation", "temperature": "0", "held_out": True}}
        results[Path(f"/RECAL_{number}/calibration")] = replace(result_of(held, f"/RECAL_{number}"), files=kept)
    assert parts(merge_results(results)) == {"a": "fold_0", "b": "fold_1"}
    again = merge_results({Path("/all"): merge_results(results), Path("/x"): result_of("c")})
    assert parts(again) == {"a": "fold_0", "b": "fold_1", "c": "x"}
    older = {}
    for number, held in enumerate("ab"):
        folder = tmp_path / f"RECAL_{number}"
        folder.mkdir()
        record = {"provenance": {"files": {"predictions": f"T/fold_{number}/validation"}}, "temperature": {}}
        (folder / "recalibration.json").write_text(json.dumps(record))
        older[folder / "calibration"] = replace(result_of(held, folder), files={"predictions": str(folder)})
    assert parts(merge_results(older)) == {"a": "fold_0", "b": "fold_1"}
    (tmp_path / "RECAL_1" / "recalibration.json").write_text("damaged")
    assert parts(merge_results(older)) == {"a": "fold_0", "b": "RECAL_1"}
