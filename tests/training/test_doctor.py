"""doctor and trainer-path, as a user runs them."""

import os
import subprocess
import sys
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
    assert "ok  all 15 trainers: nnU-Net finds them" in printed
    assert len(printed.splitlines()) == 9


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
    assert "BAD all 15 trainers: nnU-Net does not find them. Correct nnUNet_extTrainer, see above." in printed


def test_several_folders_are_fine(healthy, tmp_path, capsys):
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path), str(trainer_path())]))
    assert main(["doctor"]) == 0


def test_somebody_elses_broken_trainer_is_named(healthy, tmp_path, capsys):
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path), str(trainer_path())]))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert (
        f"BAD nnUNet_extTrainer, folder 1 of 2: {tmp_path}: a module in it fails (ModuleNotFoundError: No module named"
        in printed
    )
    assert (
        "BAD all 15 trainers: nnU-Net's search ends in ModuleNotFoundError: No module named 'no_such_module" in printed
    )


@pytest.fixture
def own(tmp_path):
    """A folder of somebody else's trainers: two of their own, one by a name that is a variant here, one by a name of ours."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    lines = ["from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer", ""]
    names = ("nnUNetTrainerMine", "UNextTrainer", "nnUNetTrainer_200epochs", "nnUNetTrainerFocal", "_nnUNetTrainerBase")
    lines += [f'class {name}(nnUNetTrainer):\n    """{name} of my lab."""\n' for name in names]
    (tmp_path / "package" / "my_lab_trainers.py").write_text("\n".join(lines))
    return tmp_path


def test_who_wins_where_a_name_is_in_two_folders(healthy, own, capsys):
    ours = str(trainer_path())
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([str(own), ours]))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out.splitlines()
    listed = "UNextTrainer, nnUNetTrainerFocal, nnUNetTrainerMine, nnUNetTrainer_200epochs"
    assert f"ok  nnUNet_extTrainer, folder 1 of 2: {own}: {listed}" in printed
    assert f"ok  nnUNetTrainer_200epochs: is of {ours} as well; nnU-Net takes that of {own}" in printed
    assert (
        f"BAD nnUNetTrainerFocal: nnU-Net takes another of this name, that of {own}, instead of nnunet-nacl's. Put nnunet-nacl's "
        "folder first in nnUNet_extTrainer."
    ) in printed
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([ours, str(own)]))
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert f"ok  nnUNetTrainer_200epochs: is of {ours} as well; nnU-Net takes that of {ours}" in printed
    assert "ok  all 15 trainers: nnU-Net finds them" in printed


def test_a_variable_that_somebody_else_set(healthy, own, capsys):
    healthy.setenv("nnUNet_extTrainer", str(own))
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert 'Run: export nnUNet_extTrainer="$(nnunet-nacl trainer-path):$nnUNet_extTrainer"' in printed
    assert f"nnUNet_extTrainer, folder 1 of 1: {own}: UNextTrainer" in printed


def test_a_folder_that_is_not_there(healthy, tmp_path, capsys):
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([str(trainer_path()), str(tmp_path / "typo")]))
    assert main(["doctor"]) == 1
    assert f"BAD nnUNet_extTrainer, folder 2 of 2: {tmp_path / 'typo'} is no folder" in capsys.readouterr().out


def test_trainers_of_the_users_own(healthy, own, capsys):
    healthy.setenv("nnUNet_extTrainer", os.pathsep.join([str(own), str(trainer_path())]))
    assert main(["trainers", "nnUNetTrainerMine", "UNextTrainer", "nnUNetTrainer_200epochs"]) == 0
    printed = capsys.readouterr().out
    assert f"nnUNetTrainerMine ({own})\n    nnUNetTrainerMine of my lab.\n    settings: none\n" in printed
    # the one that nnU-Net would train, though the name is a variant here
    assert f"nnUNetTrainer_200epochs ({own})\n    nnUNetTrainer_200epochs of my lab." in printed
    assert main(["trainers"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"in {own}: UNextTrainer, nnUNetTrainerFocal, nnUNet")
    assert main(["trainers", "nnUNetTrainerMine_100epochs"]) == 1
    assert f"nnUNetTrainerMine in {own} takes no settings in its name (_100epochs)" in capsys.readouterr().err
    assert main(["trainers", "nnUNetTrainerMin"]) == 1
    assert f"Did you mean nnUNetTrainerMine, in {own}?" in capsys.readouterr().err
    (own / "broken.py").write_text("1 / 0\n")
    assert main(["trainers", "nnUNetTrainerMine"]) == 1
    assert "a module on nnUNet_extTrainer fails (ZeroDivisionError: division by zero)" in capsys.readouterr().err


def test_nnunets_own_command_hears_which_part_is_wrong(healthy, tmp_path):
    """nnUNetv2_train says only that there is no such trainer; the line before is ours."""
    search = "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as f; f('{}')"
    for name, said in (("nnUNetTrainerNACL_wieght0p2", True), ("nnUNetTrainerOfNobody", False)):
        command = [sys.executable, "-c", search.format(name)]
        finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ)
        hint = "nnunet-nacl: 'wieght0p2' in nnUNetTrainerNACL_wieght0p2 is no setting of nnUNetTrainerNACL. Did you mean weight0p2?"
        assert (hint in finished.stderr.splitlines()) == said
        assert "Could not find requested nnunet trainer" in finished.stderr


def test_no_warning_of_pytorch_greets(healthy, tmp_path):
    """timm, which nnU-Net's search imports, uses what PyTorch warns of; a warning of anything else is still shown."""
    command = [sys.executable, "-m", "nnunet_nacl.cli", "doctor"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    assert finished.returncode == 0, finished.stdout
    assert finished.stderr == ""
    (tmp_path / "warns.py").write_text("import warnings\nwarnings.warn('this is mine', FutureWarning)\n")
    variable = {"nnUNet_extTrainer": os.pathsep.join([str(tmp_path), str(trainer_path())])}
    finished = subprocess.run(command, capture_output=True, text=True, cwd="/", env=os.environ | variable)
    assert "FutureWarning: this is mine" in finished.stderr
    assert "torch.jit" not in finished.stderr
