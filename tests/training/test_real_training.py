"""Stock nnU-Net trains, is killed, goes on, predicts and is evaluated with each trainer, at tiny size, by its own commands.

The others go through the same loop in test_calibrated_loss.py, without the minutes that the commands take.
"""

import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from real_trainers import assert_dice_of_nnunet, newest_log, train_by_command

pytestmark = pytest.mark.nnunet

# each way to put a loss into nnU-Net once: alone, with Dice; the recommended one is trained in tests/docs/test_readme_blocks.py
MAIN_TRAINERS = ("nnUNetTrainerNACL", "nnUNetTrainerDiceSVLS")
LENGTH = "3epochs_30iterations_1valiterations"


@pytest.fixture(scope="module")
def continued(nnunet):
    """Train with a trainer's name, kill nnU-Net in the second epoch and let it go on to the end, once for each name."""

    @cache
    def kill_and_continue(name):
        trainer = f"{name}_{LENGTH}"
        fold = nnunet.fold(trainer)
        kill_in_the_second_epoch(nnunet, trainer, fold)
        found = {path.name for path in fold.glob("checkpoint_*.pth")}
        (fold / "checkpoint_best.pth").unlink()
        time.sleep(1)  # nnU-Net names its logs by the second
        train_by_command(nnunet, trainer, "--c")
        return trainer, fold, found

    return kill_and_continue


def kill_in_the_second_epoch(nnunet, trainer, fold):
    """SIGKILL to the command and its worker processes, which would wait for it for ever; also where it does not come so far."""
    command = [Path(sys.executable).with_name("nnUNetv2_train"), "99", "3d_fullres", "0", "-tr", trainer]
    process = subprocess.Popen(
        [*command, "-p", "nnUNetPlansCPU", "-device", "cpu"],
        env=nnunet.environment, cwd=nnunet.root, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 300
        while not (fold / "checkpoint_best.pth").is_file() or "Epoch 1" not in newest_log(fold):
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline, "no second epoch within 5 minutes"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("name", [*MAIN_TRAINERS, "nnUNetTrainerCRaC", "nnUNetTrainerCELoss"])
def test_killed_training_continues(name, continued):
    """SIGKILL after the first epoch's checkpoints; --c goes on after the latest, under the same name; nnU-Net's trainers too."""
    _, fold, found = continued(name)
    assert found == {"checkpoint_best.pth", "checkpoint_latest.pth"}, "a short training is saved every 50 epochs only"
    log = newest_log(fold)
    assert "Epoch 0" not in log
    assert "Epoch 2" in log
    assert (fold / "checkpoint_final.pth").is_file()
    assert not (fold / "checkpoint_latest.pth").exists()
    histories = torch.load(fold / "checkpoint_final.pth", weights_only=False)["logging"]
    assert np.isfinite(histories["train_losses"]).tolist() == [True] * 3
    if name == "nnUNetTrainerCELoss":
        return  # it does not follow its calibration
    assert np.isfinite(histories["val_fg_ece"]).tolist() == [True] * 3
    if "CRaC" in name:
        assert [state["updates"] for state in histories["crac_multipliers"]] == [1, 2, 3]
    assert (fold / "calibration_progress.png").is_file()


@pytest.mark.parametrize("name", [*MAIN_TRAINERS, "nnUNetTrainerCRaC"])
def test_train_predict_evaluate(name, nnunet, continued, tmp_path):
    trainer, fold, _ = continued(name)
    assert f"Training with {name.removeprefix('nnUNetTrainer').removeprefix('Dice')}Loss(" in newest_log(fold)
    assert_dice_of_nnunet(fold / "validation")  # evaluated at the end of the training
    predict(nnunet, trainer, tmp_path / "predicted")
    saved = sorted((tmp_path / "predicted").glob("*.npz"))
    assert len(saved) == 2
    assert np.load(saved[0])["probabilities"].shape == (3, 16, 16, 16)
    evaluated = nnunet.run("nnunet-nacl", "evaluate", fold / "validation")
    assert "foreground mean" in evaluated.stdout


def predict(nnunet, trainer, output):
    images = nnunet.root / "raw" / "Dataset099_Phantom" / "imagesTs"
    chosen = ("-d", 99, "-c", "3d_fullres", "-f", 0, "-tr", trainer, "-p", "nnUNetPlansCPU", "-device", "cpu")
    nnunet.run("nnUNetv2_predict", "-i", images, "-o", output, *chosen, "--save_probabilities", "-npp", 1, "-nps", 1)
