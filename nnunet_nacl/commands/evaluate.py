"""``nnunet-nacl evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, add_settings, default_processes, positive
from nnunet_nacl.commands.former import note
from nnunet_nacl.commands.groups import add_groups, groups_of
from nnunet_nacl.commands.messages import warning
from nnunet_nacl.errors import InputError


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "evaluate the calibration of the softmax files in a prediction folder"
    parser = commands.add_parser("evaluate", help=text, description=text)
    inputs.add_predicted(parser)
    parser.add_argument("former", type=Path, nargs="?", default=None, help=argparse.SUPPRESS)
    # named as in nnUNetv2_evaluate_folder
    inputs.add_labels(parser)
    inputs.add_descriptions(parser)
    parser.add_argument(
        "-o", type=Path, default=None, metavar="FOLDER", help="output folder (default: PREDICTED/calibration)"
    )
    inputs.add_processes(parser)
    add_settings(parser)
    inputs.add_max_memory(parser)
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="compute all cases again, also those that have not changed since an earlier run",
    )
    parser.add_argument("-num_parts", type=positive, default=1,
                        help="number of parts; evaluates one of them, into OUTPUT/part_I_of_N (join the parts with `nnunet-nacl merge`)")  # fmt: skip
    parser.add_argument(
        "-part_id", type=int, default=0, help="which part to evaluate, counted from 0 (default: %(default)s)"
    )
    add_groups(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.commands.results import write_and_print
    from nnunet_nacl.evaluation.bins_file import RESULT_FOLDER
    from nnunet_nacl.evaluation.cases import select_part
    from nnunet_nacl.evaluation.folder import evaluate_folder
    from nnunet_nacl.evaluation.settings import Settings
    from nnunet_nacl.evaluation.store import clear_store
    from nnunet_nacl.files.output_folder import output_folder

    _take_former_order(parsed)
    groups = groups_of(parsed)
    files = inputs.find_inputs(parsed, [parsed.predicted])
    output: Path = parsed.o if parsed.o is not None else parsed.predicted / RESULT_FOLDER
    select_part([], parsed.num_parts, parsed.part_id)  # refuse a wrong one before a folder is made for it
    if parsed.num_parts > 1:
        output /= f"part_{parsed.part_id}_of_{parsed.num_parts}"
    with output_folder(output):
        with progress_bar("evaluating") as advance:
            result = evaluate_folder(
                files.label_folder,
                parsed.predicted,
                files.dataset_json,
                files.plans_json,
                num_processes=parsed.np or default_processes(),
                settings=Settings(parsed.bins, parsed.boundary_mm, parsed.hd95),
                progress=lambda done, of: advance("evaluating", done, of),
                output_folder=output,
                fresh=parsed.fresh,
                max_memory=parsed.max_memory,
                num_parts=parsed.num_parts,
                part_id=parsed.part_id,
                warn=warning,
            )
        write_and_print(result, output, groups)
        clear_store(output)
    if result.recalled:
        print(
            f"{result.recalled} of {len(result.cases)} cases had not changed since an earlier run (--fresh computes them again)"
        )
    return 0


def _take_former_order(parsed: argparse.Namespace) -> None:
    """Take ``evaluate LABELS PREDICTED``, in either order: the predictions are the folder with the softmax files."""
    if parsed.former is None:
        return
    if parsed.labels is not None:
        raise InputError(
            f"expected one folder of predictions beside -gt, but got {parsed.predicted} and {parsed.former}. Evaluate each by "
            "itself, and join the results with `nnunet-nacl merge`."
        )
    note("evaluate LABELS PREDICTED", "evaluate PREDICTED -gt LABELS")
    folders = (parsed.predicted, parsed.former)
    swapped = inputs.has_softmax_files(folders[0]) and not inputs.has_softmax_files(folders[1])
    parsed.predicted, parsed.labels = folders if swapped else folders[::-1]
