"""docs/guarantees.md: has every trainer and every method, and each test and script that it names is there."""

import re

import pytest
from pages import ROOT, prose

from nnunet_nacl.recalibration.guarantees import GUARANTEES
from nnunet_nacl.training.trainers import TRAINERS

PAGE = prose(ROOT / "docs" / "guarantees.md")
TESTS = {
    found for path in (ROOT / "tests").rglob("test_*.py") for found in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
}  # fmt: skip


def rows(heading):
    """Return the cells of each row of the table below a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("heading", "names"), [("Trainers", TRAINERS), ("Recalibration", GUARANTEES)])
def test_nothing_is_left_out(heading, names):
    first = " ".join(cells[0] for cells in rows(heading))
    assert [name for name in names if f"`{name}`" not in first] == []


def test_the_decisions_that_the_command_line_has():
    first = " ".join(cells[0] for cells in rows("Decisions"))
    assert all(f"`{name}`" in first for name in ("volumes", "triage", "thresholds"))


@pytest.mark.parametrize("heading", ["Trainers", "Recalibration", "Decisions"])
def test_each_row_names_a_test_that_is_there(heading):
    for cells in rows(heading):
        assert len(cells) == 6, cells
        named = re.findall(r"`(test_\w+)`", cells[4])
        assert named, cells[0]
        assert set(named) <= TESTS, cells[0]


def test_each_script_is_there():
    named = re.findall(r"`(\w+\.py)`", PAGE)
    assert named
    assert all((ROOT / "scripts" / name).is_file() for name in named)


@pytest.mark.parametrize("method", GUARANTEES)
def test_what_the_table_says_of_the_predicted_class(method):
    """test_methods.py holds GUARANTEES to what the maps do; this holds the page to GUARANTEES."""
    keeps = {cells[0].split("`")[1]: cells[1] for cells in rows("Recalibration")}
    keeps["temperature"] = keeps["temperature"].replace("the same", keeps["by-prediction"])
    assert ("predicted class" in keeps[method]) == GUARANTEES[method].keeps_argmax
    assert ("order of its classes" in keeps[method]) == GUARANTEES[method].keeps_order
