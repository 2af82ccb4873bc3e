"""The calibration of the validation cases stands beside nnU-Net's summary.json, and never costs a training.

That the commands do so in 2d, 3d and cascades is in test_real_training.py and test_other_configurations.py.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as nnunet_trainer

from nnunet_nacl.training.calibration_evaluation import VARIABLE
from nnunet_nacl.training.trainers import nnUNetTrainerNACL

pytestmark = pytest.mark.nnunet


@pytest.fixture
def trained(nnunet, tmp_path):
    """Build a trainer that has trained for an iteration."""

    def build(trainer=nnUNetTrainerNACL, preprocessed=nnunet.preprocessed):
        plans = json.loads((preprocessed / "nnUNetPlansCPU.json").read_text())
        dataset = json.loads((preprocessed / "dataset.json").read_text())
        built = trainer(plans | {"continue_training": False}, "3d_fullres", 0, dataset, torch.device("cpu"))
        built.num_epochs = built.num_iterations_per_epoch = built.num_val_iterations_per_epoch = 1
        built.run_training()
        return built

    # results of its own: other tests train under the same names
    environment = nnunet.environment | {"nnUNet_n_proc_DA": "0", "nnUNet_results": str(tmp_path)}
    # read from the environment when nnU-Net is imported, which is long ago
    processes = mock.patch.object(nnunet_trainer, "default_num_processes", 1)
    with mock.patch.dict(os.environ, environment), processes:
        yield build


def log_of(trainer):
    return Path(trainer.log_file).read_text()


def test_beside_the_summary_where_it_is_wanted(trained, monkeypatch):
    trainer = trained()
    validation = Path(trainer.output_folder) / "validation"
    trainer.perform_actual_validation(False)  # the fixture sets the variable to f
    assert (validation / "summary.json").is_file()
    assert not (validation / "calibration.json").exists()
    monkeypatch.delenv(VARIABLE)
    trainer.validate_without_npz = False
    trainer.perform_actual_validation(False)
    assert not (validation / "calibration.json").exists()
    trainer.validate_without_npz = True
    trainer.perform_actual_validation(False)
    without_files = json.loads((validation / "calibration.json").read_text())
    assert not list(validation.glob("*.npz"))
    assert without_files["provenance"]["files"]["predicted"] == "in memory"
    shutil.rmtree(validation / "calibration")
    (validation / "calibration.json").unlink()
    trainer.local_rank = 1  # of several processes, the first does it
    trainer.perform_actual_validation(True)
    assert not (validation / "calibration.json").exists()
    trainer.local_rank, trainer.global_rank = (
        0,
        4,
    )  # the first of the second node, as nnU-Net's branch for several counts
    trainer.perform_actual_validation(True)
    assert not (validation / "calibration.json").exists()
    trainer.global_rank, trainer.evaluate_calibration = 0, False
    trainer.perform_actual_validation(True)
    assert not (validation / "calibration.json").exists()
    trainer.evaluate_calibration = True
    trainer.perform_actual_validation(True)
    assert f"Calibration of the validation cases: {validation / 'calibration.json'}" in log_of(trainer)
    ours, theirs = (json.loads((validation / f"{name}.json").read_text()) for name in ("calibration", "summary"))
    assert ours["foreground_mean"]["Dice"] == pytest.approx(theirs["foreground_mean"]["Dice"])
    # the other process has other threads, in which PyTorch adds up convolutions in another order, and nnU-Net rounds to half precision:
    # so a voxel of a hardly trained network may change its class, and only sets that are chosen by the label have the same voxels
    for voxel_set in ("all", "foreground"):
        expected = ours["per_case"][voxel_set]["NLL"]
        assert without_files["per_case"][voxel_set]["NLL"] == pytest.approx(expected, rel=1e-3)
    # nnUNetv2_find_best_configuration takes each .npz for a case
    assert {path.stem for path in validation.glob("*.npz")} == {case["case"] for case in ours["metric_per_case"]}
    assert (validation / "calibration" / "calibration_bins.npz").is_file()


def test_failure_is_a_line_in_the_log(trained, monkeypatch):
    trainer = trained()
    validation = Path(trainer.output_folder) / "validation"
    validation.mkdir(parents=True)
    (validation / "calibration").touch()
    trainer.perform_actual_validation(True)
    assert (validation / "summary.json").is_file()
    assert "Calibration was not evaluated (exit status 1): nnunet-nacl: error: " in log_of(trainer)
    with mock.patch.object(sys, "executable", "/no/such/python"):
        trainer.perform_actual_validation(True)
    assert "Calibration was not evaluated: [Errno 2] No such file" in log_of(trainer)
    (Path(trainer.output_folder) / "checkpoint_final.pth").unlink()
    monkeypatch.delenv(VARIABLE)
    trainer.perform_actual_validation(False)
    assert "has no checkpoint_final.pth in fold_0. Train to the end" in log_of(trainer)


def test_ignore_label(nnunet, trained):
    def with_ignored_slab(values):
        values[:5] = 3
        return values

    labels = {"background": 0, "body": 1, "cap": 2, "ignore": 3}
    preprocessed = nnunet.prepare_variant(95, "IgnoreEvaluated", labels, with_ignored_slab)
    trainer = trained(preprocessed=preprocessed)
    trainer.perform_actual_validation(True)
    validation = Path(trainer.output_folder) / "validation"
    ours, theirs = (json.loads((validation / f"{name}.json").read_text()) for name in ("calibration", "summary"))
    assert ours["metric_per_case"][0]["n_ignored"] == 5 * 16 * 16
    assert ours["foreground_mean"]["Dice"] == pytest.approx(theirs["foreground_mean"]["Dice"])


def test_trainers_import_neither_the_evaluator_nor_the_kernels():
    loaded = "import sys, nnunet_nacl.training.trainers; print(*sys.modules, sep='\\n')"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert "nnunet_nacl.training.calibration_evaluation" in modules
    kernels = {f"nnunet_nacl.losses.triton_{name}" for name in ("kernels", "windows", "loss")}
    assert not {"nnunet_nacl.evaluation", "nnunet_nacl.calibration", "numba", *kernels} & set(modules)
