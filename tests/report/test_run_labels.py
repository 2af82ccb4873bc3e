"""Names of runs in tables of the terminal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.report.run_labels import run_labels

STOCK = "nnUNetTrainer_36epochs"
L1ACE = "nnUNetTrainerDiceL1ACE_soft_bins10_36epochs"
SVLS = "nnUNetTrainerDiceSVLS_36epochs"


def test_names_that_fit_are_kept():
    found = run_labels([STOCK, L1ACE], len(L1ACE))
    assert found.of == {STOCK: STOCK, L1ACE: L1ACE}
    assert found.legend == ()


def test_what_all_share_is_left_out_in_whole_words():
    found = run_labels([STOCK, L1ACE, SVLS], 21)
    assert found.of == {STOCK: "nnUNetTrainer", L1ACE: "DiceL1ACE_soft_bins10", SVLS: "DiceSVLS"}
    assert found.legend == ("Names of runs without what they have in common: nnUNetTrainer..._36epochs",)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ([STOCK, L1ACE, SVLS], ["base", "run 1", "run 2"]),  # their own words are too long for eight columns
        (["nnUNetTrainer", L1ACE], ["base", "run"]),
        # what tells them apart lies in folders, not in words
        ([f"{SVLS} ({plans}/fold_0)" for plans in ("nnUNetPlans", "nnUNetResEncUNetMPlans")], ["base", "run"]),
    ],
)
def test_too_long_names_are_numbered_and_explained(names, labels):
    found = run_labels(names, 8)
    assert list(found.of.values()) == labels
    assert found.legend == tuple(f"{label}: {name}" for label, name in zip(labels, names, strict=True))


def test_the_plans_of_one_trainer():
    names = [
        f"nnUNetTrainerDiceL1ACE_36epochs__{plans}__3d_fullres" for plans in ("nnUNetPlans", "nnUNetResEncUNetMPlans")
    ]
    assert list(run_labels(names, 20).of.values()) == ["Plans", "ResEncUNetMPlans"]


@given(st.lists(st.text("aB1_ (/", min_size=1, max_size=12), min_size=2, max_size=5, unique=True), st.integers(8, 20))
def test_labels_fit_tell_apart_and_can_be_told_from_the_legend(names, columns):
    found = run_labels(names, columns)
    assert list(found.of) == names
    assert len(set(found.of.values())) == len(names)
    assert all(1 <= len(label) <= columns for label in found.of.values())
    if len(found.legend) == 1 and (shared := re.search(r": (.*)\.\.\.(.*)$", found.legend[0])):
        begin, end = shared.groups()
        assert all(name.startswith(begin) and name.endswith(end) and label in name for name, label in found.of.items())
