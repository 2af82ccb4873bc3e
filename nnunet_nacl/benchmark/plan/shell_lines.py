"""The jobs of a study as lines for a shell, for SLURM or for LSF, for those who use no workflow engine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Literal

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.plan.requests import cpus, gpus, memory_mb, minutes

Form = Literal["shell", "sbatch", "bsub"]
FORMS: tuple[Form, ...] = ("shell", "sbatch", "bsub")
VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer")


def lines(study: Study, jobs: Iterable[Job], variables: dict[str, str], form: Form) -> Iterator[str]:
    """Return a script: the variables, then each job after those it needs.

    Args:
        study: the study.
        jobs: in the order of :func:`all_jobs`.
        variables: of the environment; nnU-Net's are written down.
        form: ``shell`` runs one after another; ``sbatch`` and ``bsub`` hand them to the scheduler with their dependencies.
    """
    yield "#!/usr/bin/env bash"
    # of a scheduler's form too: a job whose forerunner was refused would have nothing to wait for
    yield "set -e"
    if study.shortened:
        yield f"# shortened: scale {study.scale}, {', '.join(study.trainers)}"
    names = [*VARIABLES, *sorted(name for name in variables if name.startswith("nnUNet_") and name not in VARIABLES)]
    for name in names:
        yield f"export {name}={shlex.quote(variables[name])}"
    yield f"mkdir -p {' '.join(f'${name}' for name in VARIABLES[:3])} {shlex.quote(str(study.folder / 'logs'))}"
    numbered = {job.name: number for number, job in enumerate(jobs, start=1)}
    for job in jobs:
        yield _line(study, job, numbered, form)


def _line(study: Study, job: Job, numbered: dict[str, int], form: Form) -> str:
    command = job.line
    if form == "shell":
        return command
    gpu_count = gpus(study, job.rule)
    log = Places(study).study.folder / "logs" / f"{job.name.replace('/', '-')}.log"
    number = numbered[job.name]
    if form == "sbatch":
        after = ":".join(f"$job{numbered[name]}" for name in job.needs)
        options = [
            "--parsable", f"--job-name={job.name}", f"--output={shlex.quote(str(log))}",
            f"--cpus-per-task={cpus(study, job.rule)}", f"--mem={memory_mb(study, job.rule)}M", f"--time={minutes(job.rule)}",
            *([f"--gres=gpu:{gpu_count}"] if gpu_count else []),
            # what waits for a job that failed is taken out of the queue instead of waiting for ever
            *([f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []),
        ]  # fmt: skip
        return f"job{number}=$(sbatch {' '.join(options)} --wrap={shlex.quote(command)})"
    # LSF knows jobs by name; the study's makes it the user's own. The unit of memory is the cluster's, so there is none here
    name = f"{study.name}.{job.name}"
    after = " && ".join(f'done("{study.name}.{needed}")' for needed in job.needs)
    options = [
        f"-J {name}", f"-o {shlex.quote(str(log))}",
        f"-n {cpus(study, job.rule)}", "-R 'span[hosts=1]'", f"-W {minutes(job.rule)}",
        *([f"-gpu num={gpu_count}"] if gpu_count else []),
        *([f"-w {shlex.quote(after)} -ti"] if after else []),
    ]  # fmt: skip
    return f"bsub {' '.join(options)} {shlex.quote(command)}"
