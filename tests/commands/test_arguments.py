"""Arguments that no command can use end in one line, before anything is read."""

import pytest

from nnunet_nacl.cli import main
from nnunet_nacl.commands.arguments import default_processes
from nnunet_nacl.errors import InputError

FIT = ["recalibrate", "fit", "folds", "-gt", "labels", "-djfile", "d.json", "-pfile", "p.json", "-o", "t.json"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*FIT, "--bins", "1000"], "expected a number from 1 to 999, got 1000"),
        (["report", "run", "--worst", "-1"], "expected a number from 0, got -1"),
        (["report", "run", "--worst", "x"], "argument --worst: expected a whole number, got 'x'"),
        (["evaluate", "p", "-np", "1.5"], "argument -np: expected a whole number, got '1.5'"),
        ([*FIT, "--bins", "x"], "argument --bins: expected a whole number, got 'x'"),
        (["evaluate", "p", "--boundary-mm", "x"], "argument --boundary-mm: expected a number, got 'x'"),
        (["map", "p", "--sigma-mm", "x"], "argument --sigma-mm: expected a number, got 'x'"),
    ],
)
def test_out_of_range(command, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("value", ["many", "0", "-2", "2.5", ""])
def test_number_of_processes_of_the_environment(value, monkeypatch):
    monkeypatch.setenv("nnUNet_def_n_proc", value)
    with pytest.raises(InputError, match="nnUNet_def_n_proc to be a whole number from 1"):
        default_processes()
    monkeypatch.setenv("nnUNet_def_n_proc", "3")
    assert default_processes() == 3
