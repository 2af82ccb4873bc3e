"""The verdict of the protocol (docs/protocol.md) on each run of a comparison: win, loss, trade, equal, open, or why there is none.

It is on the trainer, not on the networks at hand: each of three scores (Dice, ECE in the two primary voxel sets) is judged by its
difference over trainings (:mod:`~nnunet_nacl.study.trained_again`) and a margin of relevance that was fixed beforehand. Every
rule is the same seen from the other side, so a run and its base cannot both win: what is a win one way is a loss the other way, and
trade, equal and open are the same both ways.

What it cannot see is whether the trainings had converged, whether a study has more folds than were compared, and which folds were
looked at before the protocol: the protocol has rules for these as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nnunet_nacl.study.case_scores import Quantity
from nnunet_nacl.study.comparison import Comparison, Difference
from nnunet_nacl.study.paired import holm

SOURCE = "documentation of nnunet-nacl, Protocol of the benchmark, What counts as a win"

VERSION = 2
"""Of the protocol."""

DICE_MARGIN = 0.01
"""Differences in Dice within this are of no relevance; a Dice that is lower by less is kept (non-inferior)."""

ECE_MARGIN = 0.1
"""The same for ECE, as a share of the mean of base and run (of both, so that it is the same seen from either)."""

SIGNIFICANT_BELOW = 0.05
"""What p over trainings has to be below, adjusted by Holm over the three scores."""

INTERVAL_LEVEL = 0.95
"""Of the intervals over trainings."""

GREYED_OUT_BELOW = -0.10
"""Where mean Dice differs by more than this, the lower one's calibration says nothing: figures are greyed out, Dice alone is judged."""

PRIMARY_SETS = ("predicted", "all")
"""The voxel sets that decide. Evaluation, Voxel sets."""

DICE = Quantity("Dice")
PRIMARY = tuple(Quantity("ECE", voxel_set) for voxel_set in PRIMARY_SETS)


class Kind(Enum):
    """What the protocol calls a run against the baseline."""

    WIN = "win"
    TRADE = "trade"
    LOSS = "loss"
    EQUAL = "equal"
    OPEN = "open"
    NOT_JUDGED = "not judged"


class Side(Enum):
    """What the trainings say of one score of a run."""

    BETTER = 1
    EQUAL = 0
    WORSE = -1
    OPEN = None


@dataclass(frozen=True)
class Verdict:
    """The protocol's verdict on a run.

    Attributes:
        run: its name.
        kind: what it is called.
        greyed_out: whether mean Dice is so far below the base that calibration figures say nothing.
        in_words: one sentence, beginning with the kind; says why where nothing was judged.
        reasons: what each score is and says, in words; empty where nothing was judged.
    """

    run: str
    kind: Kind
    greyed_out: bool
    in_words: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Score:
    """One of the three scores: how much better the run is (below 0: worse), between what, and what is relevant."""

    name: str
    gain: float
    low: float
    high: float
    margin: float
    p: float

    @property
    def side(self) -> Side:
        """Equal where the interval lies within the margins, better or worse where the test says so and that does not hold."""
        if -self.margin < self.low and self.high < self.margin:
            return Side.EQUAL
        if self.p < SIGNIFICANT_BELOW and self.gain != 0:
            return Side.BETTER if self.gain > 0 else Side.WORSE
        return Side.OPEN

    @property
    def kept(self) -> bool:
        """Whether it is not lower by as much as the margin (non-inferior)."""
        return self.low > -self.margin

    @property
    def not_gained(self) -> bool:
        """The same from the other side: the base is non-inferior."""
        return self.high < self.margin


def verdicts_of(comparison: Comparison) -> list[Verdict]:
    """Return the verdict on each run, in the order of the runs."""
    return [verdict_on(comparison, run.name) for run in comparison.runs]


def verdict_on(comparison: Comparison, run: str) -> Verdict:
    """Return the verdict on one run against the base."""
    held = {difference.quantity: difference for difference in comparison.of_run(run)}
    greyed = DICE in held and held[DICE].result.difference < GREYED_OUT_BELOW
    missing = _missing(comparison, held)
    if missing:
        kind, text, reasons = Kind.NOT_JUDGED, missing, tuple[str, ...]()
    else:
        kind, text, reasons = _judge(held)
    if greyed:
        text += f"; calibration figures greyed out, since mean Dice is {-held[DICE].result.difference:.4f} lower"
    return Verdict(run, kind, greyed, f"{kind.value}: {text}", reasons)


def is_worth_saying(comparison: Comparison, verdict: Verdict) -> bool:
    """Return whether a verdict says more than what is said beside it: that there is no answer over trainings."""
    answered = any(not difference.again.reason for difference in comparison.of_run(verdict.run))
    return answered or verdict.greyed_out or verdict.kind is not Kind.NOT_JUDGED


def _missing(comparison: Comparison, held: Mapping[Quantity, Difference]) -> str:
    """Return which ingredient of a verdict is not there, empty if all are."""
    absent = [_named(quantity) for quantity in (DICE, *PRIMARY) if quantity not in held]
    if absent:
        return f"{', '.join(absent)} not compared"
    if comparison.settings.level != INTERVAL_LEVEL:
        return f"intervals of {comparison.settings.level:.0%}, not {INTERVAL_LEVEL:.0%}"
    reasons = [held[quantity].again.reason for quantity in (DICE, *PRIMARY) if math.isnan(held[quantity].again.low)]
    return reasons[0] if reasons else ""


def _judge(held: Mapping[Quantity, Difference]) -> tuple[Kind, str, tuple[str, ...]]:
    """Return the kind, in words, and what each score says."""
    far = abs(held[DICE].result.difference) > -GREYED_OUT_BELOW
    judged = [held[quantity] for quantity in ((DICE,) if far else (DICE, *PRIMARY))]
    adjusted = holm(np.array([one.again.p for one in judged]))
    dice, *calibration = (_score(one, float(p)) for one, p in zip(judged, adjusted, strict=True))
    kind, open_dice = _kind(dice, calibration)
    found = [f"{word} in {_listed(dice, calibration, side)}" for side, word in _WORDS if _has(dice, calibration, side)]
    if kind is Kind.EQUAL:
        found = ["no relevant difference in any score"]
    if kind is Kind.OPEN and not found:
        found = ["these trainings show neither a difference nor that there is none of relevance"]
    if open_dice:
        found.append("whether Dice is kept is open")
    elif kind in (Kind.WIN, Kind.LOSS) and dice.side not in (Side.BETTER, Side.WORSE):
        found.append(f"Dice {'kept (non-inferior)' if kind is Kind.WIN else 'not gained'} within {DICE_MARGIN:g}")
    if far:
        found.append(f"by Dice alone, which differs by more than {-GREYED_OUT_BELOW:g}")
    return kind, ", ".join(found), tuple(_reason(one) for one in (dice, *calibration))


def _kind(dice: _Score, calibration: Sequence[_Score]) -> tuple[Kind, bool]:
    """Return what the table of the protocol says, and whether it is open for Dice alone."""
    sides = {score.side for score in (dice, *calibration)}
    if Side.BETTER in sides and Side.WORSE in sides:
        return Kind.TRADE, False
    if Side.BETTER in sides:
        return (Kind.WIN, False) if dice.kept else (Kind.OPEN, True)
    if Side.WORSE in sides:
        return (Kind.LOSS, False) if dice.not_gained else (Kind.OPEN, True)
    return (Kind.EQUAL if sides == {Side.EQUAL} else Kind.OPEN), False


_WORDS = ((Side.BETTER, "better"), (Side.WORSE, "worse"))


def _has(dice: _Score, calibration: Sequence[_Score], side: Side) -> bool:
    return any(score.side is side for score in (dice, *calibration))


def _listed(dice: _Score, calibration: Sequence[_Score], side: Side) -> str:
    return " and ".join(score.name for score in (dice, *calibration) if score.side is side)


def _score(difference: Difference, p: float) -> _Score:
    """Return a score with its gains above 0."""
    again, quantity = difference.again, difference.quantity
    if quantity == DICE:
        return _Score(_named(quantity), again.difference, again.low, again.high, DICE_MARGIN, p)
    margin = ECE_MARGIN * (difference.result.base + difference.result.run) / 2
    return _Score(_named(quantity), -again.difference, -again.high, -again.low, margin, p)


def _reason(score: _Score) -> str:
    words = {
        Side.BETTER: "better",
        Side.WORSE: "worse",
        Side.EQUAL: "no relevant difference",
        Side.OPEN: "open",
    }[score.side]
    sign = 1 if score.name == DICE.score else -1
    low, high = sorted((sign * score.low, sign * score.high))
    return (
        f"{score.name} {sign * score.gain:+.4f} over trainings ({low:+.4f} to {high:+.4f}, margin {score.margin:.4f}, p {score.p:.3f} "
        f"adjusted for the scores of the verdict): {words}"
    )


def _named(quantity: Quantity) -> str:
    return " ".join(part for part in (quantity.score, quantity.voxel_set) if part)
