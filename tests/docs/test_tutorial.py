"""docs/tutorial.md prints what it says. nnU-Net's part, dataset.json and the plans, comes from a fixture: it has no part in the figures."""

import re
import shlex
import shutil

import pytest
from pages import ROOT, blocks

from nnunet_nacl.cli import main

PAGE = ROOT / "docs" / "tutorial.md"
ROW = re.compile(r"^ *(?:all|foreground|union|predicted|boundary|Dice|ECE|NLL|after|by-prediction)\b.*\d")


def rows(text):
    """Return the lines with figures, without what spaces them out."""
    return {" ".join(line.split()) for line in text.splitlines() if ROW.match(line)}


@pytest.fixture
def working_folder(dataset_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    shutil.copy(dataset_files[0], "dataset.json")
    shutil.copy(dataset_files[1], "nnUNetPlans.json")


@pytest.mark.usefixtures("working_folder")
def test_the_figures_on_the_page_are_printed(capsys):
    lines = "\n".join(blocks(PAGE, "bash")).replace("\\\n", " ").splitlines()
    ours = [shlex.split(line)[1:] for line in lines if re.match(r"nnunet-nacl .*Task99_Phantom", line)]
    assert [command[0] for command in ours] == ["phantom", "evaluate", "evaluate", "compare", "recalibrate"]
    for command in ours:
        assert main(command) == 0
        if command[0] == "phantom":
            (sharpen,) = blocks(PAGE, "python")
            exec(compile(sharpen, "docs/tutorial.md", "exec"), {})
    expected = rows("\n".join(blocks(PAGE, "")))
    assert len(expected) == 13
    assert expected - rows(capsys.readouterr().out) == set()
