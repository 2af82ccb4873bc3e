"""``nnunet-nacl validate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_nacl.commands.arguments import Commands, add_settings, memory_size, positive
from nnunet_nacl.commands.groups import add_groups, groups_of
from nnunet_nacl.commands.messages import note, warning
from nnunet_nacl.commands.validation_fit import validate_and_fit
from nnunet_nacl.errors import InputError
from nnunet_nacl.recalibration.guarantees import DEFAULT_METHOD, GUARANTEES

if TYPE_CHECKING:
    from nnunet_nacl.evaluation.case_groups import Groups
    from nnunet_nacl.evaluation.folder_result import FolderResult
    from nnunet_nacl.validation.cross_validation import Options
    from nnunet_nacl.validation.model import TrainedModel


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "evaluate the calibration of a trained model without softmax files: each fold predicts its validation cases in memory"
    parser = commands.add_parser("validate", help=text, description=text)
    parser.add_argument("model_folder", type=Path, metavar="MODEL_FOLDER",
                        help="nnU-Net's folder <trainer>__<plans>__<configuration> with fold_0, ...; of any trainer")  # fmt: skip
    # named as in nnUNetv2_predict
    parser.add_argument("-f", nargs="+", default=None, metavar="FOLD", help="folds (default: all with the checkpoint)")
    parser.add_argument("-o", type=Path, default=None, metavar="FOLDER",
                        help="output folder (default: MODEL_FOLDER/calibration, or MODEL_FOLDER/fold_X/calibration for one fold)")  # fmt: skip
    parser.add_argument(
        "-chk", default="checkpoint_final.pth", help="file name of the checkpoint (default: %(default)s)"
    )
    parser.add_argument("-device", choices=("cuda", "cpu", "mps"), default=None, help="default: a GPU if there is one")
    parser.add_argument("-gt", "--labels", type=Path, dest="labels", default=None, metavar="LABELS",
                        help="folder with the label files (default: nnU-Net's own of this data set)")  # fmt: skip
    parser.add_argument("--images", type=Path, default=None, metavar="IMAGES",
                        help="predict the images of this folder (a test set, whose labels are given with -gt) instead of the validation cases: with each "
                             "fold, and with two or more folds also with both ensembles (mean of the logits, mean of the probabilities)")  # fmt: skip
    parser.add_argument("-prev_stage_predictions", type=Path, default=None, metavar="FOLDER",
                        help="with --images, for a cascade: folder with the segmentations of the previous stage")  # fmt: skip
    _add_ways(parser)
    add_settings(parser)
    parser.add_argument("--max-memory", type=memory_size, default=None, metavar="SIZE",
                        help="memory for the cases that are evaluated, e.g. 8G (default: 80 %% of the available memory, within cgroup limits)")  # fmt: skip
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="compute all cases again, also those that have not changed since an earlier run",
    )
    add_groups(parser)
    parser.set_defaults(run=run)


def _add_ways(parser: argparse.ArgumentParser) -> None:
    """Add what is done beside the evaluation, and how."""
    parser.add_argument("-np", type=positive, default=1, metavar="N",
                        help="processes that resample and evaluate while the next case is predicted (default: 1, everything in one process)")  # fmt: skip
    parser.add_argument("--batch-mirrors", action="store_true",
                        help="with -device cpu: two mirror images of a tile at a time. With small plans, as those of `cpu-plans`, the network is "
                             "three to four times as fast, with nnU-Net's own plans it is not; rounding then differs from nnU-Net's files in single voxels")  # fmt: skip
    parser.add_argument("--keep", choices=("float16",), default=None,
                        help="also write <case>.npz in half precision, <case>.pkl and the segmentation into fold_X/validation, for use by "
                             "`recalibrate`, `map` and nnU-Net's ensembling")  # fmt: skip
    parser.add_argument("--fit", type=Path, default=None, metavar="TEMPERATURE_JSON",
                        help="also fit a recalibration, as `recalibrate fit` does, and write it to this file; each case is predicted twice, the second time to "
                             "score it with a map that was fitted on the other folds")  # fmt: skip
    parser.add_argument("--method", choices=tuple(GUARANTEES), default=None,
                        help=f"what --fit fits, see `recalibrate fit --help` (default: {DEFAULT_METHOD})")  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.evaluation.bins_file import RESULT_FOLDER
    from nnunet_nacl.files.output_folder import output_folder
    from nnunet_nacl.validation.fold_cases import label_folder
    from nnunet_nacl.validation.model import open_model

    groups = groups_of(parsed)
    model = open_model(parsed.model_folder, parsed.f, parsed.chk)
    _check_options(parsed)
    labels = parsed.labels or label_folder(model)
    place = model.folder if len(model.folds) > 1 else model.folder / model.folds[0]
    output: Path = parsed.o if parsed.o is not None else place / RESULT_FOLDER
    _note_on_mirrors(parsed, model)
    with output_folder(output):
        if parsed.images is not None:
            result = _test_set(parsed, model, labels, output, groups)
        elif parsed.fit is not None:
            result = validate_and_fit(parsed, model, labels, output, _options(parsed), groups)
        else:
            result = _folds(parsed, model, labels, output, groups)
    if result.recalled:
        print(
            f"{result.recalled} of {len(result.cases)} cases had not changed since an earlier run (--fresh computes them again)"
        )
    return 0


def _folds(
    parsed: argparse.Namespace, model: TrainedModel, labels: Path, output: Path, groups: Groups | None
) -> FolderResult:
    from nnunet_nacl.commands.results import write_and_print
    from nnunet_nacl.evaluation.store import clear_store
    from nnunet_nacl.validation.cross_validation import validate_folds

    with _progress() as progress:
        result = validate_folds(model, labels, output, _options(parsed), progress, warning)
    write_and_print(result, output, groups)
    clear_store(output)
    return result


def _test_set(
    parsed: argparse.Namespace, model: TrainedModel, labels: Path, output: Path, groups: Groups | None
) -> FolderResult:
    from nnunet_nacl.commands.test_set import write_test_set
    from nnunet_nacl.validation.test_set import validate_test_set

    previous = parsed.prev_stage_predictions
    with _progress() as progress:
        found = validate_test_set(model, parsed.images, labels, output, _options(parsed), previous, progress, warning)
    return write_test_set(found, output, groups)


def _options(parsed: argparse.Namespace) -> Options:
    from nnunet_nacl.evaluation.settings import Settings
    from nnunet_nacl.validation.cross_validation import Options

    return Options(
        Settings(parsed.bins, parsed.boundary_mm, parsed.hd95),
        parsed.device,
        parsed.np,
        parsed.max_memory,
        parsed.fresh,
        parsed.keep is not None,
        parsed.batch_mirrors,
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar during a block and give the function that moves it, with the numbers of finished cases and of all."""
    from nnunet_nacl.commands.progress_bar import progress_bar

    with progress_bar("validating") as advance:

        def progress(done: int, of: int) -> None:
            advance("validating", done, of)
            if done and not sys.stderr.isatty():  # a log shows no bar, and a case takes a while on a CPU
                print(f"validating: {done} of {of} cases", file=sys.stderr, flush=True)

        yield progress


def _check_options(parsed: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together, or lack what they need."""
    for given, option in ((parsed.fit, "--fit"), (parsed.keep, "--keep")):
        if given is not None and parsed.images is not None:
            raise InputError(f"{option} is for the validation cases, not for a test set. Leave out --images.")
    if parsed.method is not None and parsed.fit is None:
        raise InputError("--method is the method of --fit TEMPERATURE_JSON. Give --fit as well, or leave --method out.")
    if parsed.fit is not None and parsed.np > 1:
        raise InputError("--fit works in one process. Leave out -np.")
    if parsed.fit is not None and parsed.fit.is_dir():
        raise InputError(f"{parsed.fit}: is a folder. Give --fit the name of a file, e.g. temperature.json.")
    if parsed.images is None:
        if parsed.prev_stage_predictions is not None:
            raise InputError(
                "-prev_stage_predictions is for --images only; for validation cases nnU-Net's own files are used."
            )
        return
    if not parsed.images.is_dir():
        raise InputError(f"{parsed.images}: no such folder. Pass nnU-Net's imagesTs, or a folder like it.")
    if parsed.labels is None:
        raise InputError("--images needs the folder of its label files: pass it with -gt.")
    if parsed.o is None:
        raise InputError("--images needs an output folder with -o.")


def _note_on_mirrors(parsed: argparse.Namespace, model: TrainedModel) -> None:
    """Say on a CPU that a small network can be about three times as fast."""
    from nnunet_nacl.validation.mirror_pairs import slow_alone
    from nnunet_nacl.validation.network import device_named

    if not parsed.batch_mirrors and device_named(parsed.device).type == "cpu" and slow_alone(model):
        note(
            "on a CPU, --batch-mirrors predicts with a small network like this one about three times as fast, up to rounding"
        )
