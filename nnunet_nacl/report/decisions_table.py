"""What runs are worth for decisions, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from nnunet_nacl.report.console import plain_table
from nnunet_nacl.report.page_decisions import QUESTION, QUESTION_VOLUMES, method_in_words, ml, percent
from nnunet_nacl.report.run_labels import RunLabels, run_labels
from nnunet_nacl.study.decision_quality import DecisionQuality
from nnunet_nacl.study.failure_detection import DECIDING, MEAN

BESIDE_RUNS = 48
"""Columns that these tables have beside those of the names of runs."""


def print_quality(quality: DecisionQuality, runs: Sequence[str], names: Mapping[str, str], console: Console) -> None:
    """Print how bad cases are found, over the mean of the classes, and how far volumes are off; nothing where there is neither.

    Args:
        quality: of the runs.
        runs: names of all runs that are compared, the base first.
        names: of the classes or regions, by label.
        console: where to.
    """
    labels = run_labels(runs, console.width - BESIDE_RUNS)
    parts = list(_parts(quality, names, labels))
    for line in labels.legend if parts else ():
        console.out(line, highlight=False)  # not wrapped: a name stays in one piece, which a search finds
    for part in parts:
        console.print(part)


def _parts(quality: DecisionQuality, names: Mapping[str, str], labels: RunLabels) -> Iterator[RenderableType]:
    found = quality.detection
    held = [errors for errors in quality.volumes if errors.bias]
    if found.detections:
        yield Text(
            f"{QUESTION} Risk-coverage of the soft Dice confidence, {found.of_label(MEAN)[0].n_cases} cases",
            style="italic",
        )
        yield _detections(quality, labels)
        yield from _against_the_base(quality, labels)
        yield Text(method_in_words(found.order))
    for sentence in found.missing:
        yield Text(sentence)
    if held:
        yield Text(QUESTION_VOLUMES, style="italic")
        yield _volumes(quality, names, labels)
        yield from (
            Text(f"volumes: {reason}.") for reason in dict.fromkeys(errors.reason for errors in held if errors.reason)
        )


def _detections(quality: DecisionQuality, labels: RunLabels) -> Table:
    table = _table("run")
    for heading in ("mean risk", "AURC", "best order", "excess AUGRC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for held in quality.detection.of_label(MEAN):
        best = held.measures["aurc"] - held.measures["excess_aurc"]
        numbers = (held.risk, held.measures["aurc"], best, held.measures[DECIDING])
        table.add_row(Text(labels.label(held.run)), *(f"{number:.4f}" for number in numbers))
    return table


def _against_the_base(quality: DecisionQuality, labels: RunLabels) -> Iterator[Text]:
    """Return in words how each run differs from the base, a sentence a run."""
    for held in quality.detection.differences:
        if held.label == MEAN:
            yield Text(f"{labels.label(held.run)}, against the base: {held.in_words}")


def _volumes(quality: DecisionQuality, names: Mapping[str, str], labels: RunLabels) -> Table:
    """Return a row for each class, below the run that it is of."""
    table = _table("run and class")
    for heading in ("true\nml", "bias\nhard", "bias\nsoft", "width of\n90 %\ninterval", "holds in\nother\nfolds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run, of_run in groupby(quality.volumes, lambda errors: errors.run):
        table.add_row(Text(labels.label(run)))
        for errors in of_run:
            bias = [f"{percent(errors.bias[kind].share)}" if kind in errors.bias else "-" for kind in ("hard", "soft")]
            holds = "-" if errors.coverage is None else f"{errors.coverage[0]:.0%}"
            width = "-" if errors.width is None else f"{errors.width:.0%}"
            name = names.get(errors.label, errors.label)
            table.add_row(Text(f"  {name}"), ml(errors.reference_ml), *bias, width, holds)
    return table


def _table(first: str) -> Table:
    table = plain_table(padding=0)
    table.add_column(first, overflow="fold", min_width=11)
    return table
