"""``nnunet-nacl import-msd``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands, default_processes, positive


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "import a task of the Medical Segmentation Decathlon into nnUNet_raw: download, verify, convert"
    parser = commands.add_parser("import-msd", help=text, description=text)
    parser.add_argument("task", nargs="?", help="e.g. Task04_Hippocampus, Hippocampus or 4; default: list the tasks")
    parser.add_argument("--from", type=Path, dest="source", default=None, metavar="PATH",
                        help="the task's folder or archive, or the folder that contains it; nothing is downloaded")  # fmt: skip
    parser.add_argument("--id", type=positive, default=None, help="number of the data set (default: the task's)")
    parser.add_argument("--mirror", action="append", default=None, metavar="URL",
                        help="address of a folder with the archives; may be given several times, they are tried in this order (default: AWS)")  # fmt: skip
    parser.add_argument(
        "--downloads",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="folder for downloaded archives (default: $nnUNet_raw/.msd)",
    )
    parser.add_argument(
        "-np",
        type=positive,
        default=None,
        metavar="N",
        help="number of processes (default: nnUNet_def_n_proc or all cores)",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from nnunet_nacl.benchmark.tasks.import_task import import_task
    from nnunet_nacl.benchmark.tasks.msd import MIRRORS, find_task
    from nnunet_nacl.commands.progress_bar import bar_that_vanishes_on_failure

    if parsed.task is None:
        return _list_tasks()
    # a task of one's own, as `nnunet-nacl phantom` writes, has to come from somewhere
    task = parsed.task if parsed.source is not None and "_" in parsed.task else find_task(parsed.task).name
    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with bar_that_vanishes_on_failure(*columns) as bar:
        download = bar.add_task(task, visible=False)
        folder, was_there = import_task(
            task,
            parsed.source,
            parsed.id,
            parsed.mirror or MIRRORS,
            parsed.downloads,
            parsed.np or default_processes(),
            lambda done, of: bar.update(download, completed=done, total=of, visible=True),
        )
    print(f"{folder} was there already" if was_there else f"wrote {folder}")
    return 0


def _list_tasks() -> int:
    from nnunet_nacl.benchmark.tasks.msd import LICENCE, TASKS
    from nnunet_nacl.report.console import plain_table, table_console

    table = plain_table(f"Medical Segmentation Decathlon, {LICENCE}")
    for heading in ("task", "modalities", "labels", "training", "test", "archive, GB"):
        table.add_column(heading, no_wrap=heading == "task", overflow="fold")
    for task in TASKS.values():
        table.add_row(
            task.name, ", ".join(task.modalities), ", ".join(task.labels), str(task.training), str(task.test), f"{task.gigabytes:g}"
        )  # fmt: skip
    table_console().print(table)
    return 0
