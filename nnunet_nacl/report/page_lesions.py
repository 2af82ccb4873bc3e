"""What the page says of lesions: how many are found, what a finding's confidence is worth, and pictures of the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nnunet_nacl.report.lesions_svg import findings_svg, froc_svg
from nnunet_nacl.report.number import fixed
from nnunet_nacl.report.pictures import Panel, probability_panels, shared_panels
from nnunet_nacl.report.prepare_lesions import ExtremeSlice, LesionsOfRun

KINDS = {"finding": "most confident false finding", "lesion": "largest missed lesion"}

COLUMNS = ("sensitivity", "precision", "false per patient", "average precision", "FROC score", "overconfident by")


@dataclass(frozen=True)
class Cell:
    """A figure as text, with its interval or a remark below it."""

    label: str
    text: str
    below: str = ""


@dataclass(frozen=True)
class LesionRow:
    """A run's figures of a class."""

    run: str
    color: int
    counts: str
    cells: list[Cell]


@dataclass(frozen=True)
class SizeRow:
    """A bin of lesion sizes: a cell per run."""

    size: str
    cells: list[Cell]


@dataclass(frozen=True)
class LesionGroup:
    """A class: its diagrams and tables."""

    name: str
    froc: Markup
    reliability: Markup
    rows: list[LesionRow]
    sizes: list[SizeRow]


@dataclass(frozen=True)
class ExtremeShown:
    """A false finding or missed lesion with its pictures."""

    title: str
    case: str
    where: str
    numbers: str
    panels: list[Panel]


@dataclass(frozen=True)
class LesionsPart:
    """The section."""

    method: str
    unit: str
    runs: list[str]
    columns: tuple[str, ...]
    groups: list[LesionGroup]
    extremes: list[ExtremeShown]


def lesions_part(found: Sequence[LesionsOfRun], extremes: Sequence[ExtremeSlice]) -> LesionsPart | None:
    """Return the section, None without lesions."""
    if not found:
        return None
    first = found[0].content
    unit = "case" if first["unit_of_intervals"] == "case" else "patient"
    names = list(dict.fromkeys(name for of_run in found for name in of_run.content["classes"]))
    return LesionsPart(
        method=_method(first, unit),
        unit=unit,
        runs=[of_run.name for of_run in found],
        columns=tuple(name.replace("patient", unit) for name in COLUMNS),
        groups=[_group(name, found, unit) for name in names],
        extremes=[_shown(each, several=len(found) > 1, unit=_unit_of_size(first)) for each in extremes],
    )


def _method(content: Mapping[str, Any], unit: str) -> str:
    rules = content["rules"]
    duplicates = "as false findings" if rules["duplicates"] == "false" else "not at all"
    return (
        f"A finding is a connected component of the segmentation, with {rules['connectivity']} neighbours; its confidence is the {rules['confidence']} "
        f"probability within it; {rules['in_words']}. Further findings in a lesion count {duplicates}. The curve takes findings away "
        f"as the confidence asked for rises, and so ends where the segmentation itself is. 95 % intervals over {unit}s."
    )


def _unit_of_size(content: Mapping[str, Any]) -> str:
    return str(content["unit_of_sizes"]).replace("mm3", "mm³")


def _group(name: str, found: Sequence[LesionsOfRun], unit: str) -> LesionGroup:
    held = [
        (place, each, each.content["classes"][name])
        for place, each in enumerate(found)
        if name in each.content["classes"]
    ]
    of_runs = [(each.name, of) for _, each, of in held]
    which = found[0].content["rules"]["confidence"]
    which = which if which in ("largest", "mean") else "largest"
    unit_of_size = _unit_of_size(found[0].content)
    return LesionGroup(
        name,
        froc_svg(of_runs, f"FROC curve of {name}", unit),
        findings_svg(of_runs, which, f"Reliability of the findings of {name}"),
        [_row(place, each.name, of, which, unit) for place, each, of in held],
        _sizes(of_runs, unit_of_size),
    )


def _row(place: int, run: str, of: Mapping[str, Any], which: str, unit: str) -> LesionRow:
    figures = (
        of["sensitivity"], of["precision"], of["false_findings_per_patient"], of["average_precision"], of["froc_score"],
        of["reliability"][which]["gap"],
    )  # fmt: skip
    cells = [
        Cell(
            label.replace("patient", unit),
            fixed(figure["value"], signed=label == COLUMNS[-1]),
            _interval(figure, label == COLUMNS[-1]),
        )
        for label, figure in zip(COLUMNS, figures, strict=True)
    ]
    counts = f"{of['n_found']} of {of['n_lesions']} lesions found, {of['n_true']} of {of['n_findings']} findings true"
    for name, text in (("n_merged", "merged"), ("n_duplicate", "duplicate"), ("n_left_out", "left out")):
        plural = "s" if text == "duplicate" and of[name] > 1 else ""
        counts += f", {of[name]} {text}{plural}" if of[name] else ""
    return LesionRow(run, place, counts, cells)


def _interval(figure: Mapping[str, Any], signed: bool = False) -> str:
    return "" if figure["low"] is None else f"{fixed(figure['low'], signed)} to {fixed(figure['high'], signed)}"


def _sizes(of_runs: Sequence[tuple[str, Mapping[str, Any]]], unit: str) -> list[SizeRow]:
    """Return the bins that have lesions in any run."""
    rows: dict[str, list[Cell]] = {}
    used = set()
    for run, of in of_runs:
        for one in of["sensitivity_by_size"]:
            size, found = _size(one, unit), one["sensitivity"]
            lesions = f"of {found['n']}" + (f", {_interval(found)}" if found["low"] is not None else "")
            rows.setdefault(size, []).append(Cell(run, fixed(found["value"]), lesions if found["n"] else ""))
            used |= {size} if found["n"] else set()
    return [SizeRow(size, cells) for size, cells in rows.items() if size in used]


def _size(one: Mapping[str, Any], unit: str) -> str:
    if not one["from"]:
        return f"under {one['to']:g} {unit}" if one["to"] is not None else f"any number of {unit}"
    return f"{one['from']:g} {unit} and more" if one["to"] is None else f"{one['from']:g} to {one['to']:g} {unit}"


def _shown(extreme: ExtremeSlice, several: bool, unit: str) -> ExtremeShown:
    entry = extreme.entry
    title = f"{entry['class']}: {KINDS.get(entry['kind'], entry['kind'])}" + (f", {extreme.run}" if several else "")
    numbers = (
        f"{entry['size'] or 0:g} {unit}, largest probability {fixed(entry['largest_p'])}, mean {fixed(entry['mean_p'])}"
    )
    panels = [*shared_panels(extreme.shown), *probability_panels(extreme.shown, extreme.said)]
    return ExtremeShown(title, entry["case"], extreme.shown.where, numbers, panels)
