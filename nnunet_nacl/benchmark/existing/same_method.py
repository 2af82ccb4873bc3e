"""Whether all trainers of a study are recalibrated by the same method: a version may have another default than the one that began it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.errors import InputError
from nnunet_nacl.recalibration.guarantees import DEFAULT_METHOD
from nnunet_nacl.recalibration.temperature_file import load


def check_methods(places: Places, jobs: Iterable[Job]) -> None:
    """Raise InputError where trainers were recalibrated by other methods than others were, or will be.

    A study that is done, with the method of an older version throughout, is left alone.

    Args:
        places: of the study.
        jobs: all its jobs.
    """
    methods = {job: _method(places, job) for job in jobs if job.rule == "recalibrate"}
    if len(set(methods.values()) - {""}) < 2:
        return
    job, method = next((job, method) for job, method in methods.items() if method not in ("", DEFAULT_METHOD))
    raise InputError(
        f"{job.command[-1]}: was fitted by the method `{method}`, the default of an older version; this version recalibrates by "
        f"`{DEFAULT_METHOD}`. Remove {places.study.folder / 'markers' / 'recalibrate'} and run the study again, so that all its "
        "trainers are recalibrated alike. Nothing is trained again."
    )


def _method(places: Places, job: Job) -> str:
    """Return the method of a trainer's file, or that of this version where it is still to come; empty where the file cannot be read."""
    if not places.marker(job.name).is_file():
        return DEFAULT_METHOD
    try:
        return load(Path(job.command[-1])).method
    except InputError:
        return ""  # the step that reads it says what is wrong with it
