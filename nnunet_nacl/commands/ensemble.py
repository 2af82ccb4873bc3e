"""``nnunet-nacl ensemble``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, default_processes


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "average the probabilities of several prediction folders, and write them as a prediction folder"
    parser = commands.add_parser("ensemble", help=text, description=text)
    parser.add_argument("predicted", type=Path, nargs="+", metavar="PREDICTED",
                        help="two or more prediction folders of the same cases, with .npz files")  # fmt: skip
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="new or empty folder")
    parser.add_argument("--geometric", action="store_true",
                        help="normalized geometric mean (the mean of the logits), instead of the arithmetic mean that nnUNetv2_ensemble uses")  # fmt: skip
    inputs.add_descriptions(parser)
    inputs.add_processes(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.ensembles.mean_of_files import ensemble_folders
    from nnunet_nacl.files.output_folder import output_folder

    files = inputs.find_inputs(parsed, parsed.predicted, labels=False)
    with output_folder(parsed.o), progress_bar("averaging") as advance:
        names = ensemble_folders(
            parsed.predicted,
            parsed.o,
            files.dataset_json,
            files.plans_json,
            parsed.geometric,
            parsed.np or default_processes(),
            lambda done, of: advance("averaging", done, of),
        )
    which = "geometric mean" if parsed.geometric else "mean"
    print(f"{len(names)} cases: the {which} of {len(parsed.predicted)} folders")
    print(f"wrote {parsed.o}")
    return 0
