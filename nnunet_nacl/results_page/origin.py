"""Where the results come from: lengths, devices, versions and dates as nnU-Net, the evaluations and the markers recorded them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.plan.job import Training
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.files.json_files import mapping_if_any
from nnunet_nacl.results_page.task_results import TaskResults

DEBUG_FILE = "debug.json"
"""What nnU-Net writes into a fold's folder when a training starts or goes on."""


@dataclass(frozen=True)
class TrainingRecord:
    """What is on record of the training of one fold; None where it is not.

    Attributes:
        trainer, training, fold: whose.
        epochs, iterations: of it, and of each epoch.
        device: ``cpu``, or the name of the GPU.
        torch: version.
        versions: of the packages when the study trained it; None where the fold was there before and was taken over.
    """

    trainer: str
    training: int
    fold: int
    epochs: int | None
    iterations: int | None
    device: str | None
    torch: str | None
    versions: dict[str, str] | None


def training_records(results: TaskResults) -> list[TrainingRecord]:
    """Return the record of each fold of the evaluated trainers."""
    study = results.study
    return [
        _record(study, results.task.dataset, Training(each.trainer, each.training), fold)
        for each in results.trainers
        for fold in study.folds
    ]


def versions_of_evaluation(results: TaskResults) -> dict[str, list[str]]:
    """Return the versions of each package that any of the evaluations was made with."""
    found: dict[str, set[str]] = {}
    for provenance in _provenances(results):
        for package, version in (provenance.get("versions") or {}).items():
            found.setdefault(str(package), set()).add(str(version))
    return {package: sorted(versions) for package, versions in found.items()}


def dates_of_evaluation(results: TaskResults) -> tuple[str, str] | None:
    """Return the first and the last day on which a fold was evaluated, or None."""
    dates = sorted(str(provenance["created"])[:10] for provenance in _provenances(results) if "created" in provenance)
    return (dates[0], dates[-1]) if dates else None


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line)
    return next(named, "") or platform.processor() or platform.machine()


def _record(study: Study, dataset: str, training: Training, fold: int) -> TrainingRecord:
    places = Places(study)
    debug = mapping_if_any(places.fold(dataset, training.trainer, fold, training.number) / DEBUG_FILE)
    marker = mapping_if_any(places.marker(f"train/{dataset}/{training.path}/fold_{fold}"))
    versions = marker.get("versions")
    return TrainingRecord(
        trainer=training.trainer,
        training=training.number,
        fold=fold,
        epochs=_whole(debug.get("num_epochs")),
        iterations=_whole(debug.get("num_iterations_per_epoch")),
        # nnU-Net adds the GPU's name where there is one
        device=_text(debug.get("gpu_name")) or _text(debug.get("device")),
        torch=_text(debug.get("torch_version")),
        versions=versions if isinstance(versions, dict) and marker.get("taken_over") is False else None,
    )


def _provenances(results: TaskResults) -> Iterator[dict[str, Any]]:
    for each in results.trainers:
        summaries = [*each.folds.values(), *(run.summary for run in (each.merged, each.tempered) if run is not None)]
        for summary in summaries:
            provenance = summary.get("provenance")
            if isinstance(provenance, dict):
                yield provenance


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (str, int)) and str(value).isdecimal() else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value not in ("", "None") else None
