"""Roughly how long the jobs of a study take, so that nobody starts a month by mistake."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from nnunet_nacl.benchmark.config import Study
from nnunet_nacl.benchmark.jobs import Job
from nnunet_nacl.benchmark.msd import TASKS
from nnunet_nacl.benchmark.places import Places

EPOCHS, ITERATIONS, VALIDATION_ITERATIONS = 1000, 250, 50  # nnU-Net's
GPU_SECONDS_PER_EPOCH = 60.0
"""Assumed: nnU-Net sizes its networks so that an epoch takes about a minute on a data-centre GPU."""
CPU_SECONDS_PER_ITERATION = 0.33
"""Measured: features 8 to 64, batch of two patches of 32 x 40 x 32, two cores."""
CPU_PATCH = 32 * 40 * 32
VALIDATION_COST = 0.4  # of a training iteration
_PER_CASE = ("evaluate", "recalibrate", "temper", "evaluate_tempered")
HOURS = {"paper": {"plan": 0.5} | dict.fromkeys(_PER_CASE, 0.2), "cpu": {"plan": 0.05} | dict.fromkeys(_PER_CASE, 0.02)}
HOURS_PER_GIGABYTE = 0.03  # download at 10 MB/s


@dataclass(frozen=True)
class Pace:
    """Seconds per epoch of nnU-Net's 250 + 50 iterations, and where that number comes from."""

    seconds: float
    source: str


def pace(study: Study, jobs: Iterable[Job]) -> Pace:
    """Return how long an epoch takes: as configured, as logged by trainings of this study, or assumed."""
    if study.hours_per_epoch is not None:
        return Pace(study.hours_per_epoch * 3600, "`execution.hours_per_epoch`")
    logged = [seconds for job in jobs if job.rule == "train" for seconds in _logged(study, job)]
    if logged:
        return Pace(statistics.median(logged), f"median of {len(logged)} epochs of this study")
    if study.device != "cpu":
        return Pace(GPU_SECONDS_PER_EPOCH, "assumed for a data-centre GPU")
    patch = prod(study.patch_size) if study.patch_size is not None else 40**3
    seconds = CPU_SECONDS_PER_ITERATION * patch / CPU_PATCH * (ITERATIONS + VALIDATION_COST * VALIDATION_ITERATIONS)
    return Pace(seconds, "assumed for two cores")


def hours(study: Study, job: Job, of: Pace) -> float:
    """Return the hours that a job takes, roughly."""
    if job.rule == "train":
        assert job.trainer is not None
        return epochs(job.trainer) * _relative_length(job.trainer) * of.seconds / 3600 + 0.05
    if job.rule == "import":
        task = next(task for task in study.tasks if task.dataset == job.dataset)
        there = task.source is not None or task.phantom is not None
        return 0.01 if there else 0.01 + HOURS_PER_GIGABYTE * TASKS[task.name].gigabytes
    return HOURS[study.scale].get(job.rule, 0.01)


def epochs(trainer: str) -> int:
    """Return the number of epochs that a trainer's name gives, or nnU-Net's 1000."""
    found = re.search(r"_([1-9]\d*)epochs?(?=_|$)", trainer)
    return int(found[1]) if found else EPOCHS


def iterations_per_epoch(trainer: str) -> int:
    """Return the training iterations of an epoch that a trainer's name gives, or nnU-Net's 250."""
    found = re.search(r"_([1-9]\d*)iterations(?=_|$)", trainer)
    return int(found[1]) if found else ITERATIONS


def _relative_length(trainer: str) -> float:
    """Return the length of a trainer's epoch as a share of nnU-Net's."""
    validation = re.search(r"_([1-9]\d*)valiterations", trainer)
    counted_validation = int(validation[1]) if validation else VALIDATION_ITERATIONS
    weighted = iterations_per_epoch(trainer) + VALIDATION_COST * counted_validation
    return weighted / (ITERATIONS + VALIDATION_COST * VALIDATION_ITERATIONS)


def _logged(study: Study, job: Job) -> list[float]:
    """Return the seconds of each logged epoch of a fold, scaled to nnU-Net's length."""
    assert job.trainer is not None
    assert job.fold is not None
    folder = Places(study).fold(job.dataset, job.trainer, job.fold)
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("training_log_*.txt")))
    found = [float(seconds) for text in texts for seconds in re.findall(r"Epoch time: ([\d.]+) s", text)]
    return [seconds / _relative_length(job.trainer) for seconds in found]
