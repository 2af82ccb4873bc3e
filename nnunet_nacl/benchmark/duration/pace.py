"""How long an epoch of a training takes: as configured, as nnU-Net logged it, or assumed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from nnunet_nacl.benchmark.config.study import Study, TaskEntry
from nnunet_nacl.benchmark.duration.span import Span
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.files.json_files import mapping_if_any

EPOCHS, ITERATIONS, VALIDATION_ITERATIONS = 1000, 250, 50  # nnU-Net's
VALIDATION_COST = 0.4  # of a training iteration
GPU_ITERATION = Span(0.06, 0.4)
"""Seconds, assumed: 0.066 were measured on an H200 (batch 2, 128^3, nnU-Net's usual 3D network); older cards take several times that."""
CPU_ITERATION = Span(0.33, 0.66)
"""Seconds for 51200 voxels a patch. The first was measured: features 8 to 64, batch of two patches of 32 x 40 x 32, two idle cores."""
CPU_PATCH = 32 * 40 * 32
LARGEST_CPU_PATCH = 40**3


@dataclass(frozen=True)
class Pace:
    """Seconds per iteration of a training, and where that number comes from."""

    iteration: Span
    source: str

    def epoch(self, trainer: str = "") -> Span:
        """Return the seconds of an epoch of a trainer, by the length in its name; default: nnU-Net's."""
        return self.iteration * _weighted_iterations(trainer)


def pace(study: Study, task: TaskEntry) -> Pace:
    """Return how fast trainings on a task are: as configured, as logged by any training on it with these plans, or assumed."""
    if study.hours_per_epoch is not None:
        seconds = study.hours_per_epoch * 3600 / _weighted_iterations("")
        return Pace(Span(seconds, seconds), "`execution.hours_per_epoch`")
    logged = _logged(study, task.dataset)
    if logged:
        # a first epoch that compiles, or one beside other work, is no epoch to count with
        low, high = np.quantile(logged, [0.25, 0.75])
        return Pace(Span(float(low), float(high)), f"half of {len(logged)} epochs logged on this task with these plans")
    if study.device != "cpu":
        return Pace(GPU_ITERATION, f"assumed for `device: {study.device}`")
    voxels = _patch(study, task)
    return Pace(CPU_ITERATION * voxels * (1 / CPU_PATCH), "assumed for two cores")


def epochs(trainer: str) -> int:
    """Return the number of epochs that a trainer's name gives, or nnU-Net's 1000."""
    found = re.search(r"_([1-9]\d*)epochs?(?=_|$)", trainer)
    return int(found[1]) if found else EPOCHS


def iterations_per_epoch(trainer: str) -> int:
    """Return the training iterations of an epoch that a trainer's name gives, or nnU-Net's 250."""
    found = re.search(r"_([1-9]\d*)iterations(?=_|$)", trainer)
    return int(found[1]) if found else ITERATIONS


def _weighted_iterations(trainer: str) -> float:
    """Return the length of a trainer's epoch in training iterations; those of validation are cheaper."""
    validation = re.search(r"_([1-9]\d*)valiterations", trainer)
    return iterations_per_epoch(trainer) + VALIDATION_COST * (
        int(validation[1]) if validation else VALIDATION_ITERATIONS
    )


def _logged(study: Study, dataset: str) -> list[float]:
    """Return the seconds per iteration of each epoch that was logged for a data set with the study's plans."""
    roots = [Places(study).results_of(training) for training in range(1, study.trainings + 1)]
    runs = [run for root in roots for run in (root / dataset).glob(f"*__{study.plans}__{study.configuration}")]
    logs = [(run.name.split("__")[0], log) for run in runs for log in sorted(run.glob("fold_*/training_log_*.txt"))]
    return [
        float(seconds) / _weighted_iterations(trainer)
        for trainer, log in logs
        for seconds in re.findall(r"Epoch time: (\d+(?:\.\d+)?) s", _text(log))
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _patch(study: Study, task: TaskEntry) -> Span:
    """Return the voxels of a patch of the small plans."""
    preprocessed = Places(study).preprocessed / task.dataset
    for name in (study.plans, study.planned):
        configurations = mapping_if_any(preprocessed / f"{name}.json").get("configurations")
        of_it = configurations.get(study.configuration) if isinstance(configurations, dict) else None
        sides = of_it.get("patch_size") if isinstance(of_it, dict) else None
        if isinstance(sides, list) and sides and all(type(side) is int and side > 0 for side in sides):
            voxels = float(prod(min(side, 40) if name == study.planned else side for side in sides))
            return Span(voxels, voxels)
    if study.patch_size is not None:
        voxels = float(prod(study.patch_size))
        return Span(voxels, voxels)
    largest = float(LARGEST_CPU_PATCH if task.phantom is None else min(task.phantom[1], 40) ** 3)
    return Span(largest / 4 if task.phantom is None else largest, largest)
