"""``nnunet-nacl compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "evaluated runs side by side, over the cases they share"
    parser = commands.add_parser("compare", help=text, description=text)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="output folder of `nnunet-nacl evaluate`")
    parser.add_argument(
        "--figure", type=Path, default=None, help="also draw their reliability diagrams (.png, .svg, .pdf)"
    )
    parser.add_argument("--voxel-sets", nargs="+", default=["all", "predicted"], choices=("all", "foreground", "union", "predicted"),
                        help="voxel sets in the figure (default: all predicted)")  # fmt: skip
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
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
