"""What the page shows of several runs together: side by side, and as paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from nnunet_nacl.calibration.intervals import METHOD
from nnunet_nacl.report.names import listed, score_name
from nnunet_nacl.report.number import fixed, interval, p_value
from nnunet_nacl.report.parts_table import amount, signs_in_words
from nnunet_nacl.report.prepare_differences import CLASS_MEAN, CaseDifferences
from nnunet_nacl.report.prepare_scores import Value
from nnunet_nacl.report.prepare_trained_again import TrainedAgainPart, prepare_trained_again
from nnunet_nacl.report.rules import RULES
from nnunet_nacl.report.svg import strip_svg
from nnunet_nacl.study.cautions import cautions
from nnunet_nacl.study.comparison import Comparison
from nnunet_nacl.study.direction import chosen_by_label, direction_of
from nnunet_nacl.study.trained_again import THESE_NETWORKS
from nnunet_nacl.study.verdict import Verdict, is_worth_saying, verdicts_of


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
    at which a score begins and ends. ``folds`` holds the difference of each fold, empty where they are not known.
    ``greyed_out`` marks the calibration figures of a run that does not segment.
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
    folds: str
    greyed_out: bool


@dataclass(frozen=True)
class Group:
    """The rows of a voxel set, or of the mean over classes; ``open`` where they are unfolded."""

    name: str
    by_label: bool
    open: bool
    rows: list[SideRow] | list[DifferenceRow]


@dataclass(frozen=True)
class DifferencesPart:
    """The paired differences, how they were made, what to be careful about, and the protocol's verdict on each run."""

    method: str
    cautions: list[str]
    verdicts: list[Verdict]
    rules: str
    again: TrainedAgainPart
    question: str
    groups: list[Group]


def side_groups(sides: dict[tuple[str, str], list[float | None]], voxel_set: str) -> list[Group]:
    """Return the means of the runs beside each other, grouped by voxel set, of which one is unfolded."""
    rows: dict[str, list[SideRow]] = {}
    for (score, name), values in sides.items():
        named = score_name(score)
        shown = [Value(value) for value in values]
        rows.setdefault(name, []).append(SideRow(named.short, named.meaning, shown, _best(score, values)))
    return [_group(name, held, voxel_set) for name, held in rows.items()]


def differences_part(comparison: Comparison, differences: Sequence[CaseDifferences], voxel_set: str) -> DifferencesPart:
    """Return the paired differences, grouped by voxel set; dots of one score and voxel set share a scale."""
    keys = [held.tested.quantity for held in differences]
    limits = {key: max(map(_largest, (held for held in differences if held.tested.quantity == key))) for key in keys}
    groups: dict[str, list[DifferenceRow]] = {}
    verdicts = verdicts_of(comparison)
    greyed_out = {verdict.run for verdict in verdicts if verdict.greyed_out}
    for index, (held, key) in enumerate(zip(differences, keys, strict=True)):
        first, last = keys[:index][-1:] != [key], keys[index + 1 : index + 2] != [key]
        greyed = held.tested.run in greyed_out and direction_of(key.score).of_probabilities
        row = _difference_row(held, limits[key], first, last, greyed)
        groups.setdefault(key.voxel_set or CLASS_MEAN, []).append(row)
    settings = comparison.settings
    method = (
        f"Intervals: {100 * settings.level:g} % {METHOD}. p: Wilcoxon signed-rank, adjusted (Holm) for the "
        f"{comparison.n_tests} tests of this page; below {settings.alpha:g} a difference counts. Both are about other cases: how much "
        "two trainings of the same loss differ is not included."
    )
    grouped = [_group(name, rows, voxel_set) for name, rows in groups.items()]
    again = prepare_trained_again(comparison)
    said = [verdict for verdict in verdicts if is_worth_saying(comparison, verdict)]
    return DifferencesPart(method, cautions(comparison), said, RULES, again, THESE_NETWORKS, grouped)


def _group(name: str, rows: list[SideRow] | list[DifferenceRow], voxel_set: str) -> Group:
    return Group(name, name != CLASS_MEAN and chosen_by_label(name), name in (CLASS_MEAN, voxel_set), rows)


def _largest(held: CaseDifferences) -> float:
    return float(np.abs(held.per_case).max()) if held.per_case.size else 0.0


def _best(score: str, values: Sequence[float | None]) -> frozenset[int]:
    """Return which runs have the best mean to the decimals that are shown; the gap is best near 0; none if all are alike."""
    lower = score_name(score).lower_is_better
    numbers = np.array([np.nan if value is None else value for value in values])
    goodness = np.round(-np.abs(numbers) if score == "gap" else -numbers if lower else numbers, 3)
    if (lower is None and score != "gap") or np.isnan(goodness).all() or len(set(goodness)) < 2:
        return frozenset()
    return frozenset(int(index) for index in np.flatnonzero(goodness == np.nanmax(goodness)))


def _folds(held: CaseDifferences) -> str:
    parts = held.tested.parts
    if len(parts) < 2:
        return ""
    if not any(part.difference for part in parts):
        return "per fold: no difference in any"
    shown = listed([amount(part) for part in parts], at_most=10)
    return f"per fold: {shown}, {signs_in_words(parts)}"


def _difference_row(held: CaseDifferences, limit: float, first: bool, last: bool, greyed_out: bool) -> DifferenceRow:
    tested, result = held.tested, held.tested.result
    named = score_name(tested.quantity.score)
    spoken = f"{named.short}: {tested.run} minus base in {result.n_pairs} cases, mean {fixed(result.difference, True)}"
    clear = tested.verdict not in ("unclear", "no test", "mixed")
    return DifferenceRow(
        short=f"|{named.short}|" if tested.absolute else named.short,
        meaning=named.meaning,
        run=tested.run,
        base_mean=fixed(result.base, digits=4),
        run_mean=fixed(result.run, digits=4),
        mean=fixed(result.difference, True, 4),
        interval=interval(result.low, result.high),
        p_value=p_value(tested.p_holm),
        svg=strip_svg(held.per_case, limit, spoken),
        limit=f"{limit:.3g}",
        # the amount stands in its own column
        words=tested.in_words.split(":")[0] if tested.verdict != "no test" else tested.in_words,
        direction=tested.verdict if clear else "",
        first=first,
        last=last,
        folds=_folds(held),
        greyed_out=greyed_out,
    )
