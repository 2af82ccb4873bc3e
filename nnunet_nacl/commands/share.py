"""``nnunet-nacl share``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nnunet_nacl.training.baked_temperature import Agreement


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "copy a trained model so that it needs nnU-Net only, and check that the copy predicts the same"
    parser = commands.add_parser("share", help=text, description=text)
    parser.add_argument("model_folder", type=Path, help="folder <trainer>__<plans>__<configuration> with fold_0, ...")
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="folder in which the copy is created")
    # named as in nnUNetv2_predict
    parser.add_argument("-f", nargs="+", default=None, help="folds (default: all with the checkpoint)")
    parser.add_argument(
        "-chk", default="checkpoint_final.pth", help="file name of the checkpoint (default: %(default)s)"
    )
    parser.add_argument("-i", type=Path, nargs="+", default=[], metavar="FILE",
                        help="image files of one case, one per channel (a colour image holds several), to compare both models on it as well (default: only a random patch)")  # fmt: skip
    parser.add_argument("--temperature", type=Path, nargs="+", default=[], metavar="TEMPERATURE_JSON",
                        help="divide the logits by the temperature of `recalibrate fit --method temperature`: one file for all "
                             "folds, or one for each fold in the order of -f; instead of a file, a temperature as a number")  # fmt: skip
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.training.share import share

    temperatures = [temperatures_of(path, parsed.model_folder) for path in parsed.temperature]
    shared = share(parsed.model_folder, parsed.o, parsed.f, parsed.chk, parsed.i, temperatures)
    before, after = (
        sum((folder / fold / parsed.chk).stat().st_size for fold in shared.folds) / 1e6
        for folder in (parsed.model_folder, shared.folder)
    )
    size = " x ".join(map(str, shared.patch_size))
    print(
        f"trainer {shared.trained_with} -> {shared.trainer}, {', '.join(shared.folds)}, {before:.1f} -> {after:.1f} MB"
    )
    of_case = "the segmentation and probabilities" if shared.agreement is None else "the probabilities, tempered,"
    case = f" and {of_case} of the given case" if shared.compared_case else ""
    print(
        f"verified: in a process without nnunet-nacl, nnU-Net's predictor gives {_what(shared.agreement)} on a "
        f"random patch of {size} voxels, fold by fold{case}"
    )
    if shared.agreement is not None:
        print(_rounding(shared.agreement))
    print(f"wrote {shared.folder}")
    print(
        "left out: optimizer state and curves (the training cannot be continued from it), logs, validation, postprocessing"
    )
    folds = " ".join(fold.removeprefix("fold_") for fold in shared.folds)
    print(
        f"predict: nnUNetv2_predict_from_modelfolder -i IMAGES -o PREDICTED -m {shared.folder} -f {folds} -chk {parsed.chk}"
    )
    return 0


def temperatures_of(path: Path, model: Path) -> NDArray[np.float64]:
    """Return the temperature of each channel of a model.

    Raises:
        InputError: no temperature file or number, of another network, or of a method that no network can hold.
    """
    import numpy as np

    from nnunet_nacl.evaluation.dataset import load_dataset
    from nnunet_nacl.recalibration.heads import heads_of

    heads = heads_of(load_dataset(model / "dataset.json", model / "plans.json"))
    value = _number(path)
    if value is not None:
        return np.full(len(heads.channels), value)
    from nnunet_nacl.recalibration.methods.temperature import OneFactor
    from nnunet_nacl.recalibration.temperature_file import load

    fitted = load(path)
    fitted.check_heads(heads, path, model / "dataset.json")
    factors = [each.factor for each in fitted.maps if isinstance(each, OneFactor)]
    if len(factors) != len(fitted.maps):
        raise InputError(
            f"{path}: the method {fitted.method} depends on all classes of a voxel, which a layer of the network cannot compute. Fit with --method temperature "
            "to store one temperature in the model, or use `nnunet-nacl recalibrate apply` with this file."
        )
    return 1 / np.array(factors * (len(heads.channels) if heads.kind == "softmax" else 1))


def _number(path: Path) -> float | None:
    """Return the temperature that was given instead of a file, if it is one."""
    from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR, LOWEST_FACTOR

    try:
        value = float(str(path))
    except ValueError:
        return None
    if path.exists():
        return None
    if not 1 / HIGHEST_FACTOR <= value <= 1 / LOWEST_FACTOR:
        raise InputError(
            f"--temperature {path}: expected a temperature from {1 / HIGHEST_FACTOR:g} to {1 / LOWEST_FACTOR:g}."
        )
    return value


def _what(agreement: Agreement | None) -> str:
    if agreement is None:
        return "bitwise the original's network outputs"
    return "the original's network outputs divided by the temperature"


def _rounding(agreement: Agreement) -> str:
    """Return how far the copy is from the original, tempered in float64."""
    text = f"largest difference: {agreement.output_difference:.1e} of the largest output"
    if agreement.probability_difference == agreement.probability_difference:
        text += f", {agreement.probability_difference:.1e} of a probability (logits of tiles added up in float32)"
    return f"{text}; {agreement.n_moved} of {agreement.n_voxels} voxels change their class through rounding"
