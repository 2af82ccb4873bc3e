"""How far a study is: what is done, running, failed, interrupted or waiting."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nnunet_nacl.benchmark import locks
from nnunet_nacl.benchmark.config import Study
from nnunet_nacl.benchmark.jobs import Job, all_jobs
from nnunet_nacl.benchmark.places import Places

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
    return [JobStatus(job, _state(places, job.name), places.log(job.name)) for job in all_jobs(study).values()]


def tail(log: Path, lines: int) -> str:
    """Return the last lines of a log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _state(places: Places, name: str) -> State:
    if places.marker(name).is_file():
        return "done"
    last = _read(places.state(name))
    if last is None:
        return "waiting"
    if last.get("state") == "running":
        # locks are seen on the machine that holds them
        elsewhere = last.get("host") != socket.gethostname()
        return "running" if elsewhere or locks.is_locked(places.state(name).with_suffix(".lock")) else "interrupted"
    return "failed" if last.get("state") == "failed" else "waiting"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content
