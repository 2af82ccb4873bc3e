"""Roughly how long the jobs of a study take, so that nobody starts a month by mistake.

What a step took in this study is what it takes again. Before that it is a range: what every step costs that starts Python and PyTorch, and
what grows with the data, counted in values (voxels times classes or channels). The figures were measured on two idle cores, with the
phantom of ``benchmark init`` and with volumes of clinical size; the upper ones are for slower machines and disks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.duration.data_size import DataSize, data_size
from nnunet_nacl.benchmark.duration.pace import CPU_PATCH, VALIDATION_COST, Pace, epochs, pace
from nnunet_nacl.benchmark.duration.span import Span
from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.msd import TASKS
from nnunet_nacl.files.json_files import mapping_if_any

START = Span(3, 12)
"""Seconds of a step that has next to nothing to do: two starts of Python, most of it PyTorch's import."""
PER_VALUE = {
    "import": Span(1e-8, 1e-7),
    "plan": Span(1e-7, 2e-6),
    "evaluate": Span(2e-8, 2e-7),
    "evaluate_tempered": Span(2e-8, 2e-7),
    "recalibrate": Span(5e-8, 1e-6),
    "temper": Span(5e-8, 5e-7),
}
"""Seconds per voxel and class (or channel), of one process."""
TRAINING_START = Span(8, 40)
SECONDS_PER_GIGABYTE = Span(10, 200)  # of a download
_OF_A_FOLD = ("evaluate", "evaluate_tempered", "temper")
_OF_IMAGES = ("import", "plan")
MIRRORINGS, WINDOWS = 8, Span(1, 8)  # nnU-Net's prediction: axes to mirror; windows that a voxel lies in


@dataclass(frozen=True)
class Basis:
    """What the estimate of a task's jobs rests on."""

    pace: Pace
    size: DataSize
    measured: Mapping[str, Span]


def basis(study: Study, jobs: Iterable[Job]) -> dict[str, Basis]:
    """Return what estimates rest on, by data set."""
    of_rule: dict[tuple[str, str], list[float]] = {}
    for job in jobs:
        seconds = _took(study, job)
        if seconds is not None:
            of_rule.setdefault((job.dataset, job.rule), []).append(seconds)
    return {
        task.dataset: Basis(
            pace(study, task), data_size(study, task),
            {rule: Span.of(times) for (dataset, rule), times in of_rule.items() if dataset == task.dataset},
        )
        for task in study.tasks
    }  # fmt: skip


def duration(study: Study, job: Job, of: Basis) -> Span:
    """Return how many seconds a job takes."""
    if job.rule in of.measured:
        return of.measured[job.rule]
    if job.rule == "train":
        assert job.trainer is not None
        return TRAINING_START + of.pace.epoch(job.trainer) * epochs(job.trainer) + _validation(study, of)
    if job.rule not in PER_VALUE:
        return START
    values = of.size.cases * of.size.voxels * (of.size.channels if job.rule in _OF_IMAGES else of.size.classes)
    # a fold of nnU-Net's split validates a fifth of the cases; a fit reads those of all folds
    share = 0.2 if job.rule in _OF_A_FOLD else 0.2 * len(study.folds) if job.rule == "recalibrate" else 1
    seconds = START + values * PER_VALUE[job.rule] * (share / study.step_processes)
    return seconds + _download(study, job) if job.rule == "import" else seconds


def _validation(study: Study, of: Basis) -> Span:
    """Return the seconds of nnU-Net's prediction of a fold's validation cases."""
    patches = of.size.cases * of.size.voxels * (0.2 / (CPU_PATCH if study.device == "cpu" else 128**3))
    forward = of.pace.iteration * (VALIDATION_COST / 2)  # of one of the two patches in a batch
    return patches * WINDOWS * forward * MIRRORINGS


def _download(study: Study, job: Job) -> Span:
    task = study.task(job.dataset)
    here = (
        task.source is not None
        or task.phantom is not None
        or (Places(study).raw / ".msd" / f"{task.name}.tar").is_file()
    )
    return Span(0, 0) if here else SECONDS_PER_GIGABYTE * TASKS[task.name].gigabytes


def _took(study: Study, job: Job) -> float | None:
    """Return the seconds that a job took in this study; None where it is not done or was taken over."""
    marker = mapping_if_any(Places(study).marker(job.name))
    if marker.get("taken_over") is not False:
        return None
    try:
        return (datetime.fromisoformat(marker["ended"]) - datetime.fromisoformat(marker["started"])).total_seconds()
    except (LookupError, TypeError, ValueError):
        return None
