"""A command that fails prints one line, leaves no empty folder, and no progress bar above the error."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnunet_nacl.cli import main


def spoil(folder):
    """Put a NaN into one softmax file, which is seen only when that case is read."""
    path = folder / "phantom_003.npz"
    with np.load(path) as stored:
        probabilities = stored["probabilities"]
    probabilities[0, 5, 5, 5] = np.nan
    np.savez_compressed(path, probabilities=probabilities)


@pytest.fixture
def damaged(predicted):
    """Predictions of which the first case that is read is at fault."""
    for path in predicted.glob("phantom_00[0-2].*"):
        path.unlink()
    spoil(predicted)
    return predicted


@pytest.mark.parametrize("command", ["evaluate", "recalibrate fit", "map", "recalibrate apply"])
def test_nothing_empty_is_left(command, damaged, phantom_task, one_line, tmp_path):
    """Nor does a progress bar stand above the one line."""
    labels = ["-gt", phantom_task / "labelsTr"]
    given = [*command.split(), damaged, *labels, "-np", 1]
    if command == "recalibrate apply":
        (damaged / "phantom_003.npz").replace(tmp_path / "spoilt.npz")
        (damaged / "phantom_003.nii.gz").rename(tmp_path / "away.nii.gz")
        assert main([str(word) for word in ["recalibrate", "fit", damaged, *labels, "-o", tmp_path / "t.json"]]) == 0
        (tmp_path / "spoilt.npz").replace(damaged / "phantom_003.npz")
        (tmp_path / "away.nii.gz").rename(damaged / "phantom_003.nii.gz")
        for path in damaged.glob("phantom_00[45].*"):
            path.unlink()
        given = ["recalibrate", "apply", tmp_path / "t.json", damaged, "-np", 1]
    elif command in ("recalibrate fit", "map"):
        given = given[:-2]
    output = tmp_path / "new" / "out"
    line = one_line(*given, "-o", output / "t.json" if command == "recalibrate fit" else output)
    assert "phantom_003.npz" in line
    assert not (tmp_path / "new").exists()


def test_evaluate_leaves_no_empty_folder_among_the_predictions(damaged, phantom_task, one_line):
    before = sorted(damaged.iterdir())
    one_line("evaluate", damaged, "-gt", phantom_task / "labelsTr", "-np", 1)
    assert sorted(damaged.iterdir()) == before


def test_finished_cases_stay(predicted, phantom_task, one_line, tmp_path):
    """What the next run goes on from is no leftover."""
    spoil(predicted)
    one_line("evaluate", predicted, "-gt", phantom_task / "labelsTr", "-np", 1, "-o", tmp_path / "out")
    assert len(list((tmp_path / "out" / ".calibration_cases").iterdir())) == 3


def test_a_terminal_shows_the_error_alone(damaged, phantom_task, monkeypatch, capsys):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["evaluate", str(damaged), "-gt", str(phantom_task / "labelsTr"), "-np", "1"]) == 1
    printed = capsys.readouterr().err
    assert "evaluating" in printed
    after_last_erasure = printed.rsplit("\x1b[2K", 1)
    assert len(after_last_erasure) == 2
    assert after_last_erasure[1].strip().startswith("nnunet-nacl: error: ")


def bad_outputs(phantom_task, model, result, read_only):
    labels = ["-gt", phantom_task / "labelsTr"]
    return {
        "evaluate": ["evaluate", model.validation, *labels, "-np", 1, "-o", read_only],
        "map": ["map", model.validation, "phantom_000", "-o", read_only],
        "fit": ["recalibrate", "fit", model.validation, *labels, "-o", read_only / "t.json"],
        "merge": ["merge", result, "-o", read_only],
        "compare": ["compare", result, result.parent / "other", "-o", read_only],
        "figure": ["compare", result, result.parent / "other", "--figure", read_only / "figure.png"],
        "report": ["report", result, "-o", read_only / "report.html"],
        "figures": ["report", result, "-o", result.parent / "report.html", "--figures", read_only],
        "phantom": ["phantom", read_only / "Task99_Phantom"],
        "init": ["benchmark", "init", read_only / "study"],
    }


@pytest.mark.parametrize("place", ["/proc/nnunet_nacl", "below a file"])
def test_outputs_that_cannot_be_written(place, model, phantom_task, one_line, tmp_path):
    """Below a file no user may write, root included; in /proc neither."""
    result = tmp_path / "result"
    for output in (result, tmp_path / "other"):
        assert main(["evaluate", str(model.validation), "-np", "1", "-o", str(output)]) == 0
    (tmp_path / "file").touch()
    read_only = Path(place) if place.startswith("/") else tmp_path / "file" / "below"
    for name, command in bad_outputs(phantom_task, model, result, read_only).items():
        line = one_line(*command)
        assert str(read_only.parent) in line, name
        assert "cannot be written" in line, name


def test_nnunet_folders_that_cannot_be_written(phantom_task, one_line, monkeypatch, tmp_path):
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{variable}", f"/proc/nnunet_nacl/{variable}")
    line = one_line("import-msd", "Task99_Phantom", "--from", phantom_task, "--id", 99)
    assert line.startswith("/proc/nnunet_nacl/raw: cannot be made (No such file or directory).")


def test_a_reader_that_has_gone(tmp_path):
    """`nnunet-nacl trainers | head -1` has no traceback: here the reader is gone before there is anything to read."""
    command = f"{sys.executable} -m nnunet_nacl.cli trainer-path | true"
    finished = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert finished.stderr == ""
