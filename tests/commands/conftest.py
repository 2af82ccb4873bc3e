"""A trained model's folders as nnU-Net leaves them, with the phantom's true posterior for its validation cases."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnunet_nacl.cli import main


@dataclass
class Model:
    """Where nnU-Net put what belongs to a training."""

    folder: Path
    validation: Path
    labels: Path
    raw_labels: Path


@pytest.fixture
def model(phantom_task, dataset_files, tmp_path, monkeypatch):
    """Model folder, validation cases and labels; nnU-Net's variables name the folders around them."""
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    folder = tmp_path / "results" / "Dataset099_Phantom" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    made = Model(
        folder,
        folder / "fold_0" / "validation",
        tmp_path / "preprocessed" / "Dataset099_Phantom" / "gt_segmentations",
        tmp_path / "raw" / "Dataset099_Phantom" / "labelsTr",
    )
    shutil.copytree(phantom_task / "posteriorTr", made.validation)
    shutil.copytree(phantom_task / "labelsTr", made.validation, dirs_exist_ok=True)
    for labels in (made.labels, made.raw_labels):
        shutil.copytree(phantom_task / "labelsTr", labels)
    for file in dataset_files:
        shutil.copy(file, folder)
    return made


@pytest.fixture
def predicted(phantom_task, dataset_files, tmp_path):
    """A folder as nnUNetv2_predict leaves it."""
    folder = tmp_path / "predicted"
    shutil.copytree(phantom_task / "posteriorTr", folder)
    shutil.copytree(phantom_task / "labelsTr", folder, dirs_exist_ok=True)
    for file in dataset_files:
        shutil.copy(file, folder)
    return folder


@pytest.fixture
def one_line(capsys):
    """Run a command that fails, and return the one line that it prints on standard error."""

    def run(*command):
        capsys.readouterr()
        assert main([str(word) for word in command]) == 1
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1, printed
        return printed.removeprefix("nnunet-nacl: error: ").rstrip()

    return run
