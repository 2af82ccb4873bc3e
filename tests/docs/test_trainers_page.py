"""docs/trainers.md: each trainer is on it, and its costs and effects are those of the result pages."""

import re

import pytest
from pages import ROOT

from nnunet_nacl.training.trainers import TRAINERS

DOCS = ROOT / "docs"
MINUS = "\N{MINUS SIGN}"
PAGE = (DOCS / "trainers.md").read_text(encoding="utf-8")
SECTIONS = {part.split(":")[0]: " ".join(part.split()) for part in PAGE.split("\n## ")}


def rows(page):
    """Return the tables' rows of a page as lists of cells."""
    lines = (DOCS / "results" / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def costs(loss):
    """Return time and memory of a loss by the number of classes."""
    return {cells[0]: (cells[3], cells[4]) for cells in rows("losses.md") if cells[1] == loss}


def effects(trainer):
    """Return the scores of a trainer, rounded as the page does."""
    header, *lines = rows("hippocampus-fold0.md")
    place = header.index(trainer)
    return {cells[0]: f"{float(cells[place].replace(MINUS, '-')):.3f}" for cells in lines}


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_is_there(name):
    assert re.search(rf"`{name}`", PAGE)


@pytest.mark.parametrize("loss", ["NACL", "SVLS"])
def test_costs(loss):
    cost, reference = costs(loss), costs("Dice+CE (nnU-Net)")
    assert f"{cost['3'][0]} of the time with 3 classes, {cost['14'][0]} with 14" in SECTIONS[loss]
    assert f"memory {cost['3'][1]} and {cost['14'][1]} times the logits" in SECTIONS[loss]
    assert f"against {reference['3'][1]}" in SECTIONS["NACL"]
    gaussian = costs("NACL gaussian")
    assert f"Gaussian kernel {gaussian['3'][0]} and {gaussian['14'][0]}" in SECTIONS["NACL"]
    step = re.search(r"NACL (\d+\.\d+), SVLS (\d+\.\d+)", (DOCS / "results" / "losses.md").read_text(encoding="utf-8"))
    assert f"takes {step[1]} (NACL) and {step[2]} (SVLS)" in " ".join(PAGE.split())


@pytest.mark.parametrize(
    ("trainer", "section", "words"),
    [
        ("NACL", "NACL", "NACL: Dice {Dice}; ECE `predicted` {predicted}, `all` {all} (the ceiling); NLL `predicted` {nll}"),
        ("Dice+NACL", "NACL", "Dice + NACL: Dice {Dice}; ECE `predicted` {predicted}, `all` {all}; NLL `predicted` {nll}"),
        ("Dice+SVLS", "SVLS", "Dice + SVLS: Dice {Dice}; ECE `predicted` {predicted}, `all` 0.007; NLL `predicted` {nll}"),
        ("SVLS", "SVLS", "within these iterations (Dice {Dice})"),
    ],
)  # fmt: skip
def test_effects(trainer, section, words):
    found = effects(trainer)
    values = {"Dice": found["Dice"], "predicted": found["ECE `predicted`"], "all": found["ECE `all`"], "nll": found["NLL `predicted`"]}  # fmt: skip
    assert words.format(**values) in SECTIONS[section]
