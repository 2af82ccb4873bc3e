"""The numbers of the case table, and which cases are the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_nacl.report.prepare_scores import foreground, foreground_dice, label_names, voxel_sets
from nnunet_nacl.study.run import Run

CASE_SCORES = ("gap", "ECE", "class_wise_ECE", "NLL", "Brier")
FEW_VOXELS = 1000
"""With fewer voxels in 15 bins even a calibrated network scores an ECE of several hundredths by chance."""

CERTAIN_FROM = 0.001
"""Share of exactly certain voxels from which it is worth saying; a few come from rounding."""


@dataclass(frozen=True)
class CaseRow:
    """A row of the case table.

    Attributes:
        run, case: names.
        n_voxels: in the chosen voxel set.
        dice: mean over the foreground classes; None where none has one.
        scores: of the chosen voxel set, by name; None where not defined.
        other_ece: ECE of the other voxel sets.
        remarks: e.g. absent classes, in words.
    """

    run: str
    case: str
    n_voxels: int
    dice: float | None
    scores: dict[str, float | None]
    other_ece: dict[str, float | None]
    remarks: tuple[str, ...]


def prepare_case_rows(run: Run, voxel_set: str) -> list[CaseRow]:
    """Return the cases of a run."""
    others = [name for name in voxel_sets(run) if name != voxel_set]
    return [_row(run, case, voxel_set, others) for case in run.summary["metric_per_case"]]


def worst_first(rows: Iterable[CaseRow]) -> list[CaseRow]:
    """Return the rows by falling ECE, those without one last."""
    return sorted(rows, key=lambda row: (-_or_below(row.scores["ECE"]), row.case, row.run))


def worst_cases(runs: Sequence[Run], voxel_set: str, cases: Sequence[str], at_most: int) -> list[str]:
    """Return the cases with the highest ECE in a voxel set, mean over the runs in which it is defined."""
    errors: dict[str, list[float]] = {name: [] for name in cases}
    for run in runs:
        for case in run.summary["metric_per_case"]:
            error = case["voxel_sets"][voxel_set]["ECE"]
            if case["case"] in errors and error is not None:
                errors[case["case"]].append(error)
    means = {name: float(np.mean(values)) for name, values in errors.items() if values}
    return sorted(means, key=lambda name: (-means[name], name))[:at_most]


def _row(run: Run, case: dict[str, Any], voxel_set: str, others: list[str]) -> CaseRow:
    entry = case["voxel_sets"][voxel_set]
    return CaseRow(
        run=run.name,
        case=case["case"],
        n_voxels=entry["n_voxels"],
        dice=foreground_dice(run, case),
        scores={name: entry.get(name) for name in CASE_SCORES},
        other_ece={name: case["voxel_sets"][name]["ECE"] for name in others},
        remarks=tuple(_remarks(run, case, entry["n_voxels"])),
    )


def _remarks(run: Run, case: dict[str, Any], n_voxels: int) -> list[str]:
    names, remarks = label_names(run), []
    for label in foreground(run):
        n_ref, n_pred = (case["metrics"][label][key] for key in ("n_ref", "n_pred"))
        if n_ref == 0:
            remarks.append(f"{names[label]} absent")
        elif n_pred == 0:
            remarks.append(f"{names[label]} never predicted")
    if n_voxels < FEW_VOXELS:
        remarks.append("few voxels")
    if case.get("n_ignored"):
        remarks.append("ignored voxels")
    if certain_share(case) > CERTAIN_FROM:
        remarks.append("certain voxels")
    return remarks


def certain_share(case: dict[str, Any]) -> float:
    """Return the share of a case's voxels whose probabilities are all exactly 0 or 1: outside of the crop, or saturated."""
    entry = case["voxel_sets"].get("all", {})
    return entry.get("n_certain", 0) / entry["n_voxels"] if entry.get("n_voxels") else 0.0


def _or_below(value: float | None) -> float:
    return -1.0 if value is None else value
