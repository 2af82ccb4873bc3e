"""A comparison on the terminal, readable at 80 columns and with more detail at 115."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from nnunet_nacl.calibration.intervals import METHOD
from nnunet_nacl.report.console import plain_table
from nnunet_nacl.report.number import fixed, interval, p_value
from nnunet_nacl.report.parts_table import PartsRow, prepare_parts_table
from nnunet_nacl.report.rules import RULES
from nnunet_nacl.report.terminal import SHORT_NAMES, format_score
from nnunet_nacl.study.cautions import cautions
from nnunet_nacl.study.comparison import Comparison, Difference
from nnunet_nacl.study.direction import chosen_by_label, direction_of
from nnunet_nacl.study.trained_again import METHOD as METHOD_TRAINED_AGAIN
from nnunet_nacl.study.trained_again import THESE_NETWORKS, TRAINED_AGAIN
from nnunet_nacl.study.verdict import Kind, Verdict, is_worth_saying, verdict_on

WIDE = 115
"""Columns from which the effect size and the verdict in words have room."""

MAX_CAUTIONS = 10

STYLES = {"better": "green", "worse": "red", "mixed": "yellow", "unclear": "dim", "no test": "dim"}

VERDICT_STYLES = {Kind.WIN: "green", Kind.TRADE: "yellow", Kind.LOSS: "red"}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print tables and the protocol's verdict per run, what the columns mean, what was left out, and the cautions."""
    wide = console.width >= WIDE
    judged = False
    for run in comparison.runs:
        verdict = verdict_on(comparison, run.name)
        judged = judged or verdict.kind is not Kind.NOT_JUDGED
        console.print(prepare_run_table(comparison, run.name, wide, verdict.greyed_out))
        rows = [_parts_row(comparison, difference) for difference in comparison.of_run(run.name) if difference.parts]
        if rows and len(rows[0].parts) > 1:
            console.print(prepare_parts_table(rows, wide))
        console.print(prepare_trained_again(comparison, run.name))
        console.print(prepare_verdict(verdict) if is_worth_saying(comparison, verdict) else "")
    for text in (*_legend(comparison, wide, judged), *_left_out(comparison)):
        console.print(text)
    found = cautions(comparison)
    for caution in found[:MAX_CAUTIONS]:
        console.print(Text(f"! {caution}", style="yellow"))
    if len(found) > MAX_CAUTIONS:
        console.print(Text(f"! {len(found) - MAX_CAUTIONS} more in comparison.json (-o FOLDER)", style="yellow"))


def prepare_run_table(comparison: Comparison, run: str, wide: bool, greyed_out: bool = False) -> RenderableType:
    """Return the differences of one run from the base, one row per quantity; scores of probabilities dim if greyed out."""
    over = f" of {', '.join(comparison.parts)}" if comparison.parts else ""
    cases = f"{_counted(len(comparison.cases), 'case')}{over}"
    title = Text(f"{run}\nagainst {comparison.base.name}, {cases}: {THESE_NETWORKS}", style="italic")
    table = plain_table(padding=0)
    table.add_column("score", overflow="fold", min_width=5)
    table.add_column("voxels", overflow="fold", min_width=11)
    for heading in ("base", "run", "run - base"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"{comparison.settings.level:.0%} interval", justify="right", no_wrap=True)
    table.add_column("p (Holm)", justify="right", no_wrap=True)
    if wide:
        for heading in ("lower", "equal", "higher", "effect"):
            table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    previous = None
    for difference in comparison.of_run(run):
        if previous is not None and difference.quantity.score != previous.quantity.score:
            table.add_section()
        previous = difference
        dim = greyed_out and direction_of(difference.quantity.score).of_probabilities
        table.add_row(*_cells(comparison, difference, wide), style="dim" if dim else None)
    return Group(title, table)


def prepare_trained_again(comparison: Comparison, run: str) -> RenderableType:
    """Return the differences over trainings, one row per quantity, or in a line that there is no answer."""
    held = comparison.of_run(run)
    reasons = {difference.again.reason for difference in held}
    if len(reasons) == 1 and "" not in reasons:
        return Text(f"{TRAINED_AGAIN}: {reasons.pop()}", style="italic")
    trainings = max((difference.again.trainings for difference in held), key=len)
    title = Text(f"{len(trainings)} trainings: {TRAINED_AGAIN}", style="italic")
    table = plain_table(padding=0)
    table.add_column("score", overflow="fold", min_width=5)
    table.add_column("voxels", overflow="fold", min_width=11)
    for heading in ("run - base", f"{comparison.settings.level:.0%} interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for difference in held:
        again = difference.again
        table.add_row(
            Text(_score(difference)),
            Text(_voxels(comparison, difference)),
            Text(fixed(again.difference, True, 4)),
            Text(interval(again.low, again.high, none="-")),
            Text(p_value(again.p)),
        )
    return Group(title, table)


def prepare_verdict(verdict: Verdict) -> RenderableType:
    """Return the protocol's verdict on a run in a sentence, and below it what it is made of."""
    style = f"bold {VERDICT_STYLES.get(verdict.kind, '')}".strip()
    sentence = Text(f"protocol: {verdict.in_words}", style="dim" if verdict.kind is Kind.NOT_JUDGED else style)
    return Group(sentence, *(Padding(Text(f"- {reason}"), (0, 0, 0, 2)) for reason in verdict.reasons), Text())


def _parts_row(comparison: Comparison, difference: Difference) -> PartsRow:
    return PartsRow(_score(difference), _voxels(comparison, difference), difference.parts)


def _score(difference: Difference) -> str:
    score = SHORT_NAMES.get(difference.quantity.score, difference.quantity.score)
    return f"|{score}|" if difference.absolute else score


def _cells(comparison: Comparison, difference: Difference, wide: bool) -> Iterator[Text]:
    result = difference.result
    yield Text(_score(difference))
    yield Text(_voxels(comparison, difference))
    yield Text(format_score(_none(result.base)))
    yield Text(format_score(_none(result.run)))
    yield Text(fixed(result.difference, True, 4))
    yield Text(interval(result.low, result.high, none="-"))
    yield Text(p_value(difference.p_holm))
    if wide:
        yield from (Text(str(number)) for number in (result.n_lower, result.n_equal, result.n_higher))
        yield Text("-" if math.isnan(result.rank_biserial) else f"{result.rank_biserial:+.2f}")
    words = difference.in_words.split(":")[0] if wide else difference.verdict
    yield Text(words, style=STYLES.get(difference.verdict, ""))


def _voxels(comparison: Comparison, difference: Difference) -> str:
    quantity = difference.quantity
    named = "class mean" if quantity.is_class_mean else ""
    if quantity.label is not None:
        named = comparison.labels[quantity.label]
    star = "*" if chosen_by_label(quantity.voxel_set) else ""
    return ", ".join(part for part in (named, f"{quantity.voxel_set or ''}{star}") if part)


def _legend(comparison: Comparison, wide: bool, judged: bool) -> Iterator[Text]:
    settings = comparison.settings
    yield Text(
        f"Means over cases, paired by case. Interval: {settings.level:.0%} {METHOD}, "
        f"each by itself. p: Wilcoxon signed-rank, adjusted (Holm) for all "
        f"{_counted(comparison.n_tests, 'test')} made; better, worse: p < {settings.alpha:g}. {THESE_NETWORKS}: "
        "they tell what other cases would give, not what another training would."
    )
    if any(not difference.again.reason for difference in comparison.differences):
        yield Text(f"{TRAINED_AGAIN}: {METHOD_TRAINED_AGAIN}; p of each test alone. It decides the protocol's verdict.")
    if wide:
        yield Text(
            "lower, equal, higher: cases in which the run's score is. effect: rank-biserial, -1 all lower, +1 all higher."
        )
    if any(chosen_by_label(difference.quantity.voxel_set) for difference in comparison.differences):
        yield Text(
            "* voxels chosen by their label: there a perfectly calibrated network does not score 0, so better calibrated is "
            "better by the convention of the papers only."
        )
    if any(difference.absolute for difference in comparison.differences):
        yield Text("|gap|: mean over cases of the absolute confidence gap; nearer to zero is better.")
    if any(len(difference.parts) > 1 for difference in comparison.differences):
        yield Text("fold_0, ...: mean difference over the cases of each fold, no tests.")
    if judged:
        yield Text(f"protocol: {RULES}")


def _left_out(comparison: Comparison) -> Iterator[Text]:
    for name, cases in comparison.left_out.items():
        if cases:
            yield Text(f"left out of {name}, since not every run has them: {', '.join(cases)}")
    if comparison.of_other_parts:
        yield Text(f"{_counted(len(comparison.of_other_parts), 'case')} of other folds left out, as chosen")
    for folder in comparison.repeated:
        yield Text(f"given more than once, taken once: {folder}")


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
