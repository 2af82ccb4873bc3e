"""What the page shows: the prepared numbers, put into words and pictures for the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nnunet_nacl.report.names import score_name
from nnunet_nacl.report.number import fixed
from nnunet_nacl.report.page_evaluated import provenance_in_words
from nnunet_nacl.report.page_headline import Headline, headline
from nnunet_nacl.report.prepare_cases import CaseRow
from nnunet_nacl.report.prepare_diagrams import class_diagrams, top_diagram
from nnunet_nacl.report.prepare_reliability import ReliabilityDiagram
from nnunet_nacl.report.prepare_scores import (
    FIRST_SCORES,
    ClassRow,
    SetRow,
    label_names,
    mean_over,
    prepare_class_rows,
    prepare_set_rows,
    score_names,
    voxel_sets,
)
from nnunet_nacl.report.svg import reliability_svg
from nnunet_nacl.study.run import Run


@dataclass(frozen=True)
class Column:
    """A score as a column."""

    key: str
    short: str
    meaning: str


@dataclass(frozen=True)
class Drawn:
    """A diagram with its words; ``mean_ece``, the mean over cases, is empty for a class against the rest."""

    title: str
    svg: Markup
    pooled_ece: str
    mean_ece: str
    n_voxels: int


@dataclass(frozen=True)
class RunPart:
    """What the page shows of one run."""

    name: str
    run_cases: int
    headline: Headline
    columns: list[Column]
    more_columns: list[Column]
    set_rows: list[SetRow]
    class_rows: list[ClassRow]
    has_intervals: bool
    top_figures: dict[str, Drawn]
    class_figures: dict[str, list[Drawn]]
    provenance: list[tuple[str, list[str]]]
    case_rows: list[CaseRow]


def columns_of(keys: Sequence[str]) -> list[Column]:
    """Return scores as columns."""
    return [Column(key, score_name(key).short, score_name(key).meaning) for key in keys]


def run_part(run: Run, cases: Sequence[str], case_rows: list[CaseRow], alone: bool) -> RunPart:
    """Return what the page shows of a run.

    Args:
        run: the run.
        cases: the cases whose voxels the diagrams pool.
        case_rows: its rows in the case table.
        alone: whether it is the only run; else diagrams are titled by it.
    """
    rows, names = prepare_set_rows(run), score_names(run)
    return RunPart(
        name=run.name,
        run_cases=len(run.statistics),
        headline=headline(run, cases),
        columns=columns_of([name for name in names if name in FIRST_SCORES]),
        more_columns=columns_of([name for name in names if name not in FIRST_SCORES]),
        set_rows=rows,
        class_rows=prepare_class_rows(run),
        has_intervals=any(value.interval for row in rows for value in row.per_case.values()),
        top_figures=top_figures(run, cases, alone),
        class_figures=class_figures(run, cases),
        provenance=provenance_in_words(run),
        case_rows=case_rows,
    )


def top_figures(run: Run, cases: Sequence[str], alone: bool) -> dict[str, Drawn]:
    """Return the diagram of the predicted class per voxel set, titled by the run where it is not alone."""
    drawn = {}
    for name in voxel_sets(run):
        diagram = top_diagram(run, cases, name)
        title = "predicted class" if alone else run.name
        spoken = f"Reliability of {run.name}, voxel set {name}"
        drawn[name] = _drawn(diagram, title, spoken, fixed(mean_over(run, cases, name, "ECE")))
    return drawn


def class_figures(run: Run, cases: Sequence[str]) -> dict[str, list[Drawn]]:
    """Return the diagrams of each class, or region, against the rest, per voxel set."""
    drawn: dict[str, list[Drawn]] = {}
    for name in voxel_sets(run):
        diagrams = class_diagrams(run, cases, name)
        for (label, class_name), diagram in zip(label_names(run).items(), diagrams, strict=True):
            spoken = f"Reliability of {class_name} against the rest, {run.name}, voxel set {name}"
            drawn.setdefault(name, []).append(_drawn(diagram, f"{label} {class_name}", spoken))
    return drawn


def _drawn(diagram: ReliabilityDiagram, title: str, spoken: str, mean_ece: str = "") -> Drawn:
    ece = None if diagram.n_voxels == 0 else diagram.ece
    text = f"{spoken}. Expected calibration error of the pooled voxels {fixed(ece)}, {diagram.n_voxels} voxels."
    return Drawn(title, reliability_svg(diagram, text), fixed(ece), mean_ece, diagram.n_voxels)
