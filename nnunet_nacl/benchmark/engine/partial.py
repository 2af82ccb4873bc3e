"""Comparing and reporting the part of a study that is evaluated, while the rest is still training."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping

from nnunet_nacl.benchmark.config.study import Study, TaskEntry
from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.benchmark.plan.places import Places, later
from nnunet_nacl.errors import InputError

Evaluated = dict[str, dict[int, list[int]]]
"""The folds that are evaluated, by trainer and by number of the training."""


def partial_report(study: Study, variables: Mapping[str, str]) -> Iterator[str]:
    """Merge, compare and report what is evaluated so far; give a line for each thing written or missing.

    All is written under ``results/<dataset>/so_far``, apart from what the workflow writes when it is complete. The trainings of a
    trainer are one run; one that has other folds than the first so far is left out.

    Raises:
        InputError: nothing is evaluated yet, or a command fails.
    """
    found_any = False
    for task in study.tasks:
        evaluated = _evaluated(study, task)
        if not evaluated:
            yield f"{task.dataset}: nothing is evaluated yet"
            continue
        found_any = True
        output = Places(study).output(task.dataset, "so_far")
        runs = [
            ",".join(_merged(study, task, trainer, number, folds, variables) for number, folds in _alike(trainings))
            for trainer, trainings in evaluated.items()
        ]
        yield from _missing(study, task, evaluated)
        if len(runs) > 1 and study.baseline in evaluated:
            _call(["nnunet-nacl", "compare", *runs, "-o", str(output)], variables)
            yield f"wrote {output}/comparison.csv"
        _call(["nnunet-nacl", "report", *runs, "-o", str(output / "report.html")], variables)
        yield f"wrote {output / 'report.html'}"
    if not found_any:
        raise InputError(
            f"{study.folder}: nothing is evaluated yet. `nnunet-nacl benchmark status` says how far it is."
        )


def _evaluated(study: Study, task: TaskEntry) -> Evaluated:
    """Return the evaluated folds of each trainer, the baseline's first."""
    places = Places(study)
    found: Evaluated = {}
    for job in all_jobs(study).values():
        if job.rule == "evaluate" and job.dataset == task.dataset and places.marker(job.name).is_file():
            assert job.trainer is not None
            assert job.fold is not None
            found.setdefault(job.trainer, {}).setdefault(job.training, []).append(job.fold)
    return dict(sorted(found.items(), key=lambda item: item[0] != study.baseline))


def _alike(trainings: Mapping[int, list[int]]) -> list[tuple[int, list[int]]]:
    """Return the first training, and those with the same folds: cases have to be the same to be averaged."""
    first = trainings[min(trainings)]
    return [(number, folds) for number, folds in sorted(trainings.items()) if folds == first]


def _missing(study: Study, task: TaskEntry, evaluated: Evaluated) -> Iterator[str]:
    for trainer in study.trainers:
        trainings = evaluated.get(trainer, {})
        joined = dict(_alike(trainings)) if trainings else {}
        for number in range(1, study.trainings + 1):
            name, there = ", ".join((trainer, *later(number))), len(trainings.get(number, ()))
            if there < len(study.folds):
                left_out = "; left out so far" if there and number not in joined else ""
                yield f"{task.dataset}: {name} has {there} of {len(study.folds)} folds{left_out}"


def _merged(
    study: Study, task: TaskEntry, trainer: str, number: int, folds: list[int], variables: Mapping[str, str]
) -> str:
    places = Places(study)
    results = [str(places.result(task.dataset, trainer, f"fold_{fold}", number)) for fold in folds]
    output = places.output(task.dataset, "so_far", places.run_name(trainer), *later(number))
    _call(["nnunet-nacl", "merge", *results, "-o", str(output)], variables)
    return str(output)


def _call(command: list[str], variables: Mapping[str, str]) -> None:
    finished = subprocess.run(command, env=dict(variables), capture_output=True, text=True, check=False)
    if finished.returncode:
        raise InputError(f"{' '.join(command[:2])} failed: {(finished.stderr or finished.stdout).strip()}")
