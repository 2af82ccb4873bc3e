"""``nnunet-nacl benchmark``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_nacl.commands.arguments import Commands, positive

if TYPE_CHECKING:
    from nnunet_nacl.benchmark.config.study import Study


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "run a whole study: tasks x trainers x folds, from data to report"
    parser = commands.add_parser(
        "benchmark", help=text, description=f"{text}. See the page Benchmark of the documentation."
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_init(actions)
    _add(actions, "plan", plan, "print what would run, and roughly for how long")
    run_parser = _add(actions, "run", run, "run what is not done yet")
    run_parser.add_argument("snakemake", nargs="*", metavar="-- OPTION", help="further options for Snakemake")
    status_parser = _add(actions, "status", status, "what is done, running and failed, and why")
    status_parser.add_argument(
        "--lines",
        type=positive,
        default=10,
        help="number of lines to print of a failed job's log (default: %(default)s)",
    )
    _add(actions, "report", report, "compare the trainers that are evaluated so far, and write their report")
    results_parser = _add(
        actions,
        "results",
        results,
        "write a Markdown page with figures for each evaluated task (run by the workflow at the end)",
    )
    results_parser.add_argument("-o", type=Path, default=None, metavar="FOLDER",
                                help="folder of the pages (default: pages/ in the study's folder)")  # fmt: skip
    results_parser.add_argument(
        "--task", metavar="NAME", default=None, help="write only the page of this task (default: all)"
    )
    lines_parser = _add(actions, "commands", print_commands, "print the commands, to run them without Snakemake")
    lines_parser.add_argument(
        "--form", default="shell", choices=("shell", "sbatch", "bsub"), help="kind of script (default: %(default)s)"
    )
    # what the workflow calls
    step_parser = _add(actions, "step", step, "run one job (called by the workflow)")
    step_parser.add_argument("job", help="e.g. train/Dataset004_Hippocampus/nnUNetTrainerNACL/fold_0")
    _add_split(actions)
    _add_curves(actions)


def _add(actions: Commands, name: str, action: object, text: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("study", type=Path, nargs="?" if name != "step" else None, default=Path(), metavar="FOLDER",
                        help="folder with benchmark.yaml, or that file" + ("" if name == "step" else " (default: the current folder)"))  # fmt: skip
    parser.set_defaults(run=action)
    return parser


def _add_init(actions: Commands) -> None:
    text = "write a configuration to edit"
    parser = actions.add_parser("init", help=text, description=text)
    parser.add_argument("folder", type=Path, help="folder of the study; created if missing")
    parser.add_argument(
        "--scale",
        default="paper",
        choices=("paper", "cpu"),
        help="paper: nnU-Net's plans and length, on a GPU; cpu: small plans and short trainings (default: %(default)s)",
    )
    parser.add_argument(
        "--tasks",
        default="msd",
        choices=("msd", "phantom"),
        help="tasks to write into the configuration (default: %(default)s)",
    )
    parser.add_argument(
        "--profile", default="local", choices=("local", "slurm", "lsf"), help="where jobs run (default: %(default)s)"
    )
    parser.set_defaults(run=init)


def _add_split(actions: Commands) -> None:
    text = "write nnU-Net's five-fold split before the first training (called by the workflow)"
    parser = actions.add_parser("split", help=text, description=text)
    parser.add_argument("dataset", help="data set name or ID")
    parser.add_argument("-c", required=True, help="configuration")
    parser.add_argument("-p", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.set_defaults(run=split)


def _add_curves(actions: Commands) -> None:
    text = "draw learning curves of trained folds, and say which trainings are not long enough (called by the workflow)"
    parser = actions.add_parser("curves", help=text, description=text)
    parser.add_argument("folds", type=Path, nargs="+", metavar="FOLD",
                        help="nnU-Net's folder <trainer>__<plans>__<configuration>/fold_X")  # fmt: skip
    parser.add_argument(
        "-o", type=Path, default=Path(), metavar="FOLDER", help="output folder (default: the current folder)"
    )
    parser.set_defaults(run=curves)


def init(parsed: argparse.Namespace) -> int:
    """Write a configuration."""
    from nnunet_nacl.benchmark.config.template import write_template

    for path in write_template(parsed.folder, parsed.scale, parsed.tasks, parsed.profile):
        print(f"wrote {path}")
    print(f"edit it, then: nnunet-nacl benchmark plan {parsed.folder}")
    return 0


def plan(parsed: argparse.Namespace) -> int:
    """Print what would run."""
    from nnunet_nacl.benchmark.engine.launch import planned_jobs
    from nnunet_nacl.benchmark.existing.same_data import check_study
    from nnunet_nacl.commands.benchmark_tables import plan_table
    from nnunet_nacl.report.console import table_console

    study = _load(parsed.study)
    _check_trainers(study)
    check_study(study)
    table, notes = plan_table(study, planned_jobs(study, _environment(study)))
    table_console().print(table)
    for note in notes:
        print(note)
    return 0


def run(parsed: argparse.Namespace) -> int:
    """Run the workflow."""
    from nnunet_nacl.benchmark.engine.launch import run_workflow
    from nnunet_nacl.benchmark.engine.status import job_states
    from nnunet_nacl.benchmark.existing.same_data import check_study

    study = _load(parsed.study)
    _check_trainers(study)
    check_study(study)
    status = run_workflow(study, _environment(study), parsed.snakemake)
    states = [job.state for job in job_states(study)]
    print(f"{states.count('done')} of {len(states)} jobs are done.", end=" ")
    print("" if status == 0 else f"nnunet-nacl benchmark status {parsed.study} says what is missing.")
    return 1 if status else 0


def status(parsed: argparse.Namespace) -> int:
    """Print the state of the jobs; exit status 1 if one has failed."""
    from nnunet_nacl.benchmark.engine.status import job_states, tail
    from nnunet_nacl.commands.benchmark_tables import status_table
    from nnunet_nacl.report.console import table_console

    states = job_states(_load(parsed.study))
    table_console().print(status_table(states))
    for one in states:
        if one.state in ("running", "interrupted", "failed"):
            print(f"{one.state}: {one.job.name}\n    {one.log}")
        if one.state == "failed":
            print("".join(f"    | {line}\n" for line in tail(one.log, parsed.lines).splitlines()), end="")
    return int(any(one.state == "failed" for one in states))


def report(parsed: argparse.Namespace) -> int:
    """Compare and report what is evaluated so far."""
    from nnunet_nacl.benchmark.engine.partial import partial_report

    study = _load(parsed.study)
    for line in partial_report(study, _environment(study)):
        print(line)
    return 0


def results(parsed: argparse.Namespace) -> int:
    """Write the pages of the tasks that are evaluated."""
    from nnunet_nacl.benchmark.plan.places import Places
    from nnunet_nacl.results_page.write import configuration_file, write_pages

    study = _load(parsed.study)
    output = parsed.o if parsed.o is not None else Places(study).pages
    tasks = study.tasks if parsed.task is None else (study.task(parsed.task),)
    for line in write_pages(study, tasks, configuration_file(parsed.study), output.resolve()):
        print(line)
    return 0


def print_commands(parsed: argparse.Namespace) -> int:
    """Print the commands as a script."""
    from nnunet_nacl.benchmark.plan.jobs import all_jobs
    from nnunet_nacl.benchmark.plan.shell_lines import lines

    study = _load(parsed.study)
    _check_trainers(study)
    for line in lines(study, list(all_jobs(study).values()), _environment(study), parsed.form):
        print(line)
    return 0


def step(parsed: argparse.Namespace) -> int:
    """Run one job."""
    from nnunet_nacl.benchmark.engine.step import run_step
    from nnunet_nacl.benchmark.plan.jobs import find_job

    study = _load(parsed.study)
    return run_step(study, find_job(study, parsed.job), _environment(study))


def split(parsed: argparse.Namespace) -> int:
    """Write the split of a data set."""
    from nnunet_nacl.benchmark.tasks.split import write_split

    print(f"the split is {write_split(parsed.dataset, parsed.c, parsed.p)}")
    return 0


def curves(parsed: argparse.Namespace) -> int:
    """Write learning curves, and say which trainings count as converged."""
    from nnunet_nacl.benchmark.curves.convergence import convergence
    from nnunet_nacl.benchmark.curves.curve_files import Judged, write_curves
    from nnunet_nacl.benchmark.curves.learning_curves import read_curve
    from nnunet_nacl.files.output_folder import prepare_folder
    from nnunet_nacl.training.share import read_checkpoint

    read = [read_curve(fold, read_checkpoint) for fold in dict.fromkeys(fold.resolve() for fold in parsed.folds)]
    judged = [Judged(curve, convergence(curve)) for curve in read]
    prepare_folder(parsed.o)
    written = write_curves(judged, parsed.o)
    for one in judged:
        print(one.in_words)
    for path in written:
        print(f"wrote {path}")
    return 0


def _load(path: Path) -> Study:
    from nnunet_nacl.benchmark.config.study import CONFIG_FILE, load_study
    from nnunet_nacl.errors import InputError

    # the jobs, on whatever machine, find the study by its folder
    if path.is_file() and path.name != CONFIG_FILE:
        raise InputError(f"{path}: expected {CONFIG_FILE} or its folder. A study has a folder of its own.")
    return load_study(path)


def _environment(study: Study) -> dict[str, str]:
    from nnunet_nacl.benchmark.plan.places import Places, environment
    from nnunet_nacl.training.trainer_path import trainer_path

    return environment(Places(study), trainer_path())


def _check_trainers(study: Study) -> None:
    """Raise InputError for a name that is no trainer, before hours are spent on the others."""
    from nnunet_nacl.errors import InputError
    from nnunet_nacl.training.trainer_search import ext_folders, find_trainer
    from nnunet_nacl.training.variants import RefusedVariantError, UnknownVariantError, resolve

    for number, name in enumerate(study.trainers):
        try:
            resolve(name)
        except UnknownVariantError as error:
            elsewhere = not isinstance(error, RefusedVariantError) and ext_folders() and find_trainer(name) is not None
            if not elsewhere:
                raise InputError(f"Expected `trainers[{number}]` to be a trainer, but got {study.base_trainers[number]!r}. {error}") from None  # fmt: skip
