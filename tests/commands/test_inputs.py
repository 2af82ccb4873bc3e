"""Commands find what nnU-Net put there, say where they looked, and take what is passed instead."""

import json
import shutil

import pytest

from nnunet_nacl.cli import main


def run(*command):
    return main([str(word) for word in command])


def files_of(result):
    return json.loads(result.read_text())["provenance"]["files"]


def test_evaluate_finds_all_three_of_a_fold(model, tmp_path):
    assert run("evaluate", model.validation, "-np", 1) == 0
    files = files_of(model.validation / "calibration" / "calibration.json")
    assert files["labels"] == str(model.labels)
    assert files["dataset_json"] == str(model.folder / "dataset.json")
    assert files["plans_json"] == str(model.folder / "plans.json")


def test_what_is_passed_goes_before_what_is_found(model, predicted, phantom_task, tmp_path):
    given = [
        "-gt",
        phantom_task / "labelsTr",
        "-djfile",
        predicted / "dataset.json",
        "-pfile",
        predicted / "plans.json",
    ]
    assert run("evaluate", model.validation, *given, "-np", 1, "-o", tmp_path / "out") == 0
    files = files_of(tmp_path / "out" / "calibration.json")
    assert [files[name] for name in ("labels", "dataset_json", "plans_json")] == [str(given[n]) for n in (1, 3, 5)]


def test_raw_labels_where_nothing_is_preprocessed(model, tmp_path):
    shutil.rmtree(model.labels)
    assert run("evaluate", model.validation, "-np", 1, "-o", tmp_path / "out") == 0
    assert files_of(tmp_path / "out" / "calibration.json")["labels"] == str(model.raw_labels)


def test_evaluate_a_prediction_folder(predicted, phantom_task):
    assert run("evaluate", predicted, "-gt", phantom_task / "labelsTr", "-np", 1) == 0
    assert files_of(predicted / "calibration" / "calibration.json")["plans_json"] == str(predicted / "plans.json")


def test_relative_paths_spaces_and_another_folder(model, tmp_path, monkeypatch):
    """From within the fold, by a relative path, in a folder whose name has spaces."""
    spaced = tmp_path / "my results"
    shutil.copytree(model.folder, spaced / "a model")
    monkeypatch.chdir(spaced / "a model" / "fold_0")
    assert run("evaluate", "validation", "-np", 1, "-o", "my scores") == 0
    monkeypatch.chdir("validation")
    assert run("evaluate", ".", "-np", 1) == 0


def test_fit_and_apply_find_them(model, tmp_path):
    temperature = tmp_path / "temperature.json"
    assert run("recalibrate", "fit", model.validation, "-o", temperature) == 0
    assert files_of(temperature)["labels"] == str(model.labels)
    assert run("recalibrate", "apply", temperature, model.validation, "-o", tmp_path / "out", "-np", 1) == 0
    assert (tmp_path / "out" / "plans.json").read_text() == (model.folder / "plans.json").read_text()


def test_map_finds_them_and_takes_labels(model, tmp_path):
    assert run("map", model.validation, "phantom_000", "-o", tmp_path / "plain") == 0
    assert len(list((tmp_path / "plain").iterdir())) == 2
    assert run("map", model.validation, "phantom_000", "--labels", model.labels, "-o", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_folds_of_one_data_set(model, tmp_path):
    """Two folds are of one data set, whatever folder each one's plans lie in; one of other labels is named."""
    other = tmp_path / "other" / "fold_1" / "validation"
    shutil.copytree(model.validation, other)
    for name in ("dataset.json", "plans.json"):
        shutil.copy(model.folder / name, tmp_path / "other")
    for number in range(3):
        (model.validation / f"phantom_00{number}.npz").unlink()
        (model.validation / f"phantom_00{number}.nii.gz").unlink()
        (other / f"phantom_00{number + 3}.npz").unlink()
        (other / f"phantom_00{number + 3}.nii.gz").unlink()
    fit = ["recalibrate", "fit", model.validation, other, "-o", tmp_path / "temperature.json"]
    assert run(*fit) == 0
    dataset = json.loads((tmp_path / "other" / "dataset.json").read_text())
    dataset["labels"] = {"background": 0, "other": 1, "cap": 2}
    (tmp_path / "other" / "dataset.json").write_text(json.dumps(dataset))
    assert run(*fit) == 1


def test_missing_descriptions_say_where_was_looked(model, predicted, phantom_task, one_line, tmp_path):
    (model.folder / "plans.json").unlink()
    for command in (["evaluate", model.validation], ["map", model.validation, "-o", tmp_path / "out"],
                    ["recalibrate", "fit", model.validation, "-o", tmp_path / "t.json"]):  # fmt: skip
        line = one_line(*command)
        assert line == (
            f"found no plans.json in {model.validation} or in its model folder {model.folder}. Pass the one of this data set "
            "with -pfile."
        )
    (predicted / "dataset.json").unlink()
    line = one_line("evaluate", predicted, "-gt", phantom_task / "labelsTr")
    assert line == f"found no dataset.json in {predicted}. Pass the one of this data set with -djfile."
    assert not (model.validation / "calibration").exists()
    assert not (predicted / "calibration").exists()


def test_labels_of_a_prediction_folder_have_to_be_passed(predicted, one_line):
    assert one_line("evaluate", predicted) == (
        f"{predicted}: is no fold_X/validation of a training, so nnU-Net has no labels of these cases. Pass the folder of "
        "their label files with -gt."
    )


def test_labels_that_are_nowhere(model, one_line, monkeypatch):
    shutil.rmtree(model.labels)
    monkeypatch.delenv("nnUNet_raw")
    assert one_line("evaluate", model.validation) == (
        f"{model.validation}: found no labels of its cases in {model.labels}; nnUNet_raw is not set. Pass their folder with "
        "-gt."
    )
    monkeypatch.delenv("nnUNet_preprocessed")
    assert "in nnU-Net's folders; nnUNet_preprocessed and nnUNet_raw are not set." in one_line(
        "evaluate", model.validation
    )


@pytest.mark.parametrize("command", ["evaluate", "recalibrate fit", "map"])
def test_swapped_folders_are_named(command, predicted, phantom_task, one_line, tmp_path):
    labels = phantom_task / "labelsTr"
    line = one_line(*command.split(), labels, "-gt", predicted, "-o", tmp_path / "out")
    assert line == (
        f"{labels} has no softmax file (.npz), but {predicted} has: are they swapped? Predictions come first, labels after "
        "-gt."
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["evaluate", "recalibrate fit", "map"])
def test_forgotten_probabilities(command, predicted, phantom_task, one_line, tmp_path):
    for path in predicted.glob("*.npz"):
        path.unlink()
    line = one_line(*command.split(), predicted, "-gt", phantom_task / "labelsTr", "-o", tmp_path / "out")
    assert line.startswith(
        f"{predicted}: no softmax file (.npz). Save the probabilities with `nnUNetv2_train ... --npz` or"
    )
