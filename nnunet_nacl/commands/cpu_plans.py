"""``nnunet-nacl cpu-plans``."""

from __future__ import annotations

import argparse

from nnunet_nacl.commands.arguments import Commands, positive


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "derive plans for a small network that can be trained on a CPU; data are not preprocessed again"
    parser = commands.add_parser("cpu-plans", help=text, description=text)
    parser.add_argument("dataset", help="data set name or ID")
    parser.add_argument("-p", default="nnUNetPlans", help="plans to derive from (default: %(default)s)")
    parser.add_argument("-o", default="nnUNetPlansCPU", help="name of the new plans (default: %(default)s)")
    parser.add_argument(
        "--patch-size",
        type=positive,
        nargs="+",
        default=None,
        help="patch size of 3D configurations in voxels, one number per axis (default: the planned one, at most 40 a side)",
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.benchmark.tasks.cpu_plans import write_cpu_plans

    print(f"wrote {write_cpu_plans(parsed.dataset, parsed.p, parsed.o, parsed.patch_size)}")
    return 0
