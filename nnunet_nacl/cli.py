"""The command ``nnunet-nacl``. Each subcommand imports what it needs when it runs, so that ``--help`` is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_nacl import __version__
from nnunet_nacl.errors import InputError

if TYPE_CHECKING:
    from typing import TypeAlias

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status: 0 fine, 1 unusable input or a finding, 2 unusable arguments."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except InputError as error:
        print(f"nnunet-nacl: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nnunet-nacl: interrupted", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnunet-nacl", description="Calibrated confidence for nnU-Net: trainers, evaluation, comparison."
    )
    parser.add_argument("--version", action="version", version=f"nnunet-nacl {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_trainer_path(commands)
    _add_doctor(commands)
    _add_trainers(commands)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_phantom(commands)
    _add_cpu_plans(commands)
    _add_preprocess_raters(commands)
    return parser


def _add_trainer_path(commands: Commands) -> None:
    text = "print the folder for nnUNet_extTrainer"
    parser = commands.add_parser("trainer-path", help=text, description=text)
    parser.set_defaults(run=_trainer_path)


def _trainer_path(_: argparse.Namespace) -> int:
    from nnunet_nacl.training.trainer_path import trainer_path

    print(trainer_path())
    return 0


def _add_doctor(commands: Commands) -> None:
    text = "say what keeps nnU-Net from finding the trainers, and what to set"
    parser = commands.add_parser("doctor", help=text, description=text)
    parser.set_defaults(run=_doctor)


def _doctor(_: argparse.Namespace) -> int:
    from nnunet_nacl.training.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.fine else 'BAD'} {finding.subject}: {finding.detail}")
    return 0 if all(finding.fine for finding in findings) else 1


def _add_trainers(commands: Commands) -> None:
    text = "list the trainers, or explain the name of one"
    parser = commands.add_parser("trainers", help=text, description=text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="trainer or variant; default: all trainers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_trainers)


def _trainers(parsed: argparse.Namespace) -> int:
    import json

    from nnunet_nacl.training.catalogue import catalogue, describe
    from nnunet_nacl.training.variants import UnknownVariantError

    try:
        entries = [describe(name) for name in parsed.names] or catalogue()
    except UnknownVariantError as error:
        raise InputError(str(error)) from error
    if parsed.json:
        print(json.dumps([entry.as_dict() for entry in entries], indent=2))
        return 0
    for entry in entries:
        values = ", ".join(f"{name}={value!r}" for name, value in entry.hyper_parameters.items())
        print(f"{entry.name}\n    {entry.loss}\n    {values}\n    settings: {', '.join(entry.settings)}")
    return 0


def _add_evaluate(commands: Commands) -> None:
    text = "calibration of the softmax files of a prediction folder"
    parser = commands.add_parser("evaluate", help=text, description=text)
    # named as in nnUNetv2_evaluate_folder
    parser.add_argument("gt_folder", type=Path, help="folder with the label files")
    parser.add_argument("pred_folder", type=Path, help="folder with the predictions and their .npz files")
    parser.add_argument("-djfile", type=Path, required=True, help="dataset.json")
    parser.add_argument("-pfile", type=Path, required=True, help="plans.json")
    parser.add_argument("-o", type=Path, default=None, help="output folder (default: PRED_FOLDER)")
    parser.add_argument("-np", type=_positive, default=None, help="processes (default: nnUNet_def_n_proc or all cores)")
    parser.add_argument("--bins", type=_positive, default=15, help="equal-width confidence bins (default: %(default)s)")
    parser.set_defaults(run=_evaluate)


def _evaluate(parsed: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    from nnunet_nacl.evaluation.folder import evaluate_folder
    from nnunet_nacl.evaluation.output import prepare_folder, write_cases, write_statistics, write_summary
    from nnunet_nacl.evaluation.summary import summarize
    from nnunet_nacl.report.reliability import write_reliability_of_sets
    from nnunet_nacl.report.terminal import prepare_class_table, prepare_voxel_set_table

    output: Path = parsed.o if parsed.o is not None else parsed.pred_folder
    if parsed.o is not None or output.is_dir():
        prepare_folder(output)
    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("evaluating")
        result = evaluate_folder(
            parsed.gt_folder,
            parsed.pred_folder,
            parsed.djfile,
            parsed.pfile,
            num_processes=parsed.np or _default_processes(),
            n_bins=parsed.bins,
            progress=lambda done, of: progress.update(task, completed=done, total=of),
        )
    summary = summarize(result)
    written = [
        write_summary(summary, output),
        write_cases(summary, output),
        write_statistics(result.cases, output),
        *write_reliability_of_sets(result.pooled, output),
    ]
    console = Console()
    console.print(prepare_voxel_set_table(summary), prepare_class_table(summary))
    for path in written:
        print(f"wrote {path}")
    return 0


def _add_compare(commands: Commands) -> None:
    text = "evaluated runs side by side, over the cases they share"
    parser = commands.add_parser("compare", help=text, description=text)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output folder of `nnunet-nacl evaluate`")
    parser.add_argument(
        "--figure", type=Path, default=None, help="also draw their reliability diagrams (.png, .svg, .pdf)"
    )
    parser.add_argument("--voxel-sets", nargs="+", default=["all", "predicted"], choices=("all", "foreground", "union", "predicted"),
                        help="voxel sets in the figure (default: all predicted)")  # fmt: skip
    parser.set_defaults(run=_compare)


def _compare(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from nnunet_nacl.report.reliability import write_reliability_of_runs
    from nnunet_nacl.report.terminal import prepare_comparison_table
    from nnunet_nacl.study.run import load_run
    from nnunet_nacl.study.side_by_side import side_by_side

    runs = [load_run(folder) for folder in parsed.runs]
    comparison = side_by_side(runs)
    Console().print(prepare_comparison_table(comparison))
    for run, cases in comparison.left_out.items():
        if cases:
            print(f"left out of {run}, since not every run has them: {', '.join(cases)}")
    if parsed.figure is not None:
        write_reliability_of_runs(runs, comparison.cases, parsed.voxel_sets, parsed.figure)
        print(f"wrote {parsed.figure}")
    return 0


def _add_phantom(commands: Commands) -> None:
    text = "write an MSD-style task of fuzzy ellipsoids whose true class posterior is known"
    parser = commands.add_parser("phantom", help=text, description=text)
    parser.add_argument("folder", type=Path, help="new folder named TaskXX_Name, e.g. Task99_Phantom")
    parser.add_argument("--cases", type=_positive, default=20, help="labelled cases (default: %(default)s)")
    parser.add_argument("--size", type=_positive, default=32, help="voxels per side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    parser.add_argument("--raters", type=_positive, default=0, help="further label maps per case (default: none)")
    parser.set_defaults(run=_phantom)


def _phantom(parsed: argparse.Namespace) -> int:
    from nnunet_nacl.benchmark.phantom import write_task

    write_task(parsed.folder, n_cases=parsed.cases, size=parsed.size, seed=parsed.seed, raters=parsed.raters)
    print(f"wrote {parsed.cases} cases to {parsed.folder}")
    return 0


def _add_cpu_plans(commands: Commands) -> None:
    text = "derive plans for a network that trains on a CPU; needs no new preprocessing"
    parser = commands.add_parser("cpu-plans", help=text, description=text)
    parser.add_argument("dataset", help="data set name or ID")
    parser.add_argument("-p", default="nnUNetPlans", help="plans to derive from (default: %(default)s)")
    parser.add_argument("-o", default="nnUNetPlansCPU", help="name of the new plans (default: %(default)s)")
    parser.add_argument(
        "--patch-size", type=_positive, nargs="+", default=None, help="voxels per axis (default: about 40)"
    )
    parser.set_defaults(run=_cpu_plans)


def _cpu_plans(parsed: argparse.Namespace) -> int:
    from nnunet_nacl.benchmark.cpu_plans import write_cpu_plans

    print(f"wrote {write_cpu_plans(parsed.dataset, parsed.p, parsed.o, parsed.patch_size)}")
    return 0


def _add_preprocess_raters(commands: Commands) -> None:
    text = (
        "preprocess the label maps of several raters, nnUNet_raw/DATASET/ratersTr/RATER/, as nnU-Net did the reference"
    )
    parser = commands.add_parser("preprocess-raters", help=text, description=text)
    parser.add_argument("dataset", help="data set name or ID")
    parser.add_argument("-p", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument("-c", nargs="+", default=None, help="configurations (default: all that are preprocessed)")
    parser.add_argument("-np", type=_positive, default=None, help="processes (default: nnUNet_def_n_proc or all cores)")
    parser.set_defaults(run=_preprocess_raters)


def _preprocess_raters(parsed: argparse.Namespace) -> int:
    from nnunet_nacl.training.rater_preprocessing import preprocess_raters

    for folder in preprocess_raters(parsed.dataset, parsed.p, parsed.c, parsed.np or _default_processes()):
        print(f"wrote {folder}")
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {number}")
    return number


def _default_processes() -> int:
    return int(os.environ.get("nnUNet_def_n_proc", os.cpu_count() or 1))


if __name__ == "__main__":
    sys.exit(main())
