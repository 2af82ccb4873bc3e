"""`nnunet-nacl share`: which stock trainer is named, what is refused, and that the copy predicts the same without us."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError
from nnunet_nacl.training import share as module
from nnunet_nacl.training.share import read_checkpoint, share, stock_trainer

TRAINER = "nnUNetTrainerDiceNACL_gaussian_1epochs_2iterations_1valiterations"

USERS_TRAINERS = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.primus.primus_trainers import nnUNet_Primus_M_Trainer
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)
from nnunet_nacl.training.trainers import NACLMixin

class nnUNetTrainerUsersPrimus(NACLMixin, nnUNet_Primus_M_Trainer):
    pass

class nnUNetTrainerUsersFlat(NACLMixin, nnUNetTrainerNoDeepSupervision):
    pass

class nnUNetTrainerUsersNetwork(NACLMixin, nnUNetTrainer):
    @staticmethod
    def build_network_architecture(*arguments, **options):
        raise NotImplementedError
"""


@pytest.mark.parametrize(
    ("name", "stock"),
    [
        (TRAINER, "nnUNetTrainer"),
        ("nnUNetTrainerSVLS_raters", "nnUNetTrainer"),
        ("nnUNetTrainerCELoss_20epochs", "nnUNetTrainer"),
        ("nnUNetTrainerBN_3epochs", "nnUNetTrainerBN"),
    ],
)
def test_stock_trainer(name, stock):
    assert stock_trainer(name).__name__ == stock


@pytest.mark.parametrize(
    ("name", "stock"),
    [("nnUNetTrainerUsersPrimus", "nnUNet_Primus_M_Trainer"), ("nnUNetTrainerUsersFlat", "nnUNetTrainer")],
)
def test_stock_trainer_of_a_users_trainer(name, stock, tmp_path, monkeypatch):
    (tmp_path / "users_trainers_for_sharing.py").write_text(USERS_TRAINERS)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    assert stock_trainer(name).__name__ == stock


def test_no_stock_trainer(tmp_path, monkeypatch):
    (tmp_path / "users_trainers_for_sharing.py").write_text(USERS_TRAINERS)
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    with pytest.raises(
        InputError, match="its network is built by users_trainers_for_sharing.nnUNetTrainerUsersNetwork"
    ):
        stock_trainer("nnUNetTrainerUsersNetwork")
    with pytest.raises(
        InputError,
        match="'nnUNetTrainerNowhere' is no trainer of .* Nor does nnU-Net find it through nnUNet_extTrainer",
    ):
        stock_trainer("nnUNetTrainerNowhere")


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


loads_safely = pytest.mark.skipif(
    not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"), reason="PyTorch before 2.6 is refused"
)


@loads_safely
def test_checkpoint_with_code_is_not_run(tmp_path):
    touched = tmp_path / "touched"
    torch.save(
        {"trainer_name": "nnUNetTrainer", "network_weights": {}, "x": Evil(touched)}, tmp_path / "checkpoint.pth"
    )
    with pytest.raises(InputError, match="without running code from it .it holds .*getattr"):
        read_checkpoint(tmp_path / "checkpoint.pth")
    assert not touched.exists()


@loads_safely
def test_checkpoint_that_is_none(tmp_path):
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(InputError, match="text.pth: "):
        read_checkpoint(tmp_path / "text.pth")
    torch.save({"epoch": 3, "best": np.float32(0.5)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no checkpoint of nnU-Net; it lacks network_weights"):
        read_checkpoint(tmp_path / "other.pth")


def test_a_pytorch_that_cannot_load_safely_is_named(tmp_path, monkeypatch):
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint", raising=False)
    with pytest.raises(InputError, match="cannot load it without running code from it. Expected 2.6 or newer"):
        read_checkpoint(tmp_path / "checkpoint.pth")


def test_folder_that_is_none(tmp_path, capsys):
    assert main(["share", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "expected nnU-Net's folder <trainer>__<plans>__<configuration>" in capsys.readouterr().err
    folder = tmp_path / "nnUNetTrainerNACL__nnUNetPlans__2d"
    (folder / "fold_0").mkdir(parents=True)
    assert main(["share", str(folder), "-o", str(tmp_path / "out")]) == 1
    assert "lacks dataset.json, plans.json" in capsys.readouterr().err
    for name in ("dataset.json", "plans.json"):
        (folder / name).write_text("{}")
    assert main(["share", str(folder), "-o", str(tmp_path / "out")]) == 1
    assert "has no checkpoint_final.pth in any fold" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def without_us(tmp_path):
    """An environment that holds nothing but what Python needs, and where nnunet_nacl cannot be imported."""
    folder = tmp_path / "forbid"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Forbid:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('nnunet_nacl'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Forbid())\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(folder),
        "nnUNet_def_n_proc": "1",
    }
    refused = subprocess.run(
        [sys.executable, "-c", "import nnunet_nacl"], env=environment, capture_output=True, text=True
    )
    assert "ModuleNotFoundError: nnunet_nacl" in refused.stderr
    return environment


@pytest.mark.nnunet
def test_predicts_the_same_without_us(nnunet, trained_model, without_us, tmp_path):
    images = nnunet.root / "raw" / "Dataset099_Phantom" / "imagesTs"
    case = sorted(images.iterdir())[0]
    said = nnunet.run("nnunet-nacl", "share", trained_model, "-o", tmp_path / "shared", "-i", case).stdout
    assert f"trainer {TRAINER} -> nnUNetTrainer, fold_0" in said
    assert "verified: " in said
    shared = tmp_path / "shared" / "nnUNetTrainer__nnUNetPlansCPU__3d_fullres"
    assert {path.name for path in shared.rglob("*") if path.is_file()} == {
        "dataset.json", "plans.json", "dataset_fingerprint.json", "shared.json", "checkpoint_final.pth",
    }  # fmt: skip
    assert json.loads((shared / "shared.json").read_text())["trained_with"] == TRAINER
    checkpoint = torch.load(shared / "fold_0" / "checkpoint_final.pth", weights_only=True)
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert "optimizer_state" not in checkpoint

    options = ("-i", images, "-f", 0, "-device", "cpu", "--save_probabilities", "-npp", 1, "-nps", 1)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    nnunet.run(
        "nnUNetv2_predict", "-o", ours, "-d", 99, "-c", "3d_fullres", "-tr", TRAINER, "-p", "nnUNetPlansCPU", *options
    )
    command = [
        Path(sys.executable).with_name("nnUNetv2_predict_from_modelfolder"),
        "-o",
        theirs,
        "-m",
        shared,
        *options,
    ]
    finished = subprocess.run([str(part) for part in command], env=without_us, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    names = sorted(path.name for path in ours.glob("*.npz"))
    assert len(names) == 2
    for name in names:
        first, second = (np.load(folder / name)["probabilities"] for folder in (ours, theirs))
        np.testing.assert_array_equal(first, second)
        first, second = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name.replace(".npz", ".nii.gz"))))
            for folder in (ours, theirs)
        )
        np.testing.assert_array_equal(first, second)


@pytest.mark.nnunet
def test_a_copy_that_predicts_otherwise_is_not_kept(trained_model, tmp_path, monkeypatch):
    right = module._for_prediction

    def wrong(*arguments):
        checkpoint = right(*arguments)
        weights = dict(checkpoint["network_weights"])
        last = list(weights)[-1]
        return checkpoint | {"network_weights": weights | {last: weights[last] + 1e-3}}

    monkeypatch.setattr(module, "_for_prediction", wrong)
    with pytest.raises(InputError, match=r"does not predict the same \(outputs_fold_0 differ\)"):
        share(trained_model, tmp_path / "shared")
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.nnunet
def test_refusals_of_a_trained_model(trained_model, tmp_path):
    with pytest.raises(InputError, match="has no checkpoint_final.pth in fold_3"):
        share(trained_model, tmp_path, folds=["0", "3"])
    with pytest.raises(InputError, match="expected 1 image files with -i"):
        share(trained_model, tmp_path, images=[trained_model / "plans.json", trained_model / "dataset.json"])
    (tmp_path / "nnUNetTrainer__nnUNetPlansCPU__3d_fullres").mkdir()
    with pytest.raises(InputError, match="exists already and is left alone"):
        share(trained_model, tmp_path)
    link = tmp_path / "nnUNetTrainerNACL__nnUNetPlansCPU__lowres"
    link.mkdir()
    for path in trained_model.iterdir():
        (link / path.name).symlink_to(path)
    with pytest.raises(InputError, match=f"is of trainer {TRAINER}, but its folder says nnUNetTrainerNACL"):
        share(link, tmp_path / "other")
