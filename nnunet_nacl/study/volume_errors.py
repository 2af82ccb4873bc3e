"""How far a run's volumes are off, how wide their intervals are, and whether these hold in folds that they were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.decisions import Volumes, fit_interval
from nnunet_nacl.decisions.conformal import smallest_number
from nnunet_nacl.decisions.volume_bias import Bias, biases
from nnunet_nacl.decisions.volume_fit import across_of
from nnunet_nacl.decisions.volumes import WAYS, relative_width
from nnunet_nacl.study.case_scores import BACKGROUND
from nnunet_nacl.study.run import Run

LEVEL = 0.9
"""Of the intervals for a volume."""

MAX_CLASSES = 32
"""With more classes only the first are looked at."""


@dataclass(frozen=True)
class VolumeErrors:
    """The volumes of a class in a run.

    Attributes:
        run: its name.
        label: key of the class.
        n_cases: cases with volumes.
        reference_ml: mean true volume.
        bias: of each kind that the result holds.
        way: how the interval measures a volume, as `volumes fit` chooses it; empty where there is no interval.
        width: median width of the interval over the predicted volume.
        coverage: share of the cases of each fold, patients weighing alike, whose true volume lies in the interval that the other folds give,
            with its 95 % binomial interval (Clopper and Pearson); None unless two or more folds are known. Cases left out one by one would
            say nothing about the run: how many of those lie inside follows from their number.
        of_each: that share in each fold.
        reason: why there is no interval or no coverage, otherwise empty.
    """

    run: str
    label: str
    n_cases: int
    reference_ml: float
    bias: dict[str, Bias]
    way: str = ""
    width: float | None = None
    coverage: tuple[float, float, float] | None = None
    of_each: dict[str, float] | None = None
    reason: str = ""


def volume_errors(run: Run, cases: Sequence[str], groups: Sequence[str] | None = None) -> list[VolumeErrors]:
    """Return the volume errors of each class of a run, or of the first training of several, over the given cases.

    Args:
        run: an evaluated run.
        cases: names of its cases.
        groups: the patient of each case; None where each case is its own.
    """
    entries = {str(entry["case"]): entry for entry in run.summary["metric_per_case"]}
    of_cases = [entries[case]["metrics"] for case in cases]
    parts = [str(entries[case].get("part") or "") for case in cases]
    labels = [label for label in run.summary["mean"] if label != BACKGROUND][:MAX_CLASSES]
    found = (_of_class(run.name, label, of_cases, parts, groups) for label in labels)
    return [errors for errors in found if errors is not None]


def _of_class(
    run: str, label: str, of_cases: Sequence[dict[str, Any]], parts: Sequence[str], groups: Sequence[str] | None
) -> VolumeErrors | None:
    """Return the errors of a class; None where the images have no volume."""
    held = [(metrics[label].get("volume_ml") or {}, _voxel_ml(metrics)) for metrics in of_cases]
    there = [
        place for place, (volume, voxel) in enumerate(held) if voxel is not None and volume.get("reference") is not None
    ]
    if not there:
        return None
    columns = {
        key: [held[place][0].get(key) for place in there] for key in ("reference", "predicted", "soft", "spread")
    }
    truth, hard = (np.array(columns[key], np.float64) for key in ("reference", "predicted"))
    units = None if groups is None else [groups[place] for place in there]
    soft = None if None in columns["soft"] else np.array(columns["soft"], np.float64)
    spread = None if soft is None or None in columns["spread"] else np.array(columns["spread"], np.float64)
    volumes = Volumes(hard, np.array([held[place][1] for place in there], np.float64), soft, spread)
    errors = VolumeErrors(run, label, len(there), float(truth.mean()), biases(truth, volumes, units))
    return _with_interval(errors, truth, volumes, [parts[place] for place in there], units)


def _voxel_ml(metrics: dict[str, Any]) -> float | None:
    """Return the volume of a voxel from any class of the case that has some."""
    for entry in metrics.values():
        volumes = entry.get("volume_ml") or {}
        for number, kind in (("n_ref", "reference"), ("n_pred", "predicted")):
            if entry.get(number) and volumes.get(kind):
                return float(volumes[kind]) / int(entry[number])
    return None


def _with_interval(
    errors: VolumeErrors, truth: Float64Array, volumes: Volumes, parts: Sequence[str], units: Sequence[str] | None
) -> VolumeErrors:
    n_units, needed = len(volumes) if units is None else len(set(units)), smallest_number(LEVEL)
    whose = "cases" if units is None else "patients"
    if n_units < needed:
        return replace(errors, reason=f"an interval at level {LEVEL:g} needs {needed} {whose}, and these are {n_units}")
    interval = fit_interval(truth, volumes, LEVEL, units)
    low, high = interval.apply(volumes)
    held = replace(errors, way=interval.chosen, width=float(np.median(relative_width(low, high, volumes))))
    across = across_of(truth, volumes, parts, LEVEL, units)
    if across is None or across["coverage"] is None:
        few = len(set(parts)) > 1
        why = (
            f"fitted on all folds but one it needs {needed} {whose}"
            if few
            else "that takes the folds of two or more networks"
        )
        return replace(held, reason=f"no share of cases in which the interval holds: {why}")
    share, ends = across["coverage"], across["coverage_interval"]
    return replace(held, coverage=(share, ends[0], ends[1]), of_each=across["of_each"])


WAYS_IN_WORDS = dict(
    zip(WAYS, ("segmentation", "probability", "segmentation, adaptive", "probability, adaptive"), strict=True)
)
"""Adaptive: the width follows the case's own uncertainty."""
