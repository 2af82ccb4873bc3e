"""The verdict of docs/protocol.md on each run of a comparison: win, win in one set, trade, loss, draw, or why there is none.

It is made of what the comparison holds: Dice (mean over the classes), ECE in the two primary voxel sets, p adjusted over all tests of the
comparison, and the differences of the folds. What it cannot see is whether the trainings had converged, whether a study has more
folds than were compared, and which folds were looked at before the protocol: the protocol has rules for these as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from nnunet_nacl.study.case_scores import Quantity
from nnunet_nacl.study.comparison import Comparison, Difference
from nnunet_nacl.study.parts import PartDifference, folds_among
from nnunet_nacl.study.signed_rank import MIN_DIFFERENCES

SOURCE = "docs/protocol.md, What counts as a win"

DICE_KEPT_ABOVE = -0.01
"""Dice is kept if the lower end of the interval of its difference is above this. What counts as a win, first row."""

SIGNIFICANT_BELOW = 0.05
"""What adjusted p has to be below for a difference in calibration to count. What counts as a win; Statistics."""

INTERVAL_LEVEL = 0.95
"""Of the intervals over cases. Statistics."""

GREYED_OUT_BELOW = -0.10
"""A run whose mean Dice differs by less than this has its calibration figures greyed out. What counts as a win, Trade."""

FOLDS_FOR_A_CLAIM = 3
"""The fewest folds. Trainings, Folds."""

PRIMARY_SETS = ("predicted", "all")
"""The voxel sets that decide. Evaluation, Voxel sets."""

DICE = Quantity("Dice")
PRIMARY = tuple(Quantity("ECE", voxel_set) for voxel_set in PRIMARY_SETS)


class Kind(Enum):
    """What the protocol calls a run against the baseline."""

    WIN = "win"
    WIN_IN_ONE_SET = "win in one set"
    TRADE = "trade"
    LOSS = "loss"
    DRAW = "draw"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Verdict:
    """The protocol's verdict on a run.

    Attributes:
        run: its name.
        kind: what it is called.
        greyed_out: whether mean Dice is so far below the base that calibration figures say nothing.
        in_words: one sentence, beginning with the kind; says why where nothing was judged.
        reasons: what each ingredient is and says, in words; empty where nothing was judged.
    """

    run: str
    kind: Kind
    greyed_out: bool
    in_words: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Calibration:
    """Whether a run is better (-1) or worse (1) calibrated in a primary voxel set, or neither (0), and why."""

    voxel_set: str
    side: int
    reason: str


def verdicts_of(comparison: Comparison) -> list[Verdict]:
    """Return the verdict on each run, in the order of the runs."""
    return [verdict_on(comparison, run.name) for run in comparison.runs]


def verdict_on(comparison: Comparison, run: str) -> Verdict:
    """Return the verdict on one run against the base."""
    held = {difference.quantity: difference for difference in comparison.of_run(run)}
    greyed = DICE in held and held[DICE].result.difference < GREYED_OUT_BELOW
    missing = _missing(comparison, run, held)
    kind, text, reasons = Kind.NOT_JUDGED, missing, tuple[str, ...]()
    if not missing:
        kind, text, reasons = _judge(held[DICE], [_calibration(held[quantity]) for quantity in PRIMARY])
    if greyed:
        text += f"; calibration figures greyed out, since mean Dice is {-held[DICE].result.difference:.4f} lower"
    return Verdict(run, kind, greyed, f"{kind.value}: {text}", reasons)


def _missing(comparison: Comparison, run: str, held: dict[Quantity, Difference]) -> str:
    """Return which ingredient of a verdict is not there, empty if all are."""
    absent = [_named(quantity) for quantity in (DICE, *PRIMARY) if quantity not in held]
    if absent:
        return f"{', '.join(absent)} not compared"
    if comparison.settings.level != INTERVAL_LEVEL:
        return f"intervals of {comparison.settings.level:.0%}, not {INTERVAL_LEVEL:.0%}"
    if run in comparison.no_parts:
        return comparison.no_parts[run]
    parts = [part.part for part in held[DICE].parts]
    folds = folds_among(parts)
    if len(folds) < FOLDS_FOR_A_CLAIM:
        found = ", ".join(folds) or f"none, but {', '.join(parts)}"
        return f"a claim needs {FOLDS_FOR_A_CLAIM} folds, and these are {found}"
    few = [_named(one) for one in (DICE, *PRIMARY) if held[one].result.n_pairs < MIN_DIFFERENCES]
    if few:
        return f"fewer than {MIN_DIFFERENCES} cases have {', '.join(few)} in both runs"
    return ""


def _judge(dice: Difference, sets: Sequence[_Calibration]) -> tuple[Kind, str, tuple[str, ...]]:
    """Return what the table of the protocol says, in words, and the reasons."""
    kept = dice.result.low > DICE_KEPT_ABOVE
    better, worse = (" and ".join(one.voxel_set for one in sets if one.side == side) for side in (-1, 1))
    found = [f"{name} calibrated in {where}" for name, where in (("better", better), ("worse", worse)) if where]
    amount = f"{dice.result.difference:+.4f}, interval from {dice.result.low:+.4f}"
    if not better:
        kind = Kind.LOSS if worse else Kind.DRAW
    elif not kept:
        kind = Kind.TRADE
    else:
        kind = Kind.WIN_IN_ONE_SET if worse else Kind.WIN
    found = found or [f"neither better nor worse calibrated in {' or '.join(PRIMARY_SETS)}"]
    price = f"at the price of Dice ({amount})" if kind is Kind.TRADE else f"Dice {'' if kept else 'not '}kept"
    limit = f"{'above' if kept else 'not above'} {DICE_KEPT_ABOVE:g}"
    reasons = (f"Dice {amount}: {'' if kept else 'not '}kept ({limit})", *(one.reason for one in sets))
    return kind, ", ".join([*found, price]), reasons


def _calibration(ece: Difference) -> _Calibration:
    result = ece.result
    side = -1 if result.high < 0 else 1 if result.low > 0 else 0
    against = [part for part in ece.parts if not part.difference * side > 0]
    doubts = [
        (side == 0, f"the interval {result.low:+.4f} to {result.high:+.4f} holds 0"),
        # no test was made where p is NaN
        (not ece.p_holm < SIGNIFICANT_BELOW, _why_not_significant(ece)),
        # p is two-sided: a test that found the opposite does not speak for this side
        (result.rank_biserial * side < 0, "the ranks of the cases point the other way"),
        (side != 0 and bool(against), f"not {'lower' if side < 0 else 'higher'} in {_listed(against)}"),
    ]
    found = [text for holds, text in doubts if holds]
    if found:
        side = 0
    words = f"neither, since {', '.join(found)}" if found else f"{'better' if side < 0 else 'worse'} calibrated"
    assert ece.quantity.voxel_set is not None
    return _Calibration(ece.quantity.voxel_set, side, f"{_named(ece.quantity)} {result.difference:+.4f}: {words}")


def _why_not_significant(ece: Difference) -> str:
    return ece.result.reason or f"adjusted p is {ece.p_holm:.3f}, not below {SIGNIFICANT_BELOW:g}"


def _listed(parts: Sequence[PartDifference]) -> str:
    return ", ".join(
        f"{part.part} ({'no pair' if math.isnan(part.difference) else f'{part.difference:+.4f}'})" for part in parts
    )


def _named(quantity: Quantity) -> str:
    return " ".join(part for part in (quantity.score, quantity.voxel_set) if part)
