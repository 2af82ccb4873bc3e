"""``nnunet-nacl phantom``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands, positive


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "write an MSD-style task of fuzzy ellipsoids whose true class posterior is known"
    parser = commands.add_parser("phantom", help=text, description=text)
    parser.add_argument("folder", type=Path, help="new folder named TaskXX_Name, e.g. Task99_Phantom")
    parser.add_argument("--cases", type=positive, default=20, help="labelled cases (default: %(default)s)")
    parser.add_argument("--size", type=positive, default=32, help="voxels per side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    parser.add_argument("--raters", type=positive, default=0, help="further label maps per case (default: none)")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.benchmark.tasks.phantom import write_task

    write_task(parsed.folder, n_cases=parsed.cases, size=parsed.size, seed=parsed.seed, raters=parsed.raters)
    print(f"wrote {parsed.cases} cases to {parsed.folder}")
    return 0
