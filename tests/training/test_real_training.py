"""Stock nnU-Net trains, resumes and predicts with each trainer, at tiny size."""

import json
import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.nnunet

# each way to put a loss into nnU-Net once: alone, with Dice; the recommended one is trained in tests/docs/test_readme_blocks.py
MAIN_TRAINERS = ("nnUNetTrainerNACL", "nnUNetTrainerDiceSVLS")
SHORT = "2iterations_1valiterations"


def train(nnunet, trainer, *extra, configuration="3d_fullres"):
    arguments = (99, configuration, 0, "-tr", trainer, "-p", "nnUNetPlansCPU", "-device", "cpu", "--npz", *extra)
    return nnunet.run("nnUNetv2_train", *arguments)


def newest_log(fold):
    return max(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime).read_text()


def predict(nnunet, trainer, output):
    images = nnunet.root / "raw" / "Dataset099_Phantom" / "imagesTs"
    arguments = ("-i", images, "-o", output, "-d", 99, "-c", "3d_fullres", "-f", 0, "-tr", trainer)
    nnunet.run(
        "nnUNetv2_predict",
        *arguments,
        "-p",
        "nnUNetPlansCPU",
        "-device",
        "cpu",
        "--save_probabilities",
        "-npp",
        1,
        "-nps",
        1,
    )


# the others go through the same loop in test_calibrated_loss.py, without the minutes that the commands take
@pytest.mark.parametrize("name", [*MAIN_TRAINERS, "nnUNetTrainerCRaC"])
def test_train_predict_evaluate(name, nnunet, phantom_task, tmp_path):
    trainer = f"{name}_1epochs_{SHORT}"
    train(nnunet, trainer)
    fold = nnunet.fold(trainer)
    assert (fold / "checkpoint_final.pth").is_file()
    assert f"Training with {name.removeprefix('nnUNetTrainer').removeprefix('Dice')}Loss(" in newest_log(fold)
    assert_dice_of_nnunet(fold / "validation")  # evaluated at the end of the training
    predict(nnunet, trainer, tmp_path / "predicted")
    saved = sorted((tmp_path / "predicted").glob("*.npz"))
    assert len(saved) == 2
    assert np.load(saved[0])["probabilities"].shape == (3, 16, 16, 16)
    evaluated = nnunet.run("nnunet-nacl", "evaluate", fold / "validation")
    assert "foreground mean" in evaluated.stdout


def assert_dice_of_nnunet(folder):
    ours = json.loads((folder / "calibration.json").read_text())
    theirs = json.loads((folder / "summary.json").read_text())
    for label in ("1", "2"):
        assert ours["mean"][label]["Dice"] == pytest.approx(theirs["mean"][label]["Dice"])
    assert ours["foreground_mean"]["Dice"] == pytest.approx(theirs["foreground_mean"]["Dice"])


@pytest.mark.parametrize("name", [*MAIN_TRAINERS, "nnUNetTrainerCRaC", "nnUNetTrainerCELoss"])
def test_killed_training_continues(name, nnunet):
    """SIGKILL after the first epoch's checkpoints; --c goes on after the latest, under the same name; nnU-Net's trainers too."""
    trainer = f"{name}_3epochs_30iterations_1valiterations"
    fold = nnunet.fold(trainer)
    command = [Path(sys.executable).with_name("nnUNetv2_train"), "99", "3d_fullres", "0", "-tr", trainer]
    process = subprocess.Popen(
        [*command, "-p", "nnUNetPlansCPU", "-device", "cpu"],
        env=nnunet.environment, cwd=nnunet.root, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (fold / "checkpoint_best.pth").is_file() or "Epoch 1" not in newest_log(fold):
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline, "no second epoch within 5 minutes"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (fold / "checkpoint_final.pth").exists()
    assert (fold / "checkpoint_latest.pth").is_file(), "a short training is saved every 50 epochs only"
    (fold / "checkpoint_best.pth").unlink()
    time.sleep(1)  # nnU-Net names its logs by the second
    train(nnunet, trainer, "--c")
    log = newest_log(fold)
    assert "Epoch 0" not in log
    assert "Epoch 2" in log
    assert not (fold / "checkpoint_latest.pth").exists()
    histories = torch.load(fold / "checkpoint_final.pth", weights_only=False)["logging"]
    assert np.isfinite(histories["train_losses"]).tolist() == [True] * 3
    if name == "nnUNetTrainerCELoss":
        return  # it does not follow its calibration
    assert np.isfinite(histories["val_fg_ece"]).tolist() == [True] * 3
    if "CRaC" in name:
        assert [state["updates"] for state in histories["crac_multipliers"]] == [1, 2, 3]
    assert (fold / "calibration_progress.png").is_file()


def test_two_dimensional(nnunet):
    trainer = f"nnUNetTrainerNACL_1epochs_{SHORT}"
    train(nnunet, trainer, configuration="2d")
    assert_dice_of_nnunet(nnunet.fold(trainer, "2d") / "validation")


def test_residual_encoder(nnunet):
    nnunet.run("nnUNetv2_plan_experiment", "-d", 99, "-pl", "nnUNetPlannerResEncM")
    nnunet.run("nnunet-nacl", "cpu-plans", 99, "-p", "nnUNetResEncUNetMPlans", "-o", "nnUNetResEncCPU")
    plans = json.loads((nnunet.preprocessed / "nnUNetResEncCPU.json").read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    assert architecture["network_class_name"].endswith("ResidualEncoderUNet")
    trainer = f"nnUNetTrainerNACL_1epochs_{SHORT}"
    nnunet.run("nnUNetv2_train", 99, "3d_fullres", 0, "-tr", trainer, "-p", "nnUNetResEncCPU", "-device", "cpu")
    fold = nnunet.fold(trainer, plans="nnUNetResEncCPU")
    assert "Training with NACLLoss(" in newest_log(fold)
    network = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert any("conv1" in name for name in network), "the blocks of residual encoders"
    assert max(len(weights) for weights in network.values()) <= 64
    assert (fold / "validation" / "summary.json").is_file()


def test_lowres_and_cascade(nnunet):
    """3d_lowres, whose predictions the cascade's fullres stage takes as input."""
    add_cascade(nnunet.preprocessed / "nnUNetPlansCPU.json")
    nnunet.run("nnUNetv2_preprocess", "-d", 99, "-plans_name", "nnUNetPlansCPU", "-c", "3d_lowres", "-np", 1)
    trainer = f"nnUNetTrainerDiceSVLS_1epochs_{SHORT}"
    for fold in ("0", "1", "2", "3", "4"):  # the cascade needs every case predicted, so every fold trained
        nnunet.run("nnUNetv2_train", 99, "3d_lowres", fold, "-tr", trainer, "-p", "nnUNetPlansCPU", "-device", "cpu")
    train(nnunet, trainer, configuration="3d_cascade_fullres")
    assert_dice_of_nnunet(nnunet.fold(trainer, "3d_cascade_fullres") / "validation")


def add_cascade(plans_file):
    plans = json.loads(plans_file.read_text())
    configurations = plans["configurations"]
    lowres = deepcopy(configurations["3d_fullres"])
    lowres |= {"data_identifier": "nnUNetPlansCPU_3d_lowres", "spacing": [1.25] * 3, "patch_size": [16] * 3}
    lowres["next_stage"] = "3d_cascade_fullres"
    configurations["3d_lowres"] = lowres
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    plans_file.write_text(json.dumps(plans))
