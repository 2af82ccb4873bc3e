"""What runs are worth for decisions: do they find their bad cases, and how far are their volumes off; and the files that say so."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.study import failure_detection as detection
from nnunet_nacl.study import volume_errors as volumes
from nnunet_nacl.study.comparison import Comparison
from nnunet_nacl.study.failure_detection import Detection, FailureDetection, failure_detection
from nnunet_nacl.study.run import Run, trainings_of
from nnunet_nacl.study.volume_errors import VolumeErrors, volume_errors

CSV_FILE = "comparison_decisions.csv"


@dataclass(frozen=True)
class DecisionQuality:
    """Of all runs of a comparison, the base first; volumes of each training."""

    detection: FailureDetection
    volumes: tuple[VolumeErrors, ...]


def decision_quality(runs: Sequence[Run], cases: Sequence[str], groups: Sequence[str] | None = None) -> DecisionQuality:
    """Return what runs are worth for decisions over the given cases; the first is the base.

    Args:
        runs: evaluated runs.
        cases: names of cases that all of them have.
        groups: the patient of each case; None where each case is its own.
    """
    trainings = [training for run in runs for training in trainings_of(run)]
    return DecisionQuality(
        failure_detection(runs, cases, groups),
        tuple(errors for training in trainings for errors in volume_errors(training, cases, groups)),
    )


def quality_of(comparison: Comparison) -> DecisionQuality:
    """Return the same of the runs of a comparison."""
    return decision_quality((comparison.base, *comparison.runs), comparison.cases, comparison.groups)


def quality_content(quality: DecisionQuality) -> dict[str, Any]:
    """Return what comparison.json holds of it: plain values, NaN as None."""
    found = quality.detection
    return {
        "failure_detection": {
            "confidence": "soft Dice confidence",
            "risk": "1 - Dice",
            "order": found.order,
            "interval": f"percentiles of {detection.REPLICATES} paired bootstrap draws of cases or groups, level {detection.LEVEL:g}, each by itself",
            "in_words_by": detection.DECIDING,
            "runs": [_detection(held) for held in found.detections],
            "differences": [
                {
                    "run": held.run,
                    "class": held.label,
                    "same_segmentations": held.same_segmentations,
                    **{
                        name: _with_interval(held.differences[name], held.intervals[name])
                        for name in detection.MEASURES
                    },
                    "verdict": held.verdict,
                    "in_words": held.in_words,
                }
                for held in found.differences
            ],
            "missing": list(found.missing),
        },
        "volumes": {"level": volumes.LEVEL, "runs": [_plain(asdict(errors)) for errors in quality.volumes]},
    }


def write_quality(quality: DecisionQuality, folder: Path) -> list[Path]:
    """Write comparison_decisions.csv into a folder that exists, unless there is nothing to write; return its path."""
    rows = list(_rows(quality))
    if not rows:
        return []
    path = folder / CSV_FILE
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["run", "class", "quantity", "n_cases", "value", "low", "high", "difference", "difference_low", "difference_high", "in_words"])  # fmt: skip
        writer.writeheader()
        writer.writerows(_plain(row) for row in rows)
    return [path]


def _rows(quality: DecisionQuality) -> Iterator[dict[str, Any]]:
    differences = {(held.run, held.label): held for held in quality.detection.differences}
    for held in quality.detection.detections:
        against = differences.get((held.run, held.label))
        for name in detection.MEASURES:
            low, high = held.intervals[name]
            row = {"run": held.run, "class": held.label, "quantity": name, "n_cases": held.n_cases}
            row |= {"value": held.measures[name], "low": low, "high": high}
            if against is not None:
                ends = dict(zip(("difference_low", "difference_high"), against.intervals[name], strict=True))
                row |= {"difference": against.differences[name], **ends}
                row |= {"in_words": against.in_words} if name == detection.DECIDING else {}
            yield row
    for errors in quality.volumes:
        row = {"run": errors.run, "class": errors.label, "n_cases": errors.n_cases}
        for kind, bias in errors.bias.items():
            yield row | {"quantity": f"bias_{kind}_ml", "value": bias.ml, "low": bias.low, "high": bias.high}
            ends = {"low": bias.share_low, "high": bias.share_high}
            yield row | {"quantity": f"bias_{kind}_share", "value": bias.share, **ends}
        if errors.width is not None:
            yield row | {"quantity": "interval_width", "value": errors.width, "in_words": errors.way}
        if errors.coverage is not None:
            share, low, high = errors.coverage
            yield row | {"quantity": "interval_coverage_across_folds", "value": share, "low": low, "high": high}


def _detection(held: Detection) -> dict[str, Any]:
    measures = {name: _with_interval(held.measures[name], held.intervals[name]) for name in detection.MEASURES}
    curve = {"coverage": held.curve.coverage.tolist(), "selective_risk": held.curve.selective_risk.tolist()}
    return {
        "run": held.run,
        "class": held.label,
        "n_cases": held.n_cases,
        "mean_risk": held.risk,
        **measures,
        "curve": curve,
    }


def _with_interval(value: float, interval: tuple[float, float]) -> dict[str, float | None]:
    return {"value": finite_or_none(value), "low": finite_or_none(interval[0]), "high": finite_or_none(interval[1])}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _plain(value) if isinstance(value, dict) else finite_or_none(value) if isinstance(value, float) else value
        for key, value in values.items()
    }
