"""The tables that ``nnunet-nacl benchmark`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from nnunet_nacl.report.console import plain_table

if TYPE_CHECKING:
    from nnunet_nacl.benchmark.config.study import Study
    from nnunet_nacl.benchmark.duration.estimate import Basis
    from nnunet_nacl.benchmark.engine.status import JobStatus

RULE_NAMES = {"import_task": "import"}
"""Rules whose name in the Snakefile is another, since a Python keyword cannot be one."""


def plan_table(study: Study, planned: dict[str, int]) -> tuple[Table, list[str]]:
    """Return a table of the jobs that would run with a rough time each, and notes on it.

    Args:
        study: the study.
        planned: jobs per rule of Snakemake's dry run.
    """
    from nnunet_nacl.benchmark.duration.estimate import basis, duration
    from nnunet_nacl.benchmark.duration.span import Span
    from nnunet_nacl.benchmark.existing.finished import is_finished
    from nnunet_nacl.benchmark.plan.jobs import all_jobs
    from nnunet_nacl.benchmark.plan.places import Places

    places = Places(study)
    jobs = list(all_jobs(study).values())
    of = basis(study, jobs)
    to_run = {RULE_NAMES.get(rule, rule): count for rule, count in planned.items()}
    table = plain_table(study.name)
    for heading in ("step", "jobs", "to run", "there already", "time, roughly"):
        table.add_column(heading, justify="left" if heading in ("step", "time, roughly") else "right")
    total = Span(0, 0)
    for rule in dict.fromkeys(job.rule for job in jobs):
        of_rule = [job for job in jobs if job.rule == rule]
        there = [job for job in of_rule if not places.marker(job.name).is_file() and is_finished(study, job)]
        undone = [job for job in of_rule if not places.marker(job.name).is_file() and job not in there]
        time = sum((duration(study, job, of[job.dataset]) for job in undone), Span(0, 0))
        total += time
        table.add_row(
            rule, str(len(of_rule)), str(to_run.get(rule, 0)), str(len(there)), time.in_time() if undone else ""
        )
    table.add_section()
    table.add_row("all", str(len(jobs)), str(sum(to_run.values())), "", total.in_time())
    return table, _notes(study, of)


def _notes(study: Study, of: Mapping[str, Basis]) -> list[str]:
    notes = ["Time: one job after another, on a machine with nothing else to do. 'There already' is taken over."]
    for task in study.tasks:
        held = of[task.dataset]
        cases, voxels = held.size.cases.in_numbers(), held.size.voxels.in_numbers()
        measured = f" As in this study so far: {', '.join(held.measured)}." if held.measured else ""
        epoch = held.pace.epoch(study.baseline).in_time()
        notes.append(
            f"{task.dataset}: {epoch} an epoch ({held.pace.source}), {cases} cases of {voxels} voxels ({held.size.source}).{measured}"
        )
    if study.shortened:
        notes.append(f"Shortened: scale {study.scale}, plans {study.plans}, baseline {study.baseline}.")
    return notes


def status_table(states: Sequence[JobStatus]) -> Table:
    """Return a table with the number of jobs of each step in each state."""
    from nnunet_nacl.benchmark.engine.status import STATES

    table = plain_table()
    for heading in ("step", *STATES):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for rule in dict.fromkeys(one.job.rule for one in states):
        of_rule = [one.state for one in states if one.job.rule == rule]
        table.add_row(rule, *(str(of_rule.count(state) or "") for state in STATES))
    table.add_section()
    every = [one.state for one in states]
    table.add_row("all", *(str(every.count(state) or "") for state in STATES))
    return table
