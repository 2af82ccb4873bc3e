"""What the page shows: the prepared numbers, put into words and pictures for the templates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from nnunet_nacl.report.names import score_name
from nnunet_nacl.report.prepare_cases import CaseRow
from nnunet_nacl.report.prepare_diagrams import class_diagrams, top_diagram
from nnunet_nacl.report.prepare_reliability import ReliabilityDiagram
from nnunet_nacl.report.prepare_scores import (
    ClassRow,
    SetRow,
    label_names,
    mean_foreground_dice,
    mean_over,
    prepare_class_rows,
    prepare_set_rows,
    score_names,
    voxel_sets,
)
from nnunet_nacl.report.svg import reliability_svg
from nnunet_nacl.study.run import Run

MATCHED_WITHIN = 0.01


@dataclass(frozen=True)
class Column:
    """A score as a column."""

    key: str
    short: str
    meaning: str


@dataclass(frozen=True)
class Headline:
    """What a run comes to: one sentence, the direction of its gap (a class of the style sheet) and a few figures."""

    sentence: str
    direction: str
    figures: list[tuple[str, str]]


@dataclass(frozen=True)
class Drawn:
    """A diagram with its words."""

    title: str
    subtitle: str
    svg: Markup
    ece: str
    n_voxels: int


@dataclass(frozen=True)
class RunPart:
    """What the page shows of one run."""

    name: str
    run_cases: int
    headline: Headline
    columns: list[Column]
    set_rows: list[SetRow]
    class_rows: list[ClassRow]
    has_intervals: bool
    top_figures: dict[str, Drawn]
    class_figures: dict[str, list[Drawn]]
    provenance: list[tuple[str, str]]
    case_rows: list[CaseRow]
    warnings: list[str] = field(default_factory=list)


def columns_of(keys: Sequence[str]) -> list[Column]:
    """Return scores as columns."""
    return [Column(key, score_name(key).short, score_name(key).meaning) for key in keys]


def run_part(run: Run, cases: Sequence[str], case_rows: list[CaseRow], warnings: list[str], alone: bool) -> RunPart:
    """Return what the page shows of a run.

    Args:
        run: the run.
        cases: the cases whose voxels the diagrams pool.
        case_rows: its rows in the case table.
        warnings: in words.
        alone: whether it is the only run; a diagram is then titled by its voxel set, else by its run.
    """
    rows = prepare_set_rows(run)
    return RunPart(
        name=run.name,
        run_cases=len(run.statistics),
        headline=headline(run, cases),
        columns=columns_of(score_names(run)),
        set_rows=rows,
        class_rows=prepare_class_rows(run),
        has_intervals=any(value.interval for row in rows for value in row.per_case.values()),
        top_figures=top_figures(run, cases, {row.voxel_set: row.meaning for row in rows} if alone else {}),
        class_figures=class_figures(run, cases),
        provenance=_provenance(run),
        case_rows=case_rows,
        warnings=warnings,
    )


def headline(run: Run, cases: Sequence[str]) -> Headline:
    """Return the sentence about the structures that a run predicts, from the means over the given cases."""
    held = voxel_sets(run)
    voxel_set = "predicted" if "predicted" in held else held[0]
    figures = [("Dice (foreground mean)", number(mean_foreground_dice(run, cases)))]
    figures += [
        (f"ECE {name}", number(mean_over(run, cases, name, "ECE")))
        for name in dict.fromkeys((voxel_set, "all"))
        if name in held
    ]
    confidence, accuracy = (mean_over(run, cases, voxel_set, score) for score in ("confidence", "accuracy"))
    if confidence is None or accuracy is None:
        return Headline("The network predicts no structure in any case.", "", figures)
    where = "Where it predicts a structure" if voxel_set == "predicted" else f"In the voxel set {voxel_set}"
    gap = confidence - accuracy
    sentence = (
        f"{where}, the network says {100 * confidence:.1f} % on average and is right in {100 * accuracy:.1f} % of the "
        f"voxels: {_verdict(gap)}."
    )
    return Headline(sentence, "" if abs(gap) < MATCHED_WITHIN else "over" if gap > 0 else "under", figures)


def _verdict(gap: float) -> str:
    if abs(gap) < MATCHED_WITHIN:
        return "on average the two match, which says nothing yet about each confidence"
    return f"{'over' if gap > 0 else 'under'}confident by {abs(100 * gap):.1f} points"


def top_figures(run: Run, cases: Sequence[str], meanings: dict[str, str]) -> dict[str, Drawn]:
    """Return the diagram of the predicted class per voxel set, titled by the voxel set where its meaning is given."""
    drawn = {}
    for name in voxel_sets(run):
        diagram = top_diagram(run, cases, name)
        title = name if meanings else run.name
        drawn[name] = _drawn(diagram, title, meanings.get(name, ""), f"Reliability of {run.name}, voxel set {name}")
    return drawn


def class_figures(run: Run, cases: Sequence[str]) -> dict[str, list[Drawn]]:
    """Return the diagrams of each class, or region, against the rest, per voxel set."""
    drawn: dict[str, list[Drawn]] = {}
    for name in voxel_sets(run):
        diagrams = class_diagrams(run, cases, name)
        for (label, class_name), diagram in zip(label_names(run).items(), diagrams, strict=True):
            spoken = f"Reliability of {class_name} against the rest, {run.name}, voxel set {name}"
            drawn.setdefault(name, []).append(_drawn(diagram, f"{label} {class_name}", "", spoken))
    return drawn


def _drawn(diagram: ReliabilityDiagram, title: str, subtitle: str, spoken: str) -> Drawn:
    ece = None if diagram.n_voxels == 0 else diagram.ece
    text = f"{spoken}. Expected calibration error {number(ece)}, {diagram.n_voxels} voxels."
    return Drawn(title, subtitle, reliability_svg(diagram, text), number(ece), diagram.n_voxels)


def _provenance(run: Run) -> list[tuple[str, str]]:
    held: dict[str, Any] = run.summary["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in held.get("versions", {}).items())
    rows = [("run folder", str(run.folder))]
    rows += [(name.replace("_", " "), str(path)) for name, path in held.get("files", {}).items()]
    return [*rows, ("command", str(held.get("command", ""))), ("versions", versions), ("evaluated", str(held.get("created", "")))]  # fmt: skip


def number(value: float | None, signed: bool = False, digits: int = 3) -> str:
    """Return a score with three decimals, a dash where it is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:{'+' if signed else ''}.{digits}f}"
