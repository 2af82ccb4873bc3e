"""docs/trainers.md: each trainer is on it, and its costs and effects are those of the result pages."""

import re

import pytest
from pages import ROOT

from nnunet_nacl.training.trainers import TRAINERS

DOCS = ROOT / "docs"
PAGE = (DOCS / "trainers.md").read_text(encoding="utf-8")
STUDY = "hippocampus/Dataset004_Hippocampus.md"
NUMBER = r"\d+\.\d{3,}"
ROUNDING = 0.00056
"""Three digits of a number that is given in the study with four, rounded from more."""
SECTIONS = {part.split(":")[0]: " ".join(part.split()) for part in PAGE.split("\n## ")}


def rows(page):
    """Return the tables' rows of a page as lists of cells."""
    lines = (DOCS / "results" / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def costs(loss):
    """Return time and memory of a loss by the number of classes."""
    return {cells[0]: (cells[3], cells[4]) for cells in rows("losses.md") if cells[1] == loss}


def effects(trainer):
    """Return the means over the cases of a trainer, as the study's page has them, with four digits."""
    page = (DOCS / "results" / STUDY).read_text(encoding="utf-8")
    found = {}
    for key, heading, table, column in (
        ("Dice", "### 1a. ", 0, 0), ("predicted", "### 1b. ", 0, 0), ("nll", "### 1b. ", 1, 0), ("all", "### 1c. ", 0, 0),
        ("scaled_nll", "### 3b. ", 0, 3), ("scaled_predicted", "### 3b. ", 0, 1), ("scaled_all", "### 3c. ", 0, 1),
    ):  # fmt: skip
        part = page[page.index(heading) :].split("\n### ")[0]
        lines = [line for line in part.splitlines() if line.startswith(f"| `nnUNetTrainer{trainer}_20epochs`")]
        found[key] = float(re.findall(NUMBER, lines[table].split("|", 2)[2])[column])
    part = page[page.index("### 1g. ") :]
    line = next(line for line in part.splitlines() if line.startswith(f"| `nnUNetTrainer{trainer}_20epochs`"))
    found["folds"] = [float(value) for value in re.findall(NUMBER, line.split("|", 2)[2])]
    return found


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


def assert_says(text, words, expected):
    """Assert that a text has these words, with numbers in the place of each # that are the expected ones, rounded."""
    said = re.search(re.escape(words).replace(r"\#", f"({NUMBER})"), " ".join(text.split()))
    assert said, words
    assert [float(value) for value in said.groups()] == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize(
    ("trainer", "section", "words", "keys"),
    [
        ("NACL", "NACL", "NACL: Dice #, #, # in the three folds", ["folds"]),
        ("NACL_warmup4", "NACL", "warm-up of four epochs Dice #, #, #", ["folds"]),
        ("DiceNACL", "NACL", "Dice + NACL: Dice #; ECE `predicted` #, `all` #; NLL `predicted` #", ["Dice", "predicted", "all", "nll"]),
        ("DiceSVLS", "SVLS", "Dice + SVLS: Dice #; ECE `predicted` #, `all` #; NLL `predicted` #; with one temperature NLL #", ["Dice", "predicted", "all", "nll", "scaled_nll"]),
        ("SVLS", "SVLS", "SVLS: Dice #, #, #, so it learned", ["folds"]),
    ],
)  # fmt: skip
def test_effects(trainer, section, words, keys):
    found = effects(trainer)
    assert_says(SECTIONS[section], words, found["folds"] if keys == ["folds"] else [found[key] for key in keys])


def test_the_baseline():
    found = effects("")
    words = "(Dice #; ECE in `predicted` #, in `all` #; NLL in `predicted` #)"
    assert_says(PAGE, words, [found[key] for key in ("Dice", "predicted", "all", "nll")])


@pytest.mark.parametrize("page", ["README.md", "docs/results/hippocampus.md"])
@pytest.mark.parametrize("trainer", ["", "DiceNACL", "DiceSVLS", "NACL_warmup4", "NACL", "CELoss", "SVLS"])
def test_the_tables_in_short(page, trainer):
    """Each row of README's and the reading's table has the numbers of the study's page."""
    found = effects(trainer)
    name = {"": "Dice+CE", "CELoss": "CE", "NACL_warmup4": "NACL, warm-up"}.get(
        trainer, trainer.replace("Dice", "Dice+")
    )
    row = re.compile(rf"\| {re.escape(name)}( of 4 epochs| \(stock\))?( [†‡]+)? \|")
    line = next(line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if row.match(line))
    shown = [float(value) for value in re.findall(NUMBER, line)]
    scores = [found[key] for key in ("predicted", "scaled_predicted", "all", "scaled_all", "nll", "scaled_nll")]
    segments = "segments in one fold" not in line
    assert shown == pytest.approx(found["folds"] + (scores if segments else []), abs=ROUNDING)
    assert segments or page == "README.md"
