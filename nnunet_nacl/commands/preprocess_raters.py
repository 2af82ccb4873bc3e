"""``nnunet-nacl preprocess-raters``."""

from __future__ import annotations

import argparse

from nnunet_nacl.commands.arguments import Commands, default_processes, positive


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "preprocess the label maps of several raters, nnUNet_raw/DATASET/ratersTr/RATER/, as nnU-Net did the reference labels"
    parser = commands.add_parser("preprocess-raters", help=text, description=text)
    parser.add_argument("dataset", help="data set name or ID")
    parser.add_argument("-p", default="nnUNetPlans", help="plans (default: %(default)s)")
    parser.add_argument("-c", nargs="+", default=None, help="configurations (default: all that have been preprocessed)")
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
    from nnunet_nacl.training.rater_preprocessing import preprocess_raters

    for folder in preprocess_raters(parsed.dataset, parsed.p, parsed.c, parsed.np or default_processes()):
        print(f"wrote {folder}")
    return 0
