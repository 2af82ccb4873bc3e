"""Several raters' label maps from their files to the loss, through nnU-Net's own preprocessing, augmentation and commands."""

import json
import os
import shutil
from copy import deepcopy
from pathlib import Path
from unittest import mock

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.errors import InputError
from nnunet_nacl.losses import SVLSLoss
from nnunet_nacl.training.rater_preprocessing import preprocess_raters
from nnunet_nacl.training.raters import RaterIndex, open_maps, preprocessed_raters
from nnunet_nacl.training.variants import resolve

pytestmark = pytest.mark.nnunet

RATERS = ("rater1", "rater2", "rater3")
CASES = [f"phantom_{number:03d}" for number in range(6)]


@pytest.fixture
def raters(nnunet, tmp_path):
    """nnU-Net in a folder of its own, with the phantom preprocessed and the maps of three raters in the raw data."""
    copied = type(nnunet)(tmp_path / "nnunet", dict(nnunet.variables))
    for name in ("raw", "preprocessed"):
        shutil.copytree(nnunet.root / name / "Dataset099_Phantom", copied.root / name / "Dataset099_Phantom")
    (copied.root / "results").mkdir()
    write_task(tmp_path / "Task99_Phantom", n_cases=6, size=16, raters=3)
    shutil.copytree(tmp_path / "Task99_Phantom" / "ratersTr", raw_maps(copied))
    with mock.patch.dict(os.environ, copied.environment | {"nnUNet_n_proc_DA": "0"}):
        yield copied


def raw_maps(nnunet):
    return nnunet.root / "raw" / "Dataset099_Phantom" / "ratersTr"


def folder_of_maps(nnunet, configuration="3d_fullres"):
    return preprocessed_raters(nnunet.preprocessed / f"nnUNetPlans_{configuration}")


def make(nnunet, trainer, configuration="3d_fullres", dataset=None, change=lambda plans: None):
    plans = json.loads((nnunet.preprocessed / "nnUNetPlansCPU.json").read_text())
    change(plans["configurations"])
    content = json.loads((nnunet.preprocessed / "dataset.json").read_text()) | (dataset or {})
    trainer = resolve(trainer) if isinstance(trainer, str) else trainer
    built = trainer(plans | {"continue_training": False}, configuration, 0, content, torch.device("cpu"))
    built.initialize()
    return built


def test_maps_are_preprocessed_like_the_reference(raters):
    printed = raters.run("nnunet-nacl", "preprocess-raters", 99, "-np", 2).stdout
    for configuration in ("2d", "3d_fullres"):
        folder = folder_of_maps(raters, configuration)
        assert f"wrote {folder}" in printed
        assert RaterIndex.read(folder) == RaterIndex(RATERS, None)
        for case in CASES:
            maps = open_maps(folder / f"{case}.b2nd")[:]
            reference = open_maps(raters.preprocessed / f"nnUNetPlans_{configuration}" / f"{case}_seg.b2nd")[:]
            assert np.array_equal(maps[:1], reference)
            for rater, labels in zip(RATERS, maps[1:], strict=True):
                assert np.array_equal(labels, read(raw_maps(raters) / rater / f"{case}.nii.gz"))
    assert not list(raters.preprocessed.glob(".*"))


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def write(values, path):
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


def test_case_without_a_map_of_one_rater(raters):
    (raw_maps(raters) / "rater1" / "._phantom_000.nii.gz").touch()  # as macOS leaves them on foreign disks
    (raw_maps(raters) / "rater2" / "phantom_000.nii.gz").unlink()
    preprocess_raters("99", configurations=["3d_fullres"])
    maps = open_maps(folder_of_maps(raters) / "phantom_000.b2nd")[:]
    assert (maps[2] == 3).all()
    assert maps[[0, 1, 3]].max() == 2
    assert make(raters, "nnUNetTrainerSVLS_raters").loss.loss.loss.ignore_label == 3


def make_anisotropic(configurations):
    """nnU-Net then rotates in-plane only, with slices as channels."""
    configurations["3d_fullres"]["patch_size"] = [4, 16, 16]


@pytest.mark.parametrize("change", [lambda plans: None, make_anisotropic])
def test_augmentation_treats_all_maps_alike(change, raters):
    """With the reference as every rater's map, all channels stay equal whatever nnU-Net does to them."""
    for rater in RATERS:
        shutil.rmtree(raw_maps(raters) / rater)
        shutil.copytree(raw_maps(raters).with_name("labelsTr"), raw_maps(raters) / rater)
    preprocess_raters("99", configurations=["3d_fullres"])
    trainer = make(raters, "nnUNetTrainerSVLS_raters", change=change)
    training, validation = trainer.get_dataloaders()
    for batches in (training, validation):
        for _ in range(12):
            for target in next(batches)["target"]:
                assert target.shape[:2] == (2, 4)
                assert (target == target[:, :1]).all()
                assert 0 < target.float().mean() < 2


def random_outputs(target):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(maps.shape[0], 3, *maps.shape[2:], generator=generator) for maps in target]


@pytest.mark.parametrize("name", ["nnUNetTrainerSVLS_raters", "nnUNetTrainerDiceSVLS_raters"])
def test_loss_is_that_of_the_raters_and_dice_that_of_the_reference(name, raters):
    preprocess_raters("99", configurations=["3d_fullres"])
    trainer, stock = make(raters, name), make(raters, nnUNetTrainer)
    target = next(trainer.get_dataloaders()[0])["target"]
    assert any((target[0] != target[0][:, :1]).flatten())
    logits = random_outputs(target)
    expected = 0
    for weight, output, maps in zip(stock.loss.weight_factors, logits, target, strict=True):
        loss = SVLSLoss((3, 3, 3), raters=3)(output, maps[:, 1:])
        if "Dice" in name:
            loss = loss + stock.loss.loss.dc(output, maps[:, :1])
        expected = expected + weight * loss
    torch.testing.assert_close(trainer.loss(logits, target), expected)


def test_validation_has_the_loss_of_the_raters_and_the_dice_of_the_reference(raters):
    preprocess_raters("99", configurations=["3d_fullres"])
    trainer, stock = make(raters, "nnUNetTrainerSVLS_raters"), make(raters, nnUNetTrainer)
    stock.network.load_state_dict(trainer.network.state_dict())
    batch = next(trainer.get_dataloaders()[1])
    loss = trainer.loss
    with torch.no_grad():
        result = trainer.validation_step(batch)
        expected = stock.validation_step(batch | {"target": [maps[:, :1] for maps in batch["target"]]})
        assert result["loss"] == pytest.approx(loss(trainer.network(batch["data"]), batch["target"]).item())
    for key in ("tp_hard", "fp_hard", "fn_hard"):
        assert np.array_equal(result[key], expected[key])
    assert trainer.loss is loss


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_one_epoch(configuration, raters):
    preprocess_raters("99", configurations=[configuration])
    trainer = make(raters, "nnUNetTrainerSVLS_raters_1epochs_2iterations_1valiterations", configuration)
    trainer.run_training()
    logged = trainer.logger.local_logger.my_fantastic_logging
    assert np.isfinite(logged["train_losses"] + logged["val_losses"]).all()


def test_commands(raters, tmp_path):
    """Training with the raters' maps; prediction needs none of them."""
    raters.run("nnunet-nacl", "preprocess-raters", 99, "-c", "3d_fullres", "-np", 1)
    trainer = "nnUNetTrainerDiceSVLS_raters_1epochs_2iterations_1valiterations"
    raters.run("nnUNetv2_train", 99, "3d_fullres", 0, "-tr", trainer, "-p", "nnUNetPlansCPU", "-device", "cpu")
    fold = raters.fold(trainer)
    (log,) = fold.glob("training_log_*.txt")
    assert "Raters: rater1, rater2, rater3" in log.read_text()
    assert "raters=3) + soft Dice" in log.read_text()
    assert json.loads((fold / "validation" / "summary.json").read_text())["foreground_mean"]["Dice"] >= 0
    shutil.rmtree(folder_of_maps(raters))
    shutil.rmtree(raw_maps(raters))
    images = raters.root / "raw" / "Dataset099_Phantom" / "imagesTs"
    raters.run(
        "nnUNetv2_predict", "-i", images, "-o", tmp_path / "predicted", "-d", 99, "-c", "3d_fullres",
        "-f", 0, "-tr", trainer, "-p", "nnUNetPlansCPU", "-device", "cpu", "-npp", 1, "-nps", 1,
    )  # fmt: skip
    assert len(list((tmp_path / "predicted").glob("*.nii.gz"))) == 2


def test_trainer_says_what_is_missing(raters):
    with pytest.raises(InputError, match=r"raters\.json: no such file. Run `nnunet-nacl preprocess-raters`"):
        make(raters, "nnUNetTrainerSVLS_raters")
    preprocess_raters("99", configurations=["3d_fullres"])
    regions = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
    with pytest.raises(InputError, match="learns from labels, but this data set has regions"):
        make(raters, "nnUNetTrainerSVLS_raters", dataset=regions)
    with pytest.raises(InputError, match="second stage of a cascade"):
        make(raters, "nnUNetTrainerSVLS_raters", "3d_cascade_fullres", change=add_cascade)


def add_cascade(configurations):
    configurations["3d_lowres"] = deepcopy(configurations["3d_fullres"]) | {"next_stage": "3d_cascade_fullres"}
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}


def test_trainer_notices_maps_of_another_preprocessing(raters):
    preprocess_raters("99", configurations=["3d_fullres"])
    trainer = make(raters, "nnUNetTrainerSVLS_raters")
    for case in CASES:
        path = folder_of_maps(raters) / f"{case}.b2nd"
        path.unlink()
        blosc2.asarray(np.zeros((4, 8, 8, 8), np.int16), urlpath=str(path))
    with pytest.raises(InputError, match=r"\(16, 16, 16\) voxels as the reference has, got \(8, 8, 8\)"):
        trainer.get_dataloaders()


def no_folders(maps):
    shutil.rmtree(maps)


def unknown_case(maps):
    shutil.copy(maps / "rater1" / "phantom_000.nii.gz", maps / "rater1" / "other.nii.gz")


def case_of_nobody(maps):
    for rater in RATERS:
        (maps / rater / "phantom_002.nii.gz").unlink()


def another_size(maps):
    write(np.zeros((8, 8, 8), np.uint8), maps / "rater2" / "phantom_001.nii.gz")


def another_label(maps):
    write(np.full((16, 16, 16), 3, np.uint8), maps / "rater2" / "phantom_001.nii.gz")


def another_reference(maps):
    write(np.zeros((16, 16, 16), np.uint8), maps.with_name("labelsTr") / "phantom_001.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_folders, "ratersTr: expected one folder of label maps per rater, found none"),
        (unknown_case, r"no training case belongs to other\.nii\.gz"),
        (case_of_nobody, r"no rater has a label map phantom_002\.nii\.gz"),
        (another_size, r"rater2/phantom_001.nii.gz: expected \(16, 16, 16\) voxels .* got \(8, 8, 8\)"),
        (another_label, r"rater2/phantom_001.nii.gz: expected the labels \[0, 1, 2\], but it also has \[3"),
        (another_reference, "phantom_001.nii.gz: expected the label map that is preprocessed"),
    ],
)
def test_preprocessing_says_what_is_wrong(spoil, message, raters):
    spoil(raw_maps(raters))
    with pytest.raises(InputError, match=message):
        preprocess_raters("99", configurations=["3d_fullres"])
    assert not folder_of_maps(raters).exists()
    assert not list(raters.preprocessed.glob(".*"))


def test_preprocessing_refuses_unknown_configurations(raters):
    with pytest.raises(InputError, match="nnUNetPlans has no configuration 3d_lowres, only 2d, 3d_fullres"):
        preprocess_raters("99", configurations=["3d_lowres"])
    shutil.rmtree(Path(raters.preprocessed, "nnUNetPlans_2d"))
    with pytest.raises(InputError, match="Run `nnUNetv2_preprocess -d Dataset099_Phantom -c 2d`"):
        preprocess_raters("99", configurations=["2d"])
