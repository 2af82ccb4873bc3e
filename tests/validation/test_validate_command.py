"""`nnunet-nacl validate` as users run it, on a model that nnU-Net's commands have trained."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from models import assert_same_result
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result
from nnunet_nacl.evaluation.store import STORE_FOLDER
from nnunet_nacl.evaluation.summary import summarize


@pytest.fixture(scope="module")
def own(new_nnunet, trained_model):
    """nnU-Net's folders with the trained model, to validate in."""
    nnunet = new_nnunet()
    shutil.copytree(trained_model, nnunet.root / "results" / trained_model.parent.name / trained_model.name)
    cases = sorted(path.name.removesuffix(".nii.gz") for path in (nnunet.preprocessed / "gt_segmentations").iterdir())
    # as nnU-Net did where the model was trained
    splits = [
        {part: [str(name) for name in names] for part, names in fold.items()} for fold in generate_crossval_split(cases)
    ]
    (nnunet.preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return nnunet


@pytest.fixture(scope="module")
def model(own, trained_model):
    return own.root / "results" / trained_model.parent.name / trained_model.name


@pytest.mark.nnunet
def test_equals_training_with_npz_and_evaluate(own, model):
    """What a user does now, a validation with --npz and its evaluation, and one command instead."""
    shutil.rmtree(model / "fold_0" / "validation")
    own.run("nnunet-nacl", "validate", model, "-device", "cpu")
    assert not (model / "fold_0" / "validation").exists(), "nothing but the result is written"
    found = model / "fold_0" / "calibration"
    assert sorted(path.name for path in found.iterdir()) == [
        "calibration.json", "calibration_bins.npz", "calibration_cases.csv",
        *sorted(path.name for path in found.glob("reliability_*"))
    ]  # fmt: skip
    trainer, plans, configuration = model.name.split("__")
    own.run("nnUNetv2_train", 99, configuration, 0, "-tr", trainer, "-p", plans, "-device", "cpu", "--val", "--npz")
    expected = model / "fold_0" / "validation" / "calibration"
    shutil.rmtree(expected, ignore_errors=True)  # our trainer has evaluated, and leaves nothing for the command to do
    own.run("nnunet-nacl", "evaluate", model / "fold_0" / "validation")
    results = [read_result(folder / BINS_FILE) for folder in (found, expected)]
    assert_same_result(*results)
    ours, theirs = (summarize(result) for result in results)
    assert ours["foreground_mean"]["Dice"] == theirs["foreground_mean"]["Dice"]
    assert ours["metric_per_case"][0]["prediction_file"] == theirs["metric_per_case"][0]["prediction_file"]
    provenance = json.loads((found / "calibration.json").read_text())["provenance"]
    assert provenance["files"]["predicted"] == "in memory"


@pytest.mark.nnunet
def test_killed_and_run_again(own, model, tmp_path):
    """Six cases of one fold: killed -9 after the first, the second run gives what a run that nobody killed gives."""
    splits = own.preprocessed / "splits_final.json"
    kept = json.loads(splits.read_text())
    everything = sorted(name for split in kept for name in split["val"])
    splits.write_text(json.dumps([{"train": [], "val": everything}]))
    try:
        own.run("nnunet-nacl", "validate", model, "-device", "cpu", "-o", tmp_path / "whole")
        command = [
            sys.executable,
            "-m",
            "nnunet_nacl.cli",
            "validate",
            str(model),
            "-device",
            "cpu",
            "-o",
            str(tmp_path / "killed"),
        ]
        running = subprocess.Popen(command, env=own.environment, stderr=subprocess.DEVNULL)
        stored = tmp_path / "killed" / STORE_FOLDER
        while running.poll() is None and not list(stored.glob("[!.]*.npz")):
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        finished = len(list(stored.glob("[!.]*.npz")))
        assert 1 <= finished < 6 and not (tmp_path / "killed" / BINS_FILE).exists()
        said = own.run("nnunet-nacl", "validate", model, "-device", "cpu", "-o", tmp_path / "killed").stdout
    finally:
        splits.write_text(json.dumps(kept))
    assert f"{finished} of 6 cases had not changed since an earlier run" in said
    whole, killed = (read_result(tmp_path / name / BINS_FILE) for name in ("whole", "killed"))
    for mine, other in zip(killed.cases, whole.cases, strict=True):
        assert mine.fingerprint == other.fingerprint
        for ours, theirs in zip(mine.problems, other.problems, strict=True):
            for name, value in vars(theirs).items():
                assert np.array_equal(getattr(ours, name), value)
    assert not stored.exists()


def test_mistakes_are_one_line(tmp_path, dataset_files, monkeypatch, capsys):
    """Each says what is wrong and leaves no folder behind."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    model = tmp_path / "nnUNetTrainerMine__nnUNetPlans__3d_fullres"

    def said(*arguments):
        assert main(["validate", *map(str, arguments)]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert "no such folder. Pass nnU-Net's folder <trainer>" in said(model)
    (model / "fold_0").mkdir(parents=True)
    assert "lacks dataset.json, plans.json" in said(model)
    plans = json.loads(dataset_files[1].read_text()) | {
        "configurations": {"3d_fullres": {"data_identifier": "x", "architecture": {}}}
    }
    (model / "plans.json").write_text(json.dumps(plans))
    shutil.copy(dataset_files[0], model / "dataset.json")
    assert "has no checkpoint_final.pth in any fold" in said(model)
    checkpoint = model / "fold_0" / "checkpoint_final.pth"
    checkpoint.write_bytes(b"none")
    assert "has no checkpoint_final.pth in fold_7. Train to the end" in said(model, "-f", 7)
    assert "There are fold_0/checkpoint_final.pth." in said(model, "-chk", "checkpoint_lates.pth")
    assert (
        "nnUNet_preprocessed and nnUNet_raw are not set; the labels of Dataset099_Phantom and splits_final.json are there"
        in said(model)
    )
    fit, images = ("--fit", tmp_path / "temperature.json"), ("--images", tmp_path)
    assert "--method is the method of --fit TEMPERATURE_JSON" in said(model, "--method", "temperature")
    assert "--fit works in one process" in said(model, *fit, "-np", 2)
    assert "is a folder. Give --fit the name of a file" in said(model, "--fit", tmp_path)
    assert "--fit is for the validation cases" in said(model, *fit, *images)
    assert "--keep is for the validation cases" in said(model, "--keep", "float16", *images)
    assert "--images needs the folder of its label files" in said(model, *images)
    assert "--images needs an output folder" in said(model, *images, "-gt", tmp_path)
    assert "no such folder. Pass nnU-Net's imagesTs" in said(model, "--images", tmp_path / "none")
    assert "-prev_stage_predictions is for --images only" in said(model, "-prev_stage_predictions", tmp_path)
    labels = tmp_path / "labels"
    labels.mkdir()
    assert "nnUNet_preprocessed is not set; its splits_final.json says" in said(model, "-gt", labels)
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    folder = tmp_path / "preprocessed" / "Dataset099_Phantom"
    folder.mkdir(parents=True)
    assert "splits_final.json: cannot be read (No such file" in said(model, "-gt", labels)
    (folder / "splits_final.json").write_text("[]")
    assert "has 0 folds and none of number 0" in said(model, "-gt", labels)
    (folder / "splits_final.json").write_text(json.dumps([{"train": [], "val": ["a"]}]))
    assert "is no checkpoint that torch can load" in said(model, "-gt", labels)
    content = {"network_weights": {}, "inference_allowed_mirroring_axes": None, "trainer_name": "nnUNetTrainerMine"}
    torch.save(content | {"init_args": {"configuration": "3d_lowres"}}, checkpoint)
    assert "nnU-Net does not find the configuration '3d_lowres' in its plans" in said(model, "-gt", labels)
    torch.save(content | {"init_args": {"configuration": "3d_fullres"}}, checkpoint)
    assert "no label file (.nii.gz) for a of fold_0" in said(model, "-gt", labels)
    (labels / "a.nii.gz").touch()
    assert "nnUNet_preprocessed has no data of it for this model, and nnUNet_raw is not set" in said(
        model, "-gt", labels
    )
    raw = tmp_path / "raw" / "Dataset099_Phantom" / "imagesTr"
    raw.mkdir(parents=True)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    assert "a_0000.nii.gz: no such file; expected one image for each of 1 channels" in said(model, "-gt", labels)
    (raw / "a_0000.nii.gz").touch()
    assert "nnUNetTrainerMine" in said(model, "-gt", labels, "-device", "cpu")  # no trainer of that name
    assert "finds no such device here" in said(model, "-gt", labels, "-device", "mps")
    assert not (model / "fold_0" / "calibration").exists()
