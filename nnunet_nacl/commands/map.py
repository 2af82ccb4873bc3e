"""``nnunet-nacl map``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, number
from nnunet_nacl.errors import InputError


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "write maps of confidence, entropy and local calibration error as NIfTI, for ITK-SNAP and 3D Slicer"
    parser = commands.add_parser("map", help=text, description=text)
    inputs.add_predicted(parser)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases (default: all)")
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="output folder")
    inputs.add_labels(parser, "needed for the local calibration error; default: no such map")
    parser.add_argument("--sigma-mm", type=_length, default=3.0, metavar="MM",
                        help="sigma of the Gaussian average of the local calibration error, in mm (default: %(default)s)")  # fmt: skip
    inputs.add_descriptions(parser)
    parser.set_defaults(run=run)


def _length(text: str) -> float:
    length = number(text)
    if not 0 < length < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a length above 0 mm, got {text}")
    return length


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.evaluation.dataset import load_dataset
    from nnunet_nacl.files.output_folder import output_folder
    from nnunet_nacl.report.case_maps import find_names, write_case_maps

    files = inputs.find_inputs(parsed, [parsed.predicted], labels=False)
    for folder in (parsed.predicted, files.labels):
        if folder is not None and parsed.o.resolve() == folder.resolve():
            raise InputError(
                f"{parsed.o}: is a folder that is read, and maps (.nii.gz) would be taken for cases of it. Choose another -o."
            )
    names = find_names(parsed.predicted, parsed.cases)
    dataset = load_dataset(files.dataset_json, files.plans_json)
    with output_folder(parsed.o):
        for name in names:
            for path in write_case_maps(name, parsed.predicted, files.labels, dataset, parsed.sigma_mm, parsed.o):
                print(f"wrote {path}")
    return 0
