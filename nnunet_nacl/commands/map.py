"""``nnunet-nacl map``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "maps of confidence, entropy and local calibration error as NIfTI, for ITK-SNAP and 3D Slicer"
    parser = commands.add_parser("map", help=text, description=text)
    parser.add_argument("pred_folder", type=Path, help="folder with the predictions and their .npz files")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="names of cases (default: all)")
    parser.add_argument("-o", type=Path, required=True, help="output folder")
    parser.add_argument(
        "--labels", type=Path, default=None, help="folder with the label files, for the local calibration error"
    )
    parser.add_argument("--sigma-mm", type=_length, default=3.0,
                        help="sigma of the Gaussian over which the local error is averaged (default: %(default)s mm)")  # fmt: skip
    parser.add_argument(
        "-djfile", type=Path, default=None, help="dataset.json (default: that of the predictions or their model)"
    )
    parser.add_argument("-pfile", type=Path, default=None, help="plans.json (default: likewise)")
    parser.set_defaults(run=run)


def _length(text: str) -> float:
    length = float(text)
    if not 0 < length < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a length above 0 mm, got {text}")
    return length


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.evaluation.dataset import load_dataset
    from nnunet_nacl.evaluation.output import prepare_folder
    from nnunet_nacl.report.case_maps import find_description, find_names, write_case_maps

    names = find_names(parsed.pred_folder, parsed.cases)
    dataset = load_dataset(
        parsed.djfile or find_description(parsed.pred_folder, "dataset.json"),
        parsed.pfile or find_description(parsed.pred_folder, "plans.json"),
    )
    prepare_folder(parsed.o)
    for name in names:
        for path in write_case_maps(name, parsed.pred_folder, parsed.labels, dataset, parsed.sigma_mm, parsed.o):
            print(f"wrote {path}")
    return 0
