"""``nnunet-nacl evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands, default_processes, positive


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "calibration of the softmax files of a prediction folder"
    parser = commands.add_parser("evaluate", help=text, description=text)
    # named as in nnUNetv2_evaluate_folder
    parser.add_argument("gt_folder", type=Path, help="folder with the label files")
    parser.add_argument("pred_folder", type=Path, help="folder with the predictions and their .npz files")
    parser.add_argument("-djfile", type=Path, required=True, help="dataset.json")
    parser.add_argument("-pfile", type=Path, required=True, help="plans.json")
    parser.add_argument("-o", type=Path, default=None, help="output folder (default: PRED_FOLDER)")
    parser.add_argument("-np", type=positive, default=None, help="processes (default: nnUNet_def_n_proc or all cores)")
    parser.add_argument("--bins", type=positive, default=15, help="equal-width confidence bins (default: %(default)s)")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    from nnunet_nacl.evaluation.bins_file import write_result
    from nnunet_nacl.evaluation.folder import evaluate_folder
    from nnunet_nacl.evaluation.output import prepare_folder, write_cases, write_summary
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
            num_processes=parsed.np or default_processes(),
            n_bins=parsed.bins,
            progress=lambda done, of: progress.update(task, completed=done, total=of),
        )
    summary = summarize(result)
    written = [
        write_summary(summary, output),
        write_cases(summary, output),
        write_result(result, output),
        *write_reliability_of_sets(result.pooled, output),
    ]
    console = Console()
    console.print(prepare_voxel_set_table(summary), prepare_class_table(summary))
    for path in written:
        print(f"wrote {path}")
    return 0
