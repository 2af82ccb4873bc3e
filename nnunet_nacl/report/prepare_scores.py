"""The numbers of the score tables: what calibration.json holds, put into rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_nacl.calibration import VOXEL_SETS
from nnunet_nacl.evaluation.summary import SCORE_NAMES
from nnunet_nacl.report.names import SCORES, voxel_set_meaning
from nnunet_nacl.study.direction import chosen_by_label
from nnunet_nacl.study.run import Run

FIRST_SCORES = ("gap", "ECE", "class_wise_ECE", "NLL", "Brier")
"""What a narrow screen shows without scrolling; the others keep their order behind them."""
INTERVAL_SUFFIX = "_interval"
LABEL_FOLDERS = frozenset({"labelsTr", "labelsTs", "gt_segmentations"})
NNUNET_DATASET = re.compile(r"Dataset\d{3}_[^/\\]+")


@dataclass(frozen=True)
class Value:
    """A score, with the lower and upper end of its interval where there is one; ``value`` None is not defined."""

    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SetRow:
    """The scores of a voxel set: as the mean over cases (``n_cases`` of them have voxels there), and pooled."""

    voxel_set: str
    meaning: str
    by_label: bool
    n_cases: int
    n_voxels: int
    per_case: dict[str, Value]
    pooled: dict[str, Value]


@dataclass(frozen=True)
class ClassRow:
    """Mean over cases of a class's Dice, of its HD95 in mm where it was asked for, and of its class-wise ECE per voxel set."""

    label: str
    name: str
    n_cases: int
    dice: Value
    hd95: Value | None
    class_wise_ece: dict[str, Value]


def voxel_sets(run: Run) -> list[str]:
    """Return the voxel sets that a run was evaluated in, in our order."""
    return [name for name in VOXEL_SETS if name in run.summary["per_case"]]


def score_names(run: Run) -> list[str]:
    """Return the scores of a run that the report shows, those that matter most first."""
    held: dict[str, Any] = next(iter(run.summary["per_case"].values()), {})
    return sorted(
        (name for name in SCORE_NAMES if name in held and name in SCORES), key=lambda name: name not in FIRST_SCORES
    )


def prepare_set_rows(run: Run) -> list[SetRow]:
    """Return one row per voxel set."""
    names = score_names(run)
    return [
        SetRow(
            voxel_set=name,
            meaning=voxel_set_meaning(run.summary, name),
            by_label=chosen_by_label(name),
            n_cases=run.summary["per_case"][name]["n_cases"],
            n_voxels=run.summary["pooled"][name]["n_voxels"],
            per_case={score: read_value(run.summary["per_case"][name], score) for score in names},
            pooled={score: read_value(run.summary["pooled"][name], score) for score in names},
        )
        for name in voxel_sets(run)
    ]


def prepare_class_rows(run: Run) -> list[ClassRow]:
    """Return one row per class, and one for the mean of the foreground classes."""
    names = label_names(run)
    rows = [_class_row(run, label, names[label], entry) for label, entry in run.summary["mean"].items()]
    return [*rows, _class_row(run, "", "foreground mean", run.summary["foreground_mean"])]


def _class_row(run: Run, label: str, name: str, entry: dict[str, Any]) -> ClassRow:
    held: dict[str, Any] = entry["class_wise_ECE"]
    sets = {key: read_value(held, key) for key in held if not key.endswith(INTERVAL_SUFFIX)}
    hd95 = read_value(entry, "HD95") if run.summary["protocol"].get("hd95") else None
    return ClassRow(label, name, entry["n_defined"], read_value(entry, "Dice"), hd95, sets)


def label_names(run: Run) -> dict[str, str]:
    """Return the name of each class by its key in calibration.json."""
    names: dict[str, str] = run.summary["protocol"]["labels"]
    return {label: str(names.get(label, label)) for label in run.summary["mean"]}


def has_regions(run: Run) -> bool:
    """Return whether the run is of a region-based model: a binary problem per region instead of one of all classes."""
    return bool(run.summary["protocol"].get("regions"))


def foreground(run: Run) -> list[str]:
    """Return the keys of the foreground classes, or of the regions."""
    return [label for label in run.summary["mean"] if has_regions(run) or label != "0"]


def foreground_dice(run: Run, case: dict[str, Any]) -> float | None:
    """Return a case's Dice, mean over the foreground classes that have one."""
    return _mean(case["metrics"][label]["Dice"] for label in foreground(run))


def mean_over(run: Run, cases: Sequence[str], voxel_set: str, score: str) -> float | None:
    """Return the mean over the given cases of a score, of those in which it is defined; None where it is in none."""
    wanted = set(cases)
    entries = [case for case in run.summary["metric_per_case"] if case["case"] in wanted]
    return _mean(case["voxel_sets"][voxel_set][score] for case in entries)


def mean_foreground_dice(run: Run, cases: Sequence[str]) -> float | None:
    """Return the Dice over the given cases as nnU-Net means it: per class first, then over the foreground classes."""
    wanted = set(cases)
    entries = [case["metrics"] for case in run.summary["metric_per_case"] if case["case"] in wanted]
    return _mean(_mean(entry[label]["Dice"] for entry in entries) for label in foreground(run))


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def read_value(entry: dict[str, Any], key: str) -> Value:
    """Return a score and, where calibration.json has one beside it, its interval."""
    interval = entry.get(key + INTERVAL_SUFFIX)
    ends = (interval[0], interval[1]) if interval and None not in interval else None
    return Value(entry.get(key), ends)


def dataset_name(run: Run) -> str:
    """Return nnU-Net's name of the data set, read from the paths; where no path has one, the folder that holds the labels."""
    files = run.summary["provenance"].get("files", {})
    for path in (*files.values(), str(run.folder.resolve())):
        found = NNUNET_DATASET.search(str(path))
        if found:
            return found.group()
    for entry in run.summary["metric_per_case"][:1]:
        named = [name for name in Path(entry["reference_file"]).parts[:-1] if name not in LABEL_FOLDERS and name != "/"]
        if named:
            return named[-1]
    return "unknown data set"
