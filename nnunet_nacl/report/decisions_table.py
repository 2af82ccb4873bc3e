"""What runs are worth for decisions, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from nnunet_nacl.report.page_decisions import QUESTION, QUESTION_VOLUMES, method_in_words, ml, percent
from nnunet_nacl.study.decision_quality import DecisionQuality
from nnunet_nacl.study.failure_detection import DECIDING, MEAN


def print_quality(quality: DecisionQuality, names: Mapping[str, str], console: Console) -> None:
    """Print how bad cases are found, over the mean of the classes, and how far volumes are off; nothing where there is neither."""
    for part in _parts(quality, names):
        console.print(part)


def _parts(quality: DecisionQuality, names: Mapping[str, str]) -> Iterator[RenderableType]:
    found = quality.detection
    if found.detections:
        yield Text(
            f"{QUESTION} Risk-coverage of the soft Dice confidence, {found.of_label(MEAN)[0].n_cases} cases",
            style="italic",
        )
        yield _detections(quality)
        yield Text(method_in_words(found.order))
    for sentence in found.missing:
        yield Text(sentence)
    held = [errors for errors in quality.volumes if errors.bias]
    if held:
        yield Text(QUESTION_VOLUMES, style="italic")
        yield _volumes(quality, names)
        yield from (
            Text(f"volumes: {reason}.") for reason in dict.fromkeys(errors.reason for errors in held if errors.reason)
        )


def _detections(quality: DecisionQuality) -> Table:
    words = {held.run: held.in_words for held in quality.detection.differences if held.label == MEAN}
    table = _table("run")
    for heading in ("mean risk", "AURC", "best order", "excess AUGRC"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("against the base", overflow="fold")
    for held in quality.detection.of_label(MEAN):
        best = held.measures["aurc"] - held.measures["excess_aurc"]
        numbers = (held.risk, held.measures["aurc"], best, held.measures[DECIDING])
        table.add_row(Text(held.run), *(f"{number:.4f}" for number in numbers), Text(words.get(held.run, "")))
    return table


def _volumes(quality: DecisionQuality, names: Mapping[str, str]) -> Table:
    table = _table("run")
    table.add_column("class", overflow="fold")
    for heading in ("true ml", "bias hard", "bias soft", "width of 90 % interval", "holds in other folds"):
        table.add_column(heading, justify="right")
    for errors in quality.volumes:
        bias = [f"{percent(errors.bias[kind].share)}" if kind in errors.bias else "-" for kind in ("hard", "soft")]
        holds = "-" if errors.coverage is None else f"{errors.coverage[0]:.0%}"
        width = "-" if errors.width is None else f"{errors.width:.0%}"
        name = names.get(errors.label, errors.label)
        table.add_row(Text(errors.run), Text(name), ml(errors.reference_ml), *bias, width, holds)
    return table


def _table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    table.add_column(first, overflow="fold", min_width=11)
    return table
