"""``nnunet-nacl recalibrate fit`` and ``nnunet-nacl recalibrate apply``."""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, bins, default_processes, memory_size, positive
from nnunet_nacl.commands.former import FormerOption
from nnunet_nacl.commands.groups import add_groups, groups_of
from nnunet_nacl.commands.messages import note
from nnunet_nacl.commands.recalibration_lines import fit_lines, harm_lines
from nnunet_nacl.errors import InputError
from nnunet_nacl.recalibration.guarantees import DEFAULT_METHOD, GUARANTEES, guarantee_lines

if TYPE_CHECKING:
    from nnunet_nacl.recalibration.apply import Applied
    from nnunet_nacl.recalibration.ensemble import Disagreement
    from nnunet_nacl.recalibration.fit import Options

# the keys of recalibration.selection.FIT_SETS; not imported, so that --help is instant
VOXEL_SETS = ("predicted", "all", "foreground", "union")

EPILOG = "\n".join(
    ["methods, for K classes (for a region: outside and inside), what they keep, and the voxels they are fitted on:"]
    + [f"  {line}" for line in guarantee_lines()]
    + [
        textwrap.fill(line, 78)
        for line in (
            "volumes: how many of 8 soft volumes (two structures, four trainers) came closer to the labels', on folds not used for the fit",
            "all are convex and need only saved probabilities and labels. See the page Recalibrating of the documentation.",
        )
    ]
)


def add(commands: Commands) -> None:
    """Add the command, its two steps and their arguments."""
    text = "correct the confidence of a trained network: fit on validation folds, apply to predictions"
    parser = commands.add_parser("recalibrate", help=text, description=text)
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    _add_fit(steps)
    _add_apply(steps)


def _add_fit(steps: Commands) -> None:
    text = "fit a recalibration on the softmax files of validation folders, and score it on cases that were not used for the fit"
    # this formatter keeps the lines of the table below, and so those of the description
    parser = steps.add_parser("fit", help=text, description=textwrap.fill(text, 78), epilog=EPILOG,
                              formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("predicted", type=Path, nargs="+", metavar="PREDICTED",
                        help="validation folders with .npz files, one per fold")  # fmt: skip
    inputs.add_labels(parser)
    inputs.add_descriptions(parser)
    parser.add_argument("-o", type=Path, required=True, metavar="TEMPERATURE_JSON", help="file to write")
    parser.add_argument("--method", choices=tuple(GUARANTEES), default=None,
                        help=f"method, see below (default: {DEFAULT_METHOD})")  # fmt: skip
    parser.add_argument("--compare-methods", action="store_true",
                        help="also fit all other methods and print one table of them, lowest NLL over all voxels first; the file "
                             "written is that of --method")  # fmt: skip
    parser.add_argument("--also", choices=tuple(GUARANTEES), action="append", default=[], metavar="METHOD",
                        help="another method to fit, for the table and the entry `compared` of the file; may be given several times")  # fmt: skip
    parser.add_argument("--per-class", action="store_true", help="old name of --method per-class")
    parser.add_argument("--voxel-set", choices=VOXEL_SETS, default=None,
                        help="voxels to fit on (default: those of the method, see below). `foreground` and `union` are selected by the label and "
                             "make even a calibrated network underconfident")  # fmt: skip
    parser.add_argument("--cross-fit", action="store_true", help="old option without effect: each folder, or each of several "
                        "parts of a single folder, is always scored with a map that was fitted on the others")  # fmt: skip
    parser.add_argument("--cross-fit-parts", type=positive, default=None, metavar="N",
                        help="number of random parts of a single folder (default: 5, or as many as there are cases)")  # fmt: skip
    parser.add_argument(
        "--parts", type=positive, dest="cross_fit_parts", action=FormerOption, now="--cross-fit-parts N"
    )
    parser.add_argument(
        "--max-voxels",
        type=positive,
        default=None,
        metavar="N",
        help="fit on N voxels, drawn at random (default: on all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random draws (default: %(default)s)")
    parser.add_argument(
        "--bins", type=bins, default=15, help="number of equal-width confidence bins (default: %(default)s)"
    )
    parser.add_argument("--ensemble", type=Path, nargs="+", default=[], metavar="PREDICTED",
                        help="with --method temperature: a prediction folder of each single fold, for the same cases, which no fold was "
                             "trained on; also estimates the temperature of the ensemble of these folds, without labels")  # fmt: skip
    _add_memory(parser)
    add_groups(parser)
    parser.set_defaults(run=run_fit)


def _add_apply(steps: Commands) -> None:
    text = "write a copy of a prediction folder with recalibrated probabilities; everything else is copied unchanged"
    parser = steps.add_parser("apply", help=text, description=text)
    parser.add_argument("temperature", type=Path, metavar="TEMPERATURE_JSON", help="file that `recalibrate fit` wrote")
    inputs.add_predicted(parser)
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="new or empty folder")
    inputs.add_descriptions(parser)
    parser.add_argument("--held-out", action="store_true", help="for the cases that were used for the fit: apply to each "
                        "the map that was fitted without it")  # fmt: skip
    parser.add_argument("--rewrite-segmentations", action="store_true", help="compute the segmentations from the new "
                        "probabilities (default: copy the given ones, which may have been postprocessed)")  # fmt: skip
    inputs.add_processes(parser)
    _add_memory(parser)
    parser.set_defaults(run=run_apply)


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-memory", type=memory_size, default=2 * 2**30, metavar="SIZE",
                        help="memory for the probabilities of a case, e.g. 512M; larger cases are unpacked to a temporary file in the folder of "
                             "-o (default: 2G)")  # fmt: skip
    parser.add_argument("--memory", type=positive, dest="max_memory", action=FormerOption, now="--max-memory SIZE",
                        convert=lambda mebibytes: mebibytes * 2**20)  # fmt: skip


def run_fit(parsed: argparse.Namespace) -> int:
    """Run ``fit`` and return its exit status."""
    from nnunet_nacl.evaluation.validation_cases import sentences_on_folders
    from nnunet_nacl.files.fit_files import write
    from nnunet_nacl.files.json_files import mapping_if_any
    from nnunet_nacl.files.output_folder import output_folder
    from nnunet_nacl.recalibration.temperature_content import compared
    from nnunet_nacl.report.console import table_console
    from nnunet_nacl.report.recalibration_table import prepare_methods_table, prepare_recalibration_table

    if parsed.cross_fit_parts is not None and len(parsed.predicted) > 1:
        raise InputError("--cross-fit-parts is for a single folder; of several folders each is a part.")
    if parsed.o.is_dir():
        raise InputError(f"{parsed.o}: is a folder. Give -o the name of a file, e.g. temperature.json.")
    files = inputs.find_inputs(parsed, parsed.predicted)
    chosen = _method(parsed)
    if parsed.ensemble and (chosen != "temperature" or parsed.voxel_set not in (None, "predicted")):
        raise InputError(
            "--ensemble needs --method temperature and the voxel set `predicted`; for others the estimate is far off."
        )
    with output_folder(parsed.o.parent):
        ensemble = _ensemble(parsed, files) if parsed.ensemble else None
        contents = _fit_methods(parsed, files, chosen, ensemble)
        contents[chosen]["compared"] = compared({name: each for name, each in contents.items() if name != chosen})
        write(contents[chosen], parsed.o)
    if len(contents) > 1:
        table_console().print(prepare_methods_table(contents))
    table_console().print(prepare_recalibration_table(contents[chosen]))
    for line in fit_lines(contents[chosen]):
        print(line)
    dataset_name = str(mapping_if_any(files.plans_json).get("dataset_name", ""))
    for sentence in sentences_on_folders(parsed.predicted, dataset_name):
        note(sentence)
    print(f"wrote {parsed.o}")
    return 0


def _fit_methods(
    parsed: argparse.Namespace, files: inputs.Inputs, chosen: str, ensemble: Disagreement | None
) -> dict[str, dict[str, Any]]:
    """Return the content of the file of the chosen method, and of each other one that is to be compared with it."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.recalibration.fit import fit_folders
    from nnunet_nacl.recalibration.temperature_content import content_of, ensemble_of

    contents, also = {}, GUARANTEES if parsed.compare_methods else parsed.also
    options = _options(parsed, chosen, each_folder=ensemble is not None)
    described = files.label_folder, files.dataset_json, files.plans_json
    for method in dict.fromkeys((chosen, *also)):
        own = options if method == chosen else replace(options, method=method, each_folder=False)
        with progress_bar(f"reading ({method})" if also else "reading") as advance:
            try:
                result = fit_folders(parsed.predicted, *described, own, parsed.o.parent, advance)
            except InputError as error:
                if method == chosen:
                    raise
                # the same files were read for the method that was asked for: this one has nothing to fit on
                note(f"{method} is left out: {error}")
                continue
        contents[method] = content_of(result)
        if ensemble is not None and method == chosen:
            contents[method]["ensemble"] = ensemble_of(ensemble, result)
    return contents


def _options(parsed: argparse.Namespace, method: str, each_folder: bool) -> Options:
    from nnunet_nacl.recalibration.fit import Options

    return Options(
        method=method,
        voxel_set=parsed.voxel_set,
        parts=parsed.cross_fit_parts,
        max_voxels=parsed.max_voxels,
        seed=parsed.seed,
        memory=parsed.max_memory,
        n_bins=parsed.bins,
        groups=groups_of(parsed),
        each_folder=each_folder,
    )


def _ensemble(parsed: argparse.Namespace, files: inputs.Inputs) -> Disagreement:
    """Return how far the folds of ``--ensemble`` disagree."""
    from nnunet_nacl.evaluation.dataset import load_dataset
    from nnunet_nacl.recalibration.ensemble import disagreement
    from nnunet_nacl.recalibration.heads import heads_of

    heads = heads_of(load_dataset(files.dataset_json, files.plans_json))
    return disagreement(parsed.ensemble, heads, parsed.max_memory, parsed.o.parent)


def _method(parsed: argparse.Namespace) -> str:
    if parsed.per_class and parsed.method not in (None, "per-class"):
        raise InputError(f"--per-class is the old name of --method per-class; got --method {parsed.method} as well.")
    return "per-class" if parsed.per_class else parsed.method or DEFAULT_METHOD


def run_apply(parsed: argparse.Namespace) -> int:
    """Run ``apply`` and return its exit status."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.files.output_folder import output_folder
    from nnunet_nacl.recalibration.apply import apply_to_folder

    files = inputs.find_inputs(parsed, [parsed.predicted], labels=False)
    with output_folder(parsed.o), progress_bar("applying") as advance:
        applied, fitted = apply_to_folder(
            parsed.temperature,
            parsed.predicted,
            parsed.o,
            files.dataset_json,
            files.plans_json,
            held_out=parsed.held_out,
            num_processes=parsed.np or default_processes(),
            memory=parsed.max_memory,
            rewrite=parsed.rewrite_segmentations,
            progress=lambda done, of: advance("applying", done, of),
        )
    for line in _segmentation_lines(applied):
        print(line)
    used = sum(result.case in fitted.fitted_on for result in applied)
    if used and not parsed.held_out:
        print(
            f"{used} of these cases were used for the fit, so their scores will be too good. Use --held-out for them."
        )
    for line in harm_lines(fitted.harm):
        print(line)
    print(f"wrote {parsed.o}")
    return 0


def _segmentation_lines(applied: list[Applied]) -> list[str]:
    """Return in words what the segmentations have to do with the new probabilities."""
    changed, rewritten = sum(result.n_changed for result in applied), any(result.rewritten for result in applied)
    edited = [result for result in applied if result.n_edited]
    lines = [f"{len(applied)} cases; the recalibration changed the label of {changed} voxels."]
    if changed and not rewritten:
        lines.append(
            "The segmentations are copies of the given ones, without these changes; --rewrite-segmentations computes them again."
        )
    if edited:
        outcome = "the new ones are, so any postprocessing is lost" if rewritten else "they were copied unchanged"
        lines.append(
            f"{sum(result.n_edited for result in edited)} voxels of {len(edited)} given segmentations were not those of their "
            f"own probabilities (postprocessed?); {outcome}."
        )
    return lines
