"""``nnunet-nacl phantom``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands, positive


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "write a generated task in MSD format (blurred ellipsoids) whose true class probabilities are known"
    parser = commands.add_parser("phantom", help=text, description=text)
    parser.add_argument("folder", type=Path, help="new folder named TaskXX_Name, e.g. Task99_Phantom")
    parser.add_argument("--cases", type=positive, default=20, help="number of labelled cases (default: %(default)s)")
    parser.add_argument("--size", type=positive, default=32, help="voxels along each side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: %(default)s)")
    parser.add_argument(
        "--raters",
        type=positive,
        default=0,
        help="number of further label maps per case, as if by other raters (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.benchmark.tasks.phantom import write_task

    write_task(parsed.folder, n_cases=parsed.cases, size=parsed.size, seed=parsed.seed, raters=parsed.raters)
    print(f"wrote {parsed.cases} cases to {parsed.folder}")
    return 0
