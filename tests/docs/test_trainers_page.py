"""docs/trainers.md: each trainer is on it, and its costs and effects are those of the result pages."""

import re

import pytest
from pages import ROOT

from nnunet_nacl.training.trainers import TRAINERS

DOCS = ROOT / "docs"
PAGE = (DOCS / "trainers.md").read_text(encoding="utf-8")
STUDY = "hippocampus/Dataset004_Hippocampus.md"
GPU_STUDY = "hippocampus-gpu.md"
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("trainer", ["", "DiceNACL", "DiceSVLS", "NACL_warmup4", "NACL", "CELoss", "SVLS"])
def test_the_table_in_short(trainer):
    """Each row of the reading's table has the numbers of the study's page."""
    found = effects(trainer)
    name = {"": "Dice+CE", "CELoss": "CE", "NACL_warmup4": "NACL, warm-up"}.get(
        trainer, trainer.replace("Dice", "Dice+")
    )
    row = re.compile(rf"\| {re.escape(name)}( of 4 epochs| \(stock\))?( [†‡]+)? \|")
    page = (DOCS / "results" / "hippocampus.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if row.match(line))
    shown = [float(value) for value in re.findall(NUMBER, line)]
    scores = [found[key] for key in ("predicted", "scaled_predicted", "all", "scaled_all", "nll", "scaled_nll")]
    assert shown == pytest.approx(found["folds"] + scores, abs=ROUNDING)


def at_own_plan(name):
    """Return the figures of a row of the study on a GPU, before the arrow and behind it."""
    cells = next(cells for cells in rows(GPU_STUDY) if cells[0] == name)
    dice, predicted, everywhere, nll, _ = [[float(value) for value in re.findall(NUMBER, cell)] for cell in cells[1:]]
    return {"Dice": dice[0], "predicted": predicted, "all": everywhere, "nll": nll}


@pytest.mark.parametrize(
    ("row", "section", "words"),
    [
        ("Dice+CE (stock)", "", "(stock: Dice #; ECE in `predicted` #, in `all` #; NLL in `predicted` #)"),
        ("Dice+NACL", "NACL", "own plan Dice #; ECE `predicted` #, `all` #; NLL `predicted` #"),
        ("NACL, warm-up of 3 epochs", "NACL", "warm-up of three epochs has Dice #; ECE `predicted` #, `all` #; NLL `predicted` #"),
        ("Dice+SVLS", "SVLS", "own plan Dice #; ECE `predicted` #, `all` #; NLL `predicted` #"),
        ("SVLS", "SVLS", "own plan it segments: Dice #; ECE `predicted` #, `all` #; NLL `predicted` #"),
        ("Dice+CRaC", "CRaC", "own plan: Dice #; ECE `predicted` #, `all` #; NLL `predicted` #"),
        ("Dice+mL1-ACE", "mL1-ACE", "own plan: Dice #; ECE `predicted` #, `all` #; NLL `predicted` #"),
    ],
)  # fmt: skip
def test_effects_at_own_plan(row, section, words):
    found = at_own_plan(row)
    text = SECTIONS[section] if section else PAGE
    assert_says(text, words, [found["Dice"], *(found[key][0] for key in ("predicted", "all", "nll"))])


def test_the_reason():
    """Why the first is the first, in the figures of both studies."""
    stock, first = at_own_plan("Dice+CE (stock)"), at_own_plan("Dice+mL1-ACE")
    reason = " ".join(PAGE[PAGE.index("**Why ") :].split("\n\n")[0].split())
    assert_says(reason, "ECE `predicted` # against #, where", [first["predicted"][0], stock["predicted"][0]])
    assert_says(
        reason,
        "gained most: ECE `predicted` # against #;",
        [effects("DiceSVLS")["predicted"], effects("")["predicted"]],
    )
    kept = [
        name
        for name in [cells[0] for cells in rows(GPU_STUDY)[1:]]
        if stock["Dice"] - at_own_plan(name)["Dice"] < 0.004
    ]
    lower = {name: [at_own_plan(name)[key][0] < stock[key][0] for key in ("predicted", "all", "nll")] for name in kept}
    assert [name for name in kept if all(lower[name])] == ["Dice+mL1-ACE"]


def test_readme_has_the_same():
    lines = README.splitlines()
    assert len(lines) <= 110
    table = [line.split("|")[1:-1] for line in lines if line.startswith("| `nnUNetTrainer")]
    names = {
        "nnUNetTrainer": "Dice+CE (stock)",
        "nnUNetTrainerDiceL1ACE": "Dice+mL1-ACE",
        "nnUNetTrainerDiceSVLS": "Dice+SVLS",
    }
    assert [cells[0].strip(" `") for cells in table] == list(names)
    for cells, name in zip(table, names.values(), strict=True):
        found = at_own_plan(name)
        assert [float(cell) for cell in cells[2:]] == pytest.approx([found["Dice"], *found["predicted"]], abs=ROUNDING)
    assert_says(README, "gained most: ECE # against #", [effects("DiceSVLS")["predicted"], effects("")["predicted"]])


def test_one_trainer_comes_first():
    """Of this page, of README and of the demo."""
    first = re.search(r"\| you want \| take \|\n.*\n\|[^|]*\| `(\w+)`", PAGE)[1]
    assert (
        re.search(r"^trainer=(\w+)$", (ROOT / "scripts" / "demo.sh").read_text(encoding="utf-8"), re.MULTILINE)[1]
        == first
    )
    assert re.findall(r"-tr (\w+)", README) == [first] * 2
