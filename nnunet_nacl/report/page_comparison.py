"""What the page shows of several runs together: side by side, and as paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from nnunet_nacl.report.names import chosen_by_label, score_name
from nnunet_nacl.report.page import number
from nnunet_nacl.report.prepare_differences import Difference
from nnunet_nacl.report.prepare_scores import Value
from nnunet_nacl.report.svg import strip_svg
from nnunet_nacl.study.side_by_side import SideBySide

UNTESTED = "Means only: no test was made, so a difference may be chance."
TESTED = (
    "Intervals: bootstrap over cases, 95 %. p: Wilcoxon signed-rank, adjusted (Holm) for all tests in this table. "
    "Cases are the sample; a difference between two training runs of the same loss is not part of it."
)
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class SideRow:
    """A score of all runs; ``best`` holds the numbers of the runs with the best mean."""

    short: str
    meaning: str
    values: list[Value]
    best: frozenset[int]


@dataclass(frozen=True)
class DifferenceRow:
    """A paired difference in words and as a picture.

    ``direction`` is a class of the style sheet, set where a test found a difference; ``first`` and ``last`` mark the rows
    at which a score begins and ends.
    """

    short: str
    meaning: str
    run: str
    base_mean: str
    run_mean: str
    mean: str
    interval: str
    p_value: str
    svg: Markup
    limit: str
    words: str
    direction: str
    first: bool
    last: bool


@dataclass(frozen=True)
class Group:
    """The rows of a voxel set."""

    name: str
    by_label: bool
    rows: list[SideRow] | list[DifferenceRow]


@dataclass(frozen=True)
class Comparison:
    """The paired differences, and how they were made."""

    method: str
    tested: bool
    groups: list[Group]


def side_groups(comparison: SideBySide) -> list[Group]:
    """Return the means of the runs beside each other, grouped by voxel set."""
    rows: dict[str, list[SideRow]] = {}
    for (score, voxel_set), values in comparison.rows.items():
        named = score_name(score)
        best = _best(score, values)
        shown = [Value(None if np.isnan(value) else value) for value in values]
        rows.setdefault(voxel_set, []).append(SideRow(named.short, named.meaning, shown, best))
    return [Group(name, chosen_by_label(name), held) for name, held in rows.items()]


def difference_page(differences: Sequence[Difference]) -> Comparison:
    """Return the paired differences, grouped by voxel set; dots of one score and voxel set share a scale."""
    groups: dict[str, list[DifferenceRow]] = {}
    limits: dict[tuple[str, str], float] = {}
    for held in differences:
        largest = float(np.abs(held.per_case).max()) if held.per_case.size else 0.0
        key = held.score, held.voxel_set
        limits[key] = max(limits.get(key, 0.0), largest)
    keys = [(held.score, held.voxel_set) for held in differences]
    for number_, (held, key) in enumerate(zip(differences, keys, strict=True)):
        first, last = keys[number_ - 1 : number_] != [key], keys[number_ + 1 : number_ + 2] != [key]
        groups.setdefault(held.voxel_set, []).append(_difference_row(held, limits[key], first, last))
    tested = any(held.p_value is not None for held in differences)
    shown = [Group(name, chosen_by_label(name), rows) for name, rows in groups.items()]
    return Comparison(TESTED if tested else UNTESTED, tested, shown)


def _best(score: str, values: Sequence[float]) -> frozenset[int]:
    """Return which runs have the best mean; the gap is best near 0; none where all are alike."""
    lower = score_name(score).lower_is_better
    # to the decimals that are shown
    goodness = np.round([-abs(value) if score == "gap" else -value if lower else value for value in values], 3)
    if (lower is None and score != "gap") or np.isnan(goodness).all() or len(set(goodness)) < 2:
        return frozenset()
    return frozenset(int(index) for index in np.flatnonzero(goodness == np.nanmax(goodness)))


def _difference_row(held: Difference, limit: float, first: bool, last: bool) -> DifferenceRow:
    named = score_name(held.score)
    direction, words = _in_words(held)
    spoken = f"{named.short}: {held.run} minus baseline in {held.per_case.size} cases, mean {number(held.mean, True)}"
    return DifferenceRow(
        short=named.short,
        meaning=named.meaning,
        run=held.run,
        base_mean=number(held.base_mean, digits=4),
        run_mean=number(held.run_mean, digits=4),
        mean=number(held.mean, True, 4),
        interval="" if held.interval is None else " to ".join(number(end, True, 4) for end in held.interval),
        p_value="-" if held.p_value is None else "<0.001" if held.p_value < 0.001 else f"{held.p_value:.3f}",
        svg=strip_svg(held.per_case, limit, spoken),
        limit=f"{limit:.3g}",
        words=words,
        direction=direction,
        first=first,
        last=last,
    )


def _in_words(held: Difference) -> tuple[str, str]:
    """Return the direction that a test found, empty without one, and the difference in words."""
    if np.isnan(held.mean):
        return "", "no common case"
    found = held.p_value is not None and held.p_value < SIGNIFICANT
    unclear = " (not clear)" if held.p_value is not None and not found else ""
    lower = score_name(held.score).lower_is_better
    if lower is None:
        nearer = abs(held.run_mean) < abs(held.base_mean)
        return "", f"mean {'nearer to' if nearer else 'farther from'} 0{unclear}"
    gains = held.per_case * (-1 if lower else 1)
    word = "equal" if held.mean == 0 else "better" if gains.mean() > 0 else "worse"
    agreeing = int({"better": gains > 0, "worse": gains < 0, "equal": gains == 0}[word].sum())
    return word if found else "", f"{word} in {agreeing} of {gains.size} cases{unclear}"
