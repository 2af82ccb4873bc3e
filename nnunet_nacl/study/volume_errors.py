"""How far a run's volumes are off, and how often an interval fitted on the other cases holds the true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import mean_interval
from nnunet_nacl.decisions import Volumes, leave_one_out
from nnunet_nacl.decisions.conformal import smallest_number
from nnunet_nacl.decisions.coverage import binomial_interval, coverage
from nnunet_nacl.decisions.volumes import WAYS, narrowest, relative_width
from nnunet_nacl.study.case_scores import BACKGROUND
from nnunet_nacl.study.run import Run

LEVEL = 0.9
"""Of the intervals for a volume."""

MAX_CLASSES = 32
"""With more classes only the first are looked at; leaving each case out costs their number of cases squared."""

KINDS = ("hard", "soft")
"""Volume of the segmentation, and sum of the probabilities."""


@dataclass(frozen=True)
class Bias:
    """Mean over the cases of predicted - true volume in ml, its 95 % interval, and as a share of the mean true volume."""

    ml: float
    low: float
    high: float
    share: float


@dataclass(frozen=True)
class VolumeErrors:
    """The volumes of a class in a run.

    Attributes:
        run: its name.
        label: key of the class.
        n_cases: cases with volumes.
        reference_ml: mean true volume.
        bias: of each kind that the result holds.
        way: how the narrowest interval measures a volume; empty where there is no interval.
        covered: cases whose true volume lies in the interval that all other cases give.
        coverage: their share, patients weighing alike, with its 95 % binomial interval.
        width: mean width of these intervals over the predicted volume.
        reason: why there is no interval, otherwise empty.
    """

    run: str
    label: str
    n_cases: int
    reference_ml: float
    bias: dict[str, Bias]
    way: str = ""
    covered: int = 0
    coverage: tuple[float, float, float] | None = None
    width: float | None = None
    reason: str = ""


def volume_errors(run: Run, cases: Sequence[str], groups: Sequence[str] | None = None) -> list[VolumeErrors]:
    """Return the volume errors of each class of a run, or of the first training of several, over the given cases.

    Args:
        run: an evaluated run.
        cases: names of its cases.
        groups: the patient of each case; None where each case is its own.
    """
    entries = {str(entry["case"]): entry["metrics"] for entry in run.summary["metric_per_case"]}
    of_cases = [entries[case] for case in cases]
    labels = [label for label in run.summary["mean"] if label != BACKGROUND][:MAX_CLASSES]
    found = (_of_class(run.name, label, of_cases, groups) for label in labels)
    return [errors for errors in found if errors is not None]


def _of_class(
    run: str, label: str, of_cases: Sequence[dict[str, Any]], groups: Sequence[str] | None
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
    bias = {
        kind: _bias(values, truth, units)
        for kind, values in zip(KINDS, (hard, soft), strict=True)
        if values is not None
    }
    errors = VolumeErrors(run, label, len(there), float(truth.mean()), bias)
    spread = None if soft is None or None in columns["spread"] else np.array(columns["spread"], np.float64)
    voxel = np.array([held[place][1] for place in there], np.float64)
    volumes = Volumes(hard, voxel, soft if spread is not None else None, spread)
    return _with_interval(errors, truth, volumes, units)


def _voxel_ml(metrics: dict[str, Any]) -> float | None:
    """Return the volume of a voxel from any class of the case that has some."""
    for entry in metrics.values():
        volumes = entry.get("volume_ml") or {}
        for number, kind in (("n_ref", "reference"), ("n_pred", "predicted")):
            if entry.get(number) and volumes.get(kind):
                return float(volumes[kind]) / int(entry[number])
    return None


def _bias(values: Float64Array, truth: Float64Array, units: Sequence[str] | None) -> Bias:
    errors = values - truth
    low, high = (float(end) for end in mean_interval(errors, groups=units))
    mean = float(truth.mean())
    return Bias(float(errors.mean()), low, high, float(errors.mean()) / mean if mean > 0 else float("nan"))


def _with_interval(
    errors: VolumeErrors, truth: Float64Array, volumes: Volumes, units: Sequence[str] | None
) -> VolumeErrors:
    n_units, needed = len(volumes) if units is None else len(set(units)), smallest_number(LEVEL) + 1
    if n_units < needed:
        reason = f"an interval at level {LEVEL:g} that leaves each patient out needs {needed}, and these are {n_units}"
        return VolumeErrors(errors.run, errors.label, errors.n_cases, errors.reference_ml, errors.bias, reason=reason)
    with np.errstate(over="ignore", invalid="ignore"):  # an interval may be infinite
        ends = leave_one_out(truth, volumes, LEVEL, units)
        way = narrowest(ends, volumes)
        low, high = ends[way]
        inside = (low <= truth) & (truth <= high)
        width = float(relative_width(low, high, volumes).mean())
    share = coverage(inside, units)
    return VolumeErrors(
        errors.run, errors.label, errors.n_cases, errors.reference_ml, errors.bias,
        way, int(inside.sum()), (share, *binomial_interval(share, n_units)), width,
    )  # fmt: skip


WAYS_IN_WORDS = dict(
    zip(WAYS, ("segmentation", "probability", "segmentation, adaptive", "probability, adaptive"), strict=True)
)
"""Adaptive: the width follows the case's own uncertainty."""
