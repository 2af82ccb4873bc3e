"""How far a study is: what is done, running, failed, interrupted or waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.engine import locks, slurm
from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.files.json_files import mapping_if_any

State = Literal["done", "running", "failed", "interrupted", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "failed", "interrupted", "waiting")


@dataclass(frozen=True)
class JobStatus:
    """A job, its state, and where its log is."""

    job: Job
    state: State
    log: Path


def job_states(study: Study) -> list[JobStatus]:
    """Return the status of each job of a study."""
    places = Places(study)
    queued = cache(slurm.queued_jobs)  # asked once, and only if a job seems to run on another node
    return [JobStatus(job, _state(places, job.name, queued), places.log(job.name)) for job in all_jobs(study).values()]


def tail(log: Path, lines: int) -> str:
    """Return the last lines of a log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _state(places: Places, name: str, queued: Callable[[], set[str] | None]) -> State:
    if places.marker(name).is_file():
        return "done"
    last = mapping_if_any(places.state(name))
    if not last:
        return "waiting"
    if last.get("state") == "running":
        return "running" if _runs(last, places.state(name).with_suffix(".lock"), queued) else "interrupted"
    # as a step left it that ended by itself: failed or, told to end, interrupted
    return next(
        (state for state in STATES if state == last.get("state") and state in ("failed", "interrupted")), "waiting"
    )


def _runs(last: dict[str, Any], lock: Path, queued: Callable[[], set[str] | None]) -> bool:
    """Return whether a job that was last heard of as running still does; of another machine's, only SLURM can tell."""
    if last.get("host") == socket.gethostname():
        return locks.is_locked(lock)
    numbers = queued() if "slurm_job" in last else None
    return numbers is None or last["slurm_job"] in numbers
