"""Running one job: its lock, its log, its state, and the marker that says how it was done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.engine import locks
from nnunet_nacl.benchmark.engine.child import forwarding, group_ends_with_parent, signalled_with_parent
from nnunet_nacl.benchmark.existing.finished import is_finished, set_broken_checkpoints_aside
from nnunet_nacl.benchmark.existing.same_data import check_same, data_set
from nnunet_nacl.benchmark.existing.step_records import record_preprocessed, record_training
from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.data_identity import digest
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.files.whole_file import replacing


def run_step(study: Study, job: Job, variables: Mapping[str, str]) -> int:
    """Run a job's command unless its result is there, and write its marker; return the exit status.

    Only one process at a time works on a job: another waits, and finds it finished. The state file says running, done,
    failed or, where this process was told to end (SIGTERM, Ctrl-C), interrupted; where it was killed it stays at running, while
    the lock beside it is free.

    Args:
        study: the study.
        job: what to run.
        variables: environment of the command.
    """
    places = Places(study)
    log_path = places.log(job.name)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a", encoding="utf-8") as log, ExitStack() as stack:
        say = _Teller(log)
        lock = places.state(job.name).with_suffix(".lock")
        stack.enter_context(locks.locked(lock, lambda: say(f"another process works on {job.name}; waiting for it")))
        started = _now()
        _write(places.state(job.name), {"state": "running", "started": started, **_here()})
        try:
            taken_over = is_finished(study, job)
            status, told = (0, []) if taken_over else _run(study, job, dict(variables), say, stack)
        except InputError as error:
            say(f"error: {error}")
            taken_over, status, told = False, 1, []
        if status == 0 and not taken_over:
            status = _look_at_result(study, job, say)
        times = {"started": started, "ended": _now()}
        if status:
            ended = "interrupted" if told else "failed"
            _write(places.state(job.name), {"state": ended, "status": status, **times, **_here()})
            return status
        say("its result exists already and is used" if taken_over else "done")
        _write(places.state(job.name), {"state": "done", **times, **_here()})
        _write(places.marker(job.name), _marker(study, job, taken_over, times))
    return 0


class _Teller:
    """Writes a line with the time into the log."""

    def __init__(self, log: IO[str]) -> None:
        self.log = log

    def __call__(self, text: str) -> None:
        print(f"[{_now()}] {text}", file=self.log, flush=True)


def _run(study: Study, job: Job, variables: dict[str, str], say: _Teller, stack: ExitStack) -> tuple[int, list[int]]:
    """Run the job's command; return its exit status and the signals that this process was sent meanwhile."""
    if job.rule == "train":
        assert job.trainer is not None
        assert job.fold is not None
        for line in set_broken_checkpoints_aside(Places(study).fold(job.dataset, job.trainer, job.fold, job.training)):
            say(line)
        record_training(study, job)
        _take_gpus(study, variables, say, stack)
    if job.rule == "temper":
        # it wants an empty folder, and what an interrupted one left would be mixed up; the softmax files are copies
        shutil.rmtree(job.command[-1], ignore_errors=True)
    program = shutil.which(job.command[0], path=variables["PATH"])
    if program is None:
        raise InputError(f"{job.command[0]} is not on PATH; is nnU-Net installed?")
    for folder in (Places(study).raw, Places(study).preprocessed, Places(study).results):
        folder.mkdir(parents=True, exist_ok=True)
    say(job.line)
    status, told = _call([program, *job.command[1:]], variables | dict(job.variables), say.log)
    if status:
        say(f"ended with status {status}" + (f" after {signal.Signals(told[0]).name}" if told else ""))
    return status, told


def _look_at_result(study: Study, job: Job, say: _Teller) -> int:
    """Return 1, and say why, where a command ended well but did not leave what it should; else write down what it is of."""
    try:
        if job.rule == "train" and not is_finished(study, job):
            say(
                "error: the command ended without an error, but the fold is not complete (checkpoint, summary or softmax files)"
            )
            return 1
        if job.rule in ("import", "plan", "cpu_plans", "split"):
            # nnU-Net leaves a label file in gt_segmentations alone that is newer than the raw one, whatever it holds
            check_same(study, job)
    except InputError as error:
        say(f"error: {error}")
        return 1
    if job.rule == "plan":
        record_preprocessed(study, job)
    return 0


def _take_gpus(study: Study, variables: dict[str, str], say: _Teller, stack: ExitStack) -> None:
    """On this machine, choose GPUs that no other training uses; a cluster's scheduler has chosen them already."""
    if study.device != "cuda" or study.profile != "local":
        return
    candidates = list(study.gpus) if study.gpus is not None else locks.visible_gpus()
    if not candidates:
        return  # nnU-Net says what it thinks of a machine without a GPU
    if len(candidates) < study.num_gpus:
        raise InputError(f"Expected {study.num_gpus} GPUs (`num_gpus`), but there are only {candidates}.")
    chosen = stack.enter_context(
        locks.gpus(candidates, study.num_gpus, lambda: say(f"waiting for {study.num_gpus} of the GPUs {candidates}"))
    )
    variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, chosen))
    say(f"on GPU {variables['CUDA_VISIBLE_DEVICES']}")


def _call(command: list[str], variables: dict[str, str], log: IO[str]) -> tuple[int, list[int]]:
    """Run a command in a process group of its own, which ends with this process; return its exit status and what it was told.

    nnU-Net's worker processes outlive a killed nnU-Net or a killed step otherwise.
    """
    process = subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        start_new_session=True, preexec_fn=signalled_with_parent(signal.SIGKILL),
    )  # fmt: skip
    with forwarding(process, (signal.SIGTERM, signal.SIGINT), os.killpg) as told, group_ends_with_parent(process.pid):
        status = process.wait()
    _kill_group(process.pid)
    return status if status >= 0 else 128 - status, told


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGTERM)
        time.sleep(0.5)
        os.killpg(group, signal.SIGKILL)


def _marker(study: Study, job: Job, taken_over: bool, times: dict[str, str]) -> dict[str, Any]:
    places = Places(study)
    cases = data_set(study, job.dataset)
    return {
        "job": job.name,
        "data": None if cases is None else digest(cases),
        "command": job.line,
        "taken_over": taken_over,
        "scale": study.scale,
        "shortened": study.shortened,
        "study": study.name,
        **times,
        **_here(),
        "log": str(places.log(job.name).relative_to(study.folder)),
        "versions": provenance({})["versions"],
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def _here() -> dict[str, Any]:
    here: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
    if "SLURM_JOB_ID" in os.environ:
        here["slurm_job"] = os.environ["SLURM_JOB_ID"]
    return here


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
