"""Comparing and reporting the part of a study that is evaluated, while the rest is still training."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from nnunet_nacl.benchmark.config import Study, TaskEntry
from nnunet_nacl.benchmark.jobs import all_jobs
from nnunet_nacl.benchmark.places import Places
from nnunet_nacl.errors import InputError


def partial_report(study: Study, variables: Mapping[str, str]) -> Iterator[str]:
    """Merge, compare and report what is evaluated so far; give a line for each thing written or missing.

    All is written under ``results/<dataset>/so_far``, apart from what the workflow writes when it is complete.

    Raises:
        InputError: nothing is evaluated yet, or a command fails.
    """
    places = Places(study)
    found_any = False
    for task in study.tasks:
        evaluated = _evaluated(study, task)
        if not evaluated:
            yield f"{task.dataset}: nothing is evaluated yet"
            continue
        found_any = True
        output = places.output(task.dataset, "so_far")
        runs = [_merged(output / places.run_name(trainer), folds, variables) for trainer, folds in evaluated.items()]
        for trainer in study.trainers:
            there = len(evaluated.get(trainer, ()))
            if there < len(study.folds):
                yield f"{task.dataset}: {trainer} has {there} of {len(study.folds)} folds"
        if len(runs) > 1 and study.baseline in evaluated:
            _call(["nnunet-nacl", "compare", *runs, "-o", str(output)], variables)
            yield f"wrote {output}/comparison.csv"
        _call(["nnunet-nacl", "report", *runs, "-o", str(output / "report.html")], variables)
        yield f"wrote {output / 'report.html'}"
    if not found_any:
        raise InputError(
            f"{study.folder}: nothing is evaluated yet. `nnunet-nacl benchmark status` says how far it is."
        )


def _evaluated(study: Study, task: TaskEntry) -> dict[str, list[Path]]:
    """Return the evaluated folds of each trainer, the baseline's first."""
    places = Places(study)
    found: dict[str, list[Path]] = {}
    for job in all_jobs(study).values():
        if job.rule == "evaluate" and job.dataset == task.dataset and places.marker(job.name).is_file():
            assert job.trainer is not None
            result = places.output(job.dataset, places.run_name(job.trainer), f"fold_{job.fold}")
            found.setdefault(job.trainer, []).append(result)
    return dict(sorted(found.items(), key=lambda item: item[0] != study.baseline))


def _merged(output: Path, folds: list[Path], variables: Mapping[str, str]) -> str:
    _call(["nnunet-nacl", "merge", *map(str, folds), "-o", str(output)], variables)
    return str(output)


def _call(command: list[str], variables: Mapping[str, str]) -> None:
    finished = subprocess.run(command, env=dict(variables), capture_output=True, text=True, check=False)
    if finished.returncode:
        raise InputError(f"{' '.join(command[:2])} failed: {(finished.stderr or finished.stdout).strip()}")
