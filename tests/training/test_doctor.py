"""doctor and trainer-path, as a user runs them."""

import os
from pathlib import Path

import pytest

from nnunet_nacl.cli import main
from nnunet_nacl.training.trainer_path import MODULE, trainer_path

VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@pytest.fixture
def healthy(monkeypatch, tmp_path):
    for variable in VARIABLES:
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("nnUNet_extTrainer", str(trainer_path()))
    return monkeypatch


def test_trainer_path_holds_the_module_alone(capsys):
    assert main(["trainer-path"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert [path.name for path in folder.glob("*.py")] == [f"{MODULE}.py"]


def test_healthy(healthy, capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "BAD" not in printed
    assert "ok  nnUNetTrainerDiceSVLS: nnunet_nacl.training.trainers" in printed


@pytest.mark.parametrize("variable", VARIABLES)
def test_unset_folder(variable, healthy, capsys):
    healthy.delenv(variable)
    assert main(["doctor"]) == 1
    assert f"BAD {variable}: is not set. Run: export {variable}=" in capsys.readouterr().out


def test_folder_that_is_not_there(healthy, capsys):
    healthy.setenv("nnUNet_raw", "/nowhere/raw")
    assert main(["doctor"]) == 1
    assert "BAD nnUNet_raw: /nowhere/raw is no folder. Run: mkdir -p" in capsys.readouterr().out


def test_unset_ext_trainer(healthy, capsys):
    healthy.delenv("nnUNet_extTrainer")
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert 'BAD nnUNet_extTrainer: is not set. Run: export nnUNet_extTrainer="$(nnunet-nacl trainer-path)"' in printed
    assert "BAD nnUNetTrainerNACL: nnU-Net does not find it" in printed


def test_several_folders_are_fine(healthy, tmp_path, capsys):
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path), str(trainer_path())]))
    assert main(["doctor"]) == 0


def test_somebody_elses_broken_trainer_is_named(healthy, tmp_path, capsys):
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path), str(trainer_path())]))
    assert main(["doctor"]) == 1
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in capsys.readouterr().out
