"""Paths in results hold in every working directory, and follow a result that was moved."""

import json
import shutil
from pathlib import Path

import pytest

from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result
from nnunet_nacl.evaluation.stored_paths import absolute, here, places_of


@pytest.fixture
def tree(phantom_task, dataset_files, tmp_path, monkeypatch):
    """A folder with labels and predictions, evaluated from within by relative paths."""
    work = tmp_path / "work"
    shutil.copytree(phantom_task / "labelsTr", work / "labels")
    shutil.copytree(phantom_task / "posteriorTr", work / "out" / "fold_3")
    for path in dataset_files:
        shutil.copy(path, work)
    monkeypatch.chdir(work)
    command = "evaluate out/fold_3 -gt labels -djfile dataset.json -pfile plans.json -np 1 -o out/run"
    assert main(command.split()) == 0
    monkeypatch.chdir(tmp_path)
    return work


def test_a_result_holds_absolute_paths(tree):
    summary = json.loads((tree / "out/run/calibration.json").read_text())
    case, origin = summary["metric_per_case"][0], summary["provenance"]
    assert case["reference_file"] == str(tree / "labels/phantom_000.nii.gz")
    assert case["prediction_file"] == str(tree / "out/fold_3/phantom_000.npz")
    assert origin["folder"] == str(tree / "out/run")
    assert origin["files"] == {
        "labels": str(tree / "labels"),
        "predictions": str(tree / "out/fold_3"),
        "dataset_json": str(tree / "dataset.json"),
        "plans_json": str(tree / "plans.json"),
    }


def test_a_moved_result_names_its_files_where_they_are(tree, tmp_path):
    moved = tmp_path / "archive" / "2026"
    moved.parent.mkdir()
    tree.rename(moved)
    result = read_result(moved / "out/run" / BINS_FILE)
    assert result.cases[0].case.labels == moved / "labels/phantom_000.nii.gz"
    assert result.cases[0].case.probabilities == moved / "out/fold_3/phantom_000.npz"
    assert result.files["dataset_json"] == str(moved / "dataset.json")
    # and so does what is merged from it
    assert main(["merge", str(moved / "out/run"), "-o", str(tmp_path / "merged")]) == 0
    summary = json.loads((tmp_path / "merged/calibration.json").read_text())
    assert summary["metric_per_case"][0]["part"] == "fold_3"
    assert summary["metric_per_case"][0]["reference_file"] == str(moved / "labels/phantom_000.nii.gz")
    assert summary["provenance"]["files"]["merged"][0]["plans_json"] == str(moved / "plans.json")


def test_a_result_moved_alone_still_names_what_stayed(tree, tmp_path):
    (tree / "out/run").rename(tmp_path / "run")
    result = read_result(tmp_path / "run" / BINS_FILE)
    assert result.cases[0].case.labels == tree / "labels/phantom_000.nii.gz"
    assert result.files["labels"] == str(tree / "labels")


def test_a_copy_has_its_own_files(tree, tmp_path):
    """Whatever becomes of the original."""
    shutil.copytree(tree, tmp_path / "copy")
    result = read_result(tmp_path / "copy/out/run" / BINS_FILE)
    assert result.cases[0].case.labels == tmp_path / "copy/labels/phantom_000.nii.gz"


def test_old_results_hold_what_was_typed():
    """Then the folders above the result are looked through, the nearest first, and the working directory last."""
    places = list(places_of("labels/a.nii.gz", "", Path("/w/out/run")))
    assert places == [
        *(Path(folder) / "labels/a.nii.gz" for folder in ("/w/out/run", "/w/out", "/w", "/")),
        Path("labels/a.nii.gz"),
    ]
    assert here("labels/a.nii.gz", "", Path("/w/out/run")) == "labels/a.nii.gz"


def test_places_of_an_absolute_path():
    assert list(places_of("/w/l/a", "/w/out", Path("/w/out"))) == [Path("/w/l/a")]
    assert list(places_of("/w/l/a", "/w/out", Path("/v/out"))) == [Path("/v/l/a"), Path("/w/l/a")]
    assert list(places_of("/w/l/a", "", Path("/v/out"))) == [Path("/w/l/a")]


def test_links_keep_their_names(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert absolute(tmp_path / "link/../link/a") == str(tmp_path / "link/a")
