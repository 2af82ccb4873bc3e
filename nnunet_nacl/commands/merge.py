"""``nnunet-nacl merge``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.commands.groups import add_groups, groups_of


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "join the results of folds, parts or machines into one result; needs no softmax files"
    parser = commands.add_parser("merge", help=text, description=text)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT",
                        help="evaluated prediction folder, or output folder of `nnunet-nacl evaluate`; its calibration_bins.npz is read")  # fmt: skip
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="output folder")
    add_groups(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.commands.results import write_and_print
    from nnunet_nacl.errors import InputError
    from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, result_folder
    from nnunet_nacl.evaluation.merging import merge_results
    from nnunet_nacl.files.output_folder import prepare_folder

    folders = [result_folder(folder).resolve() for folder in parsed.results]
    if len(set(folders)) < len(folders):
        raise InputError("Expected different RESULT folders, but one was given twice.")
    if parsed.o.resolve() in folders:
        raise InputError(f"{parsed.o}: is one of the results that are merged. Choose another output folder with -o.")
    merged = merge_results({folder: read_result(folder / BINS_FILE) for folder in map(result_folder, parsed.results)})
    groups = groups_of(parsed)
    prepare_folder(parsed.o)
    write_and_print(merged, parsed.o, groups)
    return 0
