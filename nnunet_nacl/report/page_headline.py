"""The sentence about a run, with its interval, and what the average hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_nacl.report.number import fixed, points
from nnunet_nacl.report.prepare_headline import CASE_GAP, HeadlineNumbers, Range, prepare_headline
from nnunet_nacl.report.prepare_scores import Value, mean_foreground_dice
from nnunet_nacl.study.run import Run


@dataclass(frozen=True)
class Figure:
    """A number on the card of a run: its name, its value, and its interval in words (empty where there is none)."""

    name: str
    value: str
    interval: str = ""


@dataclass(frozen=True)
class Headline:
    """What a run comes to.

    Attributes:
        sentence: confidence against accuracy on average, with the interval of the difference.
        hidden: what the average hides, one sentence each.
        direction: a class of the style sheet: ``over``, ``under``, ``mixed``, or empty.
        figures: Dice and ECE.
    """

    sentence: str
    hidden: tuple[str, ...]
    direction: str
    figures: list[Figure]


def headline(run: Run, cases: Sequence[str]) -> Headline:
    """Return the headline of a run, of its means over the given cases."""
    numbers = prepare_headline(run, cases)
    figures = [Figure("Dice, mean of the foreground classes", fixed(mean_foreground_dice(run, cases)))]
    figures += [
        Figure(f"ECE {name}, mean of cases", fixed(ece.value), _interval(ece)) for name, ece in numbers.ece.items()
    ]
    if numbers.confidence is None or numbers.accuracy is None or numbers.gap.value is None:
        return Headline("The network predicts no structure in any case.", (), "", figures)
    return Headline(_sentence(numbers), _hidden(numbers), _direction(numbers), figures)


def _sentence(numbers: HeadlineNumbers) -> str:
    where = (
        "Where it predicts a structure" if numbers.voxel_set == "predicted" else f"In the voxel set {numbers.voxel_set}"
    )
    over = "the one case" if numbers.n_cases == 1 else f"the mean of {numbers.n_cases} cases"
    return (
        f"{where}, the network is {100 * (numbers.confidence or 0):.1f} % confident and right in "
        f"{100 * (numbers.accuracy or 0):.1f} % of the voxels ({over}): {_verdict(numbers.gap)}."
    )


def _verdict(gap: Value) -> str:
    amount = gap.value or 0.0
    if gap.interval is None:
        return f"a difference of {points(amount, signed=True)}, without an interval"
    low, high = gap.interval
    if low <= 0 <= high:
        ends = f"{points(low, True, unit=False)} to {points(high, True)}"
        return f"no clear difference on average, {points(amount, True)} (95 % interval {ends})"
    # of the size that is told, so the smaller end comes first
    smaller, larger = sorted((abs(low), abs(high)))
    ends = f"{points(smaller, unit=False)} to {points(larger)}"
    return f"{'over' if amount > 0 else 'under'}confident by {points(abs(amount))} on average (95 % interval {ends})"


def _hidden(numbers: HeadlineNumbers) -> tuple[str, ...]:
    sentences = []
    if mixed_bins(numbers):
        sentences.append(
            f"The average hides both: overconfident where its confidence is {_ranges(numbers.over)}, underconfident where it is "
            f"{_ranges(numbers.under)}."
        )
    elif _direction_of(numbers.gap) == "" and (numbers.over or numbers.under):
        kind, ranges = ("over", numbers.over) if numbers.over else ("under", numbers.under)
        sentences.append(f"But {kind}confident where its confidence is {_ranges(ranges)}.")
    if mixed_cases(numbers):
        sentences.append(
            f"Cases differ: overconfident by more than {points(CASE_GAP, digits=0)} in {numbers.cases_over}, underconfident by more than "
            f"that in {numbers.cases_under} of {numbers.n_cases}."
        )
    return tuple(sentences)


def mixed_bins(numbers: HeadlineNumbers) -> bool:
    """Return whether some confidences are clearly too high and others clearly too low."""
    return bool(numbers.over and numbers.under)


def mixed_cases(numbers: HeadlineNumbers) -> bool:
    """Return whether some cases are overconfident and others underconfident, at least two and one in ten of each."""
    fewest = max(2, 0.1 * numbers.n_cases)
    return min(numbers.cases_over, numbers.cases_under) >= fewest


def _direction(numbers: HeadlineNumbers) -> str:
    return "mixed" if mixed_bins(numbers) or mixed_cases(numbers) else _direction_of(numbers.gap)


def _direction_of(gap: Value) -> str:
    if gap.value is None or gap.interval is None or gap.interval[0] <= 0 <= gap.interval[1]:
        return ""
    return "over" if gap.value > 0 else "under"


def _ranges(ranges: Sequence[Range]) -> str:
    return " and ".join(f"{100 * held.low:.0f} to {100 * held.high:.0f} %" for held in ranges)


def _interval(value: Value) -> str:
    return "" if value.interval is None else f"{fixed(value.interval[0])} to {fixed(value.interval[1])}"
