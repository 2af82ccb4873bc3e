"""Cases that the network was trained on are named wherever their figures are read."""

import json
import shutil

import pytest

from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.validation_cases import remarks_on_cases

MODEL = "Dataset099_Phantom/nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def fold(phantom_task, dataset_files, tmp_path, monkeypatch):
    """Return a function that makes a validation folder of a fold; nnU-Net's split has two folds of three cases."""
    preprocessed = tmp_path / "preprocessed" / "Dataset099_Phantom"
    preprocessed.mkdir(parents=True)
    names = [f"phantom_{number:03d}" for number in range(6)]
    splits = [{"val": names[:3], "train": names[3:]}, {"val": names[3:5], "train": names[:3]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    monkeypatch.setenv("nnUNet_preprocessed", str(preprocessed.parent))

    def make(name):
        validation = tmp_path / "results" / MODEL / name / "validation"
        shutil.copytree(phantom_task / "posteriorTr", validation)
        for path in dataset_files:
            shutil.copy(path, validation.parent.parent)
        return validation

    return make


def evaluate(validation, phantom_task):
    assert main(["evaluate", str(validation), "-gt", str(phantom_task / "labelsTr"), "-np", "1"]) == 0
    return json.loads((validation / "calibration" / "calibration.json").read_text())


def test_fold_all_is_named_everywhere(fold, phantom_task, tmp_path, capsys):
    validation, labels = fold("fold_all"), phantom_task / "labelsTr"
    words = "6 of 6 cases: the network of fold_all was trained on the cases in its validation folder"
    summary = evaluate(validation, phantom_task)
    assert len(summary["remarks"]["trained_on"]["cases"]) == 6
    assert words in capsys.readouterr().err
    assert main(["recalibrate", "fit", str(validation), "-gt", str(labels), "-o", str(tmp_path / "T.json")]) == 0
    assert words in capsys.readouterr().err
    assert main(["merge", str(validation), "-o", str(tmp_path / "merged")]) == 0
    assert words in capsys.readouterr().err
    shutil.copytree(tmp_path / "merged", tmp_path / "other")
    assert main(["compare", str(validation), str(tmp_path / "other"), "-o", str(tmp_path / "comparison")]) == 0
    cautions = json.loads((tmp_path / "comparison" / "comparison.json").read_text())["cautions"]
    assert sum(words in caution for caution in cautions) == 2
    assert main(["report", str(validation), "-o", str(tmp_path / "report.html")]) == 0
    assert words in (tmp_path / "report.html").read_text()


def test_cases_of_an_older_split_are_named(fold, phantom_task, capsys):
    """Five cases are of the fold's network's training or of nothing, not of its validation."""
    validation = fold("fold_1")
    remarks = evaluate(validation, phantom_task)["remarks"]["left_over"]["cases"]
    assert remarks == {
        "phantom_000": "trained on",
        "phantom_001": "trained on",
        "phantom_002": "trained on",
        "phantom_005": "",
    }
    assert "4 of 6 cases: not among the validation cases of this fold in splits_final.json" in capsys.readouterr().err
    # the split is no part of a case: another one counts at once, for cases that are not computed again
    splits = validation.parents[4] / "preprocessed" / "Dataset099_Phantom" / "splits_final.json"
    splits.write_text(json.dumps([{}, {"val": [f"phantom_{number:03d}" for number in range(6)], "train": []}]))
    assert not evaluate(validation, phantom_task)["remarks"]
    assert "6 of 6 cases had not changed" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["[]", "{", "3", '[{"val": 3}]', '[{"val": ["a"]}]', None])
def test_splits_that_do_not_say(content, fold, tmp_path):
    validation = fold("fold_0")
    path = tmp_path / "preprocessed" / "Dataset099_Phantom" / "splits_final.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert remarks_on_cases([Case("a", validation / "a.npz", path)], "Dataset099_Phantom") == {}


def test_other_folders_say_nothing(tmp_path):
    """Predictions with the network of fold_all of cases that are new to it."""
    for folder in ("fold_all", "validation", "fold_x/validation", "fold_0/predictions"):
        assert remarks_on_cases([Case("a", tmp_path / folder / "a.npz", tmp_path)], "Dataset099_Phantom") == {}
