"""Pictures from another working directory, after a move, and what is said where there are none."""

import json
import shutil
from pathlib import Path

import pytest

from nnunet_nacl.cli import main


@pytest.fixture
def tree(phantom_task, dataset_files, tmp_path, monkeypatch):
    """A folder with labels and predictions, evaluated from within by relative paths; left for another."""
    work = tmp_path / "work"
    for source, target in (("labelsTr", "labels"), ("posteriorTr", "softmax")):
        (work / target).mkdir(parents=True)
        for path in sorted((phantom_task / source).iterdir())[:3]:
            shutil.copy(path, work / target)
    for path in dataset_files:
        shutil.copy(path, work)
    monkeypatch.chdir(work)
    files = ["-djfile", "dataset.json", "-pfile", "plans.json"]
    assert main(["evaluate", "softmax", "-gt", "labels", *files, "-np", "1", "-o", "out/run"]) == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return work


def report(capsys, *arguments):
    """Return the page and what stands on standard error."""
    capsys.readouterr()
    assert main(["report", *map(str, arguments), "--worst", "2", "-o", "report.html"]) == 0
    return Path("report.html").read_text(encoding="utf-8"), capsys.readouterr().err


def test_from_another_folder(tree, capsys):
    page, said = report(capsys, tree / "out/run")
    assert page.count('class="slice"') == 2 * 4
    assert said == ""


def test_after_a_move(tree, tmp_path, capsys):
    tree.rename(tmp_path / "moved")
    page, said = report(capsys, tmp_path / "moved/out/run")
    assert page.count('class="slice"') == 2 * 4
    assert said == ""


def test_merged_and_then_moved(tree, tmp_path, capsys):
    """A merged result has no dataset.json of its own."""
    assert main(["merge", str(tree / "out/run"), "-o", str(tree / "out/merged")]) == 0
    tree.rename(tmp_path / "moved")
    page, said = report(capsys, tmp_path / "moved/out/merged")
    assert page.count('class="slice"') == 2 * 4
    assert said == ""


def test_old_results_hold_relative_paths_and_no_folder(tree, capsys):
    path = tree / "out/run/calibration.json"
    summary = json.loads(path.read_text().replace(f"{tree}/", ""))
    del summary["provenance"]["folder"]
    path.write_text(json.dumps(summary))
    page, said = report(capsys, tree / "out/run")
    assert page.count('class="slice"') == 2 * 4
    assert said == ""


def test_dataset_json_beside_the_predictions(tree, capsys):
    """Where nnUNetv2_predict puts it, if the one that was given is gone."""
    for name in ("dataset.json", "plans.json"):
        (tree / name).rename(tree / "softmax" / name)
    page, said = report(capsys, tree / "out/run")
    assert page.count('class="slice"') == 2 * 4
    assert said == ""


def test_the_terminal_says_once_what_the_page_lacks(tree, capsys):
    shutil.rmtree(tree / "labels")
    page, said = report(capsys, tree / "out/run")
    assert 'class="slice"' not in page
    (line,) = said.splitlines()
    assert line.startswith("nnunet-nacl: warning: report.html: No pictures for 2 of 2 worst cases (phantom_")
    assert f"label file not found. Looked for {tree}/labels/phantom_" in line
    assert page.count("label file not found") == 1


def test_one_case_without_its_softmax_file(tree, capsys):
    page, _ = report(capsys, tree / "out/run")
    worst = page.split("<h3>phantom<wbr>_", 1)[1][:3]
    (tree / f"softmax/phantom_{worst}.npz").unlink()
    page, said = report(capsys, tree / "out/run", "--images", tree)
    assert page.count('class="slice"') == 1 * 4
    assert f"No pictures for 1 of 2 worst cases (phantom_{worst}): softmax file not found." in said
    assert "No image for 1 of 2 worst cases" in said


def test_left_out_cases_and_runs_given_twice(tree, tmp_path, capsys):
    shutil.copytree(tree / "softmax", tree / "fewer")
    (tree / "fewer/phantom_001.npz").unlink()
    files = ["-gt", tree / "labels", "-djfile", tree / "dataset.json", "-pfile", tree / "plans.json"]
    assert main(["evaluate", *map(str, [tree / "fewer", *files]), "-np", "1"]) == 0
    page, said = report(capsys, tree / "out/run", tree / "fewer", tree / "out/run")
    assert "1 case of run left out, since not every run has them: phantom_001." in said
    assert "1 case of run left out, since not every run has them: phantom_001." in page
    assert f"{tree}/out/run was given more than once" in said


def test_results_of_the_folds_are_named_where_a_model_has_none(tree, tmp_path, capsys):
    """`validate -f 0` writes into fold_0/calibration, and `report MODEL_FOLDER` is what one tries next."""
    model = tmp_path / "trainer__plans__3d_fullres"
    shutil.copytree(tree / "out/run", model / "fold_0" / "calibration")
    capsys.readouterr()
    assert main(["report", str(model), "-o", "report.html"]) == 1
    assert "Results are in fold_0 of this folder: pass these." in capsys.readouterr().err
    assert main(["report", str(model / "fold_0"), "-o", "report.html"]) == 0
