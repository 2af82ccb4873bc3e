"""The whole page as plain values: what the templates show, and nothing that they would have to work out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_groups import Groups
from nnunet_nacl.report.case_files import Given
from nnunet_nacl.report.names import listed, score_name, voxel_set_meaning
from nnunet_nacl.report.not_shown import in_words
from nnunet_nacl.report.page import Column, RunPart, columns_of, run_part
from nnunet_nacl.report.page_comparison import DifferencesPart, Group, differences_part, side_groups
from nnunet_nacl.report.page_decisions import DecisionsPart, decisions_part
from nnunet_nacl.report.page_evaluated import protocol_in_words
from nnunet_nacl.report.page_lesions import LesionsPart, lesions_part
from nnunet_nacl.report.page_thresholds import MISS_RATE, ThresholdGroup, thresholds_part
from nnunet_nacl.report.page_worst import WorstCase, prepare_worst
from nnunet_nacl.report.pictures import ERROR_STOPS, class_color, confidence_stops
from nnunet_nacl.report.prepare_cases import CASE_SCORES, CaseRow, prepare_case_rows, worst_first
from nnunet_nacl.report.prepare_differences import prepare_differences, prepare_sides
from nnunet_nacl.report.prepare_lesions import find_lesions_of, prepare_extremes
from nnunet_nacl.report.prepare_scores import (
    dataset_name,
    foreground,
    has_regions,
    label_names,
    score_names,
    voxel_sets,
)
from nnunet_nacl.report.prepare_warnings import Warned, counted, warnings_once
from nnunet_nacl.report.svg import swatch_svg
from nnunet_nacl.study.case_scores import check_repeats
from nnunet_nacl.study.comparison import compare_runs
from nnunet_nacl.study.decision_quality import decision_quality
from nnunet_nacl.study.direction import chosen_by_label
from nnunet_nacl.study.run import Run, trainings_of

FEW_CLASSES = 4
"""Up to so many classes their diagrams are unfolded with those of the voxel set, where there is one run."""


@dataclass(frozen=True)
class Options:
    """What the user chose: the voxel set that ranks cases, files, how many cases to picture, and which are one unit, and folders of `lesions`."""

    voxel_set: str = "predicted"
    given: Given = field(default_factory=Given)
    worst: int = 6
    groups: Groups | None = None
    lesions: tuple[Path, ...] = ()


@dataclass(frozen=True)
class CaseColumn:
    """A heading of the case table."""

    text: str
    meaning: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Page:
    """Everything that templates/report.html.j2 shows."""

    dataset: str
    n_cases: int
    voxel_set: str
    voxel_sets: list[str]
    meanings: dict[str, str]
    by_label: frozenset[str]
    columns: list[Column]
    colors: dict[str, Markup]
    parts: list[RunPart]
    warnings: list[Warned]
    few_classes: bool
    short_names: dict[str, str]
    side_by_side: list[Group]
    left_out: list[str]
    differences: DifferencesPart | None
    decisions: DecisionsPart
    lesions: LesionsPart | None
    thresholds: list[ThresholdGroup]
    miss_rate: float
    worst: list[WorstCase]
    not_shown: list[str]
    legend: list[tuple[str, str]]
    confidence_stops: list[str]
    confidence_floor: str
    error_stops: list[str]
    no_images: bool
    case_columns: list[CaseColumn]
    case_rows: list[CaseRow]
    any_remarks: bool
    protocol: list[tuple[str, str]]
    sections: list[tuple[str, str]]


def prepare_page(runs: Sequence[Run], options: Options) -> Page:
    """Return the page of one or more runs; the first is the baseline. A run may stand for several trainings.

    Raises:
        InputError: the runs were evaluated differently, share no case, or lack the chosen voxel set.
    """
    comparison = compare_runs(runs[0], runs[1:], groups=options.groups) if len(runs) > 1 else None
    if comparison is not None:
        # under names that tell them apart, each folder once
        runs = (comparison.base, *comparison.runs)
    else:
        check_repeats(runs[0])
    cases = sorted(runs[0].statistics) if comparison is None else list(comparison.cases)
    of_trainers, units = list(runs), None if options.groups is None else options.groups.of(cases)
    # differences are of trainers; what is shown of networks is of each training
    runs = [training for run in runs for training in trainings_of(run)]
    base, several = runs[0], len(runs) > 1
    sets = voxel_sets(base)
    if options.voxel_set not in sets:
        raise InputError(f"Expected a voxel set of these runs ({', '.join(sets)}), but got {options.voxel_set!r}.")
    lesions, no_lesions = find_lesions_of(of_trainers, options.lesions)
    extremes, not_pictured = prepare_extremes(lesions, options.worst, options.given)
    masks = thresholds_part(runs, cases, units)
    worst = prepare_worst(runs, cases, options.voxel_set, options.worst, options.given)
    parts = [_part(run, cases, options.voxel_set, not several) for run in runs]
    names = label_names(base)
    any_remarks = any(row.remarks for part in parts for row in part.case_rows)
    pictured = frozenset[int]().union(*(case.classes for case in worst))
    return Page(
        dataset=dataset_name(base),
        n_cases=len(cases),
        voxel_set=options.voxel_set,
        voxel_sets=sets,
        meanings={name: voxel_set_meaning(base.summary, name) for name in sets},
        by_label=frozenset(name for name in sets if chosen_by_label(name)),
        columns=columns_of(["Dice", *score_names(base)]),
        colors={label: swatch_svg(class_color(place)) for place, label in enumerate(foreground(base), start=1)},
        parts=parts,
        warnings=warnings_once(runs, options.voxel_set),
        few_classes=not several and len(names) <= FEW_CLASSES,
        short_names={key: score_name(key).short for key in CASE_SCORES},
        side_by_side=side_groups(prepare_sides(runs, cases), options.voxel_set) if several else [],
        left_out=[] if comparison is None else _left_out(comparison.left_out),
        differences=None
        if comparison is None
        else differences_part(comparison, prepare_differences(comparison), options.voxel_set),
        decisions=decisions_part(
            decision_quality(of_trainers, cases, units), {key: names[key] for key in foreground(base)}
        ),
        lesions=lesions_part(lesions, extremes),
        thresholds=masks,
        miss_rate=MISS_RATE,
        worst=worst,
        not_shown=in_words([missing for case in worst for missing in case.missing], len(worst))
        + in_words(not_pictured, sum(len(of.content["extremes"][: options.worst]) for of in lesions))
        + no_lesions,
        legend=[(label, names[label]) for place, label in enumerate(foreground(base), start=1) if place in pictured],
        confidence_stops=confidence_stops(),
        confidence_floor=f"1/{2 if has_regions(base) else len(names)}",
        error_stops=list(ERROR_STOPS),
        no_images=options.given.images is None and any(case.pictured for case in worst),
        case_columns=_case_columns(sets, options.voxel_set, several, any_remarks),
        any_remarks=any_remarks,
        case_rows=worst_first(row for part in parts for row in part.case_rows),
        protocol=protocol_in_words(base),
        sections=_sections(comparison is not None, bool(lesions), bool(masks)),
    )


def _part(run: Run, cases: Sequence[str], voxel_set: str, alone: bool) -> RunPart:
    return run_part(run, cases, prepare_case_rows(run, voxel_set), alone)


def _left_out(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """Return in words which cases of which run are not compared."""
    return [
        f"{counted(len(cases), 'case')} of {name} left out, since not every run has them: {listed(cases)}."
        for name, cases in left_out.items()
        if cases
    ]


def _case_columns(sets: Sequence[str], voxel_set: str, several: bool, remarks: bool) -> list[CaseColumn]:
    columns = [CaseColumn("case", numeric=False)]
    if several:
        columns.append(CaseColumn("run", numeric=False))
    columns += [CaseColumn(score_name(key).short, score_name(key).meaning) for key in ("Dice", *CASE_SCORES)]
    columns += [CaseColumn(f"ECE {name}") for name in sets if name != voxel_set]
    columns.append(CaseColumn("voxels"))
    return [*columns, CaseColumn("remarks", numeric=False)] if remarks else columns


def _sections(compared: bool, lesions: bool, thresholds: bool) -> list[tuple[str, str]]:
    sections = [("glance", "At a glance"), ("reading", "How to read this"), ("scores", "Scores")]
    if compared:
        sections.append(("differences", "Paired differences"))
    sections.append(("decisions", "For decisions"))
    if lesions:
        sections.append(("lesions", "Lesions"))
    if thresholds:
        sections.append(("thresholds", "Other thresholds"))
    sections += [("diagrams", "Reliability diagrams"), ("worst", "Worst cases"), ("cases", "All cases")]
    return [*sections, ("evaluated", "What was evaluated")]
