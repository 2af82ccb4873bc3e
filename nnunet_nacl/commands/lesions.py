"""``nnunet-nacl lesions``."""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, default_processes, number
from nnunet_nacl.commands.groups import add_groups, groups_of
from nnunet_nacl.commands.messages import note, warning

if TYPE_CHECKING:
    from nnunet_nacl.lesions.rules import Rules

# of lesions.rules; not imported, so that --help is instant
OVERLAPS = ("any", "iou", "centroid")
CONFIDENCES = ("largest", "mean")
DUPLICATES = ("false", "ignored")
IOU = 0.1
SIZES = (10.0, 100.0, 1000.0, 10000.0)


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "evaluate predicted lesions: how many are true, how well calibrated their confidence is, FROC, sensitivity by size"
    parser = commands.add_parser(
        "lesions", help=text, description=f"{text}. The figures are explained on the page Lesions of the documentation."
    )
    parser.add_argument("predicted", type=Path, nargs="+", metavar="PREDICTED",
                        help="prediction folder with .npz files, e.g. fold_0/validation; several folders, one after another, are the folds of one cross-validation")  # fmt: skip
    inputs.add_labels(parser)
    inputs.add_descriptions(parser)
    parser.add_argument(
        "-o",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="output folder (default, for one folder: PREDICTED/lesions)",
    )
    inputs.add_processes(parser)
    inputs.add_max_memory(parser)
    _add_rules(parser)
    add_groups(parser)
    parser.set_defaults(run=run)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--class", dest="classes", action="append", default=None, metavar="NAME",
                        help="name of a class or region to evaluate; may be given several times (default: all)")  # fmt: skip
    parser.add_argument("--overlap", choices=OVERLAPS, default="any",
                        help="when a finding is true. any: it shares a voxel with a lesion; iou: their IoU is at least --iou; centroid: its centroid is in a "
                             "lesion (default: %(default)s). Each finding is matched with at most one lesion, and the reverse")  # fmt: skip
    parser.add_argument(
        "--iou",
        type=_share,
        default=None,
        metavar="IOU",
        help=f"smallest IoU, only with --overlap iou (default: {IOU})",
    )
    parser.add_argument("--confidence", choices=CONFIDENCES, default="largest",
                        help="confidence of a finding: the largest or the mean probability within it (default: %(default)s)")  # fmt: skip
    parser.add_argument("--duplicates", choices=DUPLICATES, default="false",
                        help="whether further findings in the same lesion count as false or are ignored (default: %(default)s)")  # fmt: skip
    parser.add_argument("--connectivity", type=int, choices=(6, 26), default=26,
                        help="connectivity of voxels in a lesion or finding; in 2D 6 means 4 and 26 means 8 (default: %(default)s)")  # fmt: skip
    parser.add_argument("--sizes", type=_size, nargs="+", default=list(SIZES), metavar="MM3",
                        help=f"ascending edges of the bins of lesion sizes in mm3 (2D: in pixels) (default: {' '.join(f'{size:g}' for size in SIZES)})")  # fmt: skip


def _share(text: str) -> float:
    share = number(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1, got {text}")
    return share


def _size(text: str) -> float:
    size = number(text)
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(f"expected a size above 0, got {text}")
    return size


def _rules(parsed: argparse.Namespace) -> Rules:
    from nnunet_nacl.errors import InputError
    from nnunet_nacl.lesions.rules import Rules

    if parsed.iou is not None and parsed.overlap != "iou":
        raise InputError(
            f"--iou is only used with --overlap iou, but --overlap is {parsed.overlap}. Pass both or neither."
        )
    if any(low >= high for low, high in pairwise(parsed.sizes)):
        raise InputError(
            f"Expected --sizes to be ascending sizes, but got {' '.join(f'{size:g}' for size in parsed.sizes)}."
        )
    iou = IOU if parsed.iou is None else parsed.iou
    return Rules(parsed.overlap, iou, parsed.confidence, parsed.duplicates, parsed.connectivity, parsed.sizes)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.errors import InputError
    from nnunet_nacl.evaluation.remarks import in_words
    from nnunet_nacl.files.output_folder import output_folder
    from nnunet_nacl.lesions.folder import lesions_of_folders
    from nnunet_nacl.lesions.output import CSV_FILE, JSON_FILE, RESULT_FOLDER, content_of, write_csv, write_json

    rules = _rules(parsed)
    groups = groups_of(parsed)
    if parsed.o is None and len(parsed.predicted) > 1:
        raise InputError("several prediction folders need an output folder for the results. Pass one with -o.")
    files = inputs.find_inputs(parsed, parsed.predicted)
    folder: Path = parsed.o if parsed.o is not None else parsed.predicted[0] / RESULT_FOLDER
    with output_folder(folder):
        with progress_bar("finding lesions") as advance:
            result = lesions_of_folders(
                files.label_folder,
                parsed.predicted,
                files.dataset_json,
                files.plans_json,
                rules,
                parsed.np or default_processes(),
                parsed.max_memory,
                progress=lambda done, of: advance("finding lesions", done, of),
                warn=warning,
                classes=parsed.classes,
                groups=groups,
            )
        content = content_of(result)
        write_csv(result, folder / CSV_FILE)
        write_json(content, folder / JSON_FILE)
    _print(content)
    for sentence in in_words(result.remarks, len(result.cases)):
        note(sentence)
    for name in (CSV_FILE, JSON_FILE):
        print(f"wrote {folder / name}")
    return 0


def _print(content: dict[str, Any]) -> None:
    from rich.text import Text

    from nnunet_nacl.report.console import plain_table, table_console

    units = "cases" if content["unit_of_intervals"] == "case" else "patients"
    n_patients = next(iter(content["classes"].values()))["n_patients"]
    title = f"{n_patients} {units[:-1] if n_patients == 1 else units}; 95 % intervals over {units}"
    table = plain_table(title)
    table.add_column("class", overflow="fold")
    for heading in ("sensitivity", "true of findings", f"false per {units[:-1]}", "average precision", "gap"):
        # intervals may break on a narrow terminal, words may not
        table.add_column(heading, min_width=max(map(len, heading.split())))
    for name, of in content["classes"].items():
        gap = of["reliability"][content["rules"]["confidence"]]["gap"]
        table.add_row(
            Text(name), _figure(of["sensitivity"], of=of["n_lesions"]), _figure(of["precision"], of=of["precision"]["n"]),
            _figure(of["false_findings_per_patient"]), _figure(of["average_precision"]), _figure(gap, "+"),
        )  # fmt: skip
    table_console().print(table)
    said = content["rules"]["in_words"]
    print(f"{said[:1].upper()}{said[1:]}. The gap is the mean confidence of the findings minus the share that is true.")


def _figure(figure: dict[str, Any], sign: str = "", of: int | None = None) -> str:
    if figure["value"] is None:
        return "-"
    ends = "" if figure["low"] is None else f"\n{figure['low']:{sign}.2f} to {figure['high']:{sign}.2f}"
    return f"{figure['value']:{sign}.2f}{'' if of is None else f' of {of}'}{ends}"
