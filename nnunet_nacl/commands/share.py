"""``nnunet-nacl share``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "copy a trained model so that it predicts with nnU-Net alone, and compare the copy's predictions"
    parser = commands.add_parser("share", help=text, description=text)
    parser.add_argument("model_folder", type=Path, help="folder <trainer>__<plans>__<configuration> with fold_0, ...")
    parser.add_argument("-o", type=Path, required=True, help="parent of the new folder")
    # named as in nnUNetv2_predict
    parser.add_argument("-f", nargs="+", default=None, help="folds (default: all that have the checkpoint)")
    parser.add_argument("-chk", default="checkpoint_final.pth", help="checkpoint (default: %(default)s)")
    parser.add_argument("-i", type=Path, nargs="+", default=[], metavar="FILE",
                        help="files of one case, one per channel, to predict with both models (default: a random patch)")  # fmt: skip
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.training.share import share

    shared = share(parsed.model_folder, parsed.o, parsed.f, parsed.chk, parsed.i)
    before, after = (
        sum((folder / fold / parsed.chk).stat().st_size for fold in shared.folds) / 1e6
        for folder in (parsed.model_folder, shared.folder)
    )
    size = " x ".join(map(str, shared.patch_size))
    print(
        f"trainer {shared.trained_with} -> {shared.trainer}, {', '.join(shared.folds)}, {before:.1f} -> {after:.1f} MB"
    )
    case = " and the segmentation and probabilities of the given case" if shared.compared_case else ""
    print(
        f"verified: in a process without nnunet-nacl, nnU-Net's predictor gives bitwise the original's network outputs on a "
        f"random patch of {size} voxels, fold by fold{case}"
    )
    print(f"wrote {shared.folder}")
    print(
        "left out: optimizer state and curves (the training cannot be continued from it), logs, validation, postprocessing"
    )
    folds = " ".join(fold.removeprefix("fold_") for fold in shared.folds)
    print(
        f"predict: nnUNetv2_predict_from_modelfolder -i IMAGES -o PREDICTED -m {shared.folder} -f {folds} -chk {parsed.chk}"
    )
    return 0
