"""``nnunet-nacl recalibrate fit`` and ``nnunet-nacl recalibrate apply``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, bins, default_processes, memory_size, positive
from nnunet_nacl.commands.former import FormerOption
from nnunet_nacl.errors import InputError

if TYPE_CHECKING:
    from nnunet_nacl.recalibration.apply import Applied

# the keys of recalibration.selection.FIT_SETS, the default first; not imported, so that --help is instant
VOXEL_SETS = ("predicted", "all", "foreground", "union")


def add(commands: Commands) -> None:
    """Add the command, its two steps and their arguments."""
    text = "temperature scaling of saved probabilities: fit on validation folds, apply to predictions"
    parser = commands.add_parser("recalibrate", help=text, description=text)
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    _add_fit(steps)
    _add_apply(steps)


def _add_fit(steps: Commands) -> None:
    text = "fit temperatures on the softmax files of validation folders"
    parser = steps.add_parser("fit", help=text, description=text)
    parser.add_argument("predicted", type=Path, nargs="+", metavar="PREDICTED",
                        help="validation folders with their .npz files, one per fold")  # fmt: skip
    inputs.add_labels(parser)
    inputs.add_descriptions(parser)
    parser.add_argument("-o", type=Path, required=True, metavar="TEMPERATURE_JSON", help="file to write")
    parser.add_argument("--per-class", action="store_true", help="a factor per class, or per region, instead of one")
    parser.add_argument("--voxel-set", choices=VOXEL_SETS, default=VOXEL_SETS[0],
                        help="voxels to fit on (default: %(default)s). `foreground` and `union` choose by the label and "
                             "make even a calibrated network underconfident")  # fmt: skip
    parser.add_argument("--cross-fit", action="store_true",
                        help="also fit without each folder, or without each of several parts of a single folder, so that no "
                             "case is scored with a temperature it had a part in")  # fmt: skip
    parser.add_argument("--cross-fit-parts", type=positive, default=None, metavar="N",
                        help="random parts of a single folder (default: 5)")  # fmt: skip
    parser.add_argument(
        "--parts", type=positive, dest="cross_fit_parts", action=FormerOption, now="--cross-fit-parts N"
    )
    parser.add_argument("--max-voxels", type=positive, default=None, help="fit on that many, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the random draws (default: %(default)s)")
    parser.add_argument("--bins", type=bins, default=15, help="equal-width confidence bins (default: %(default)s)")
    _add_memory(parser)
    parser.set_defaults(run=run_fit)


def _add_apply(steps: Commands) -> None:
    text = "write a copy of a folder of predictions in which the probabilities are tempered and all else is as it was"
    parser = steps.add_parser("apply", help=text, description=text)
    parser.add_argument("temperature", type=Path, metavar="TEMPERATURE_JSON", help="file of `recalibrate fit`")
    inputs.add_predicted(parser)
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="new or empty folder")
    inputs.add_descriptions(parser)
    parser.add_argument("--held-out", action="store_true", help="for the cases of the fit: each with the temperature of "
                        "--cross-fit that it had no part in")  # fmt: skip
    parser.add_argument("--rewrite-segmentations", action="store_true", help="make the segmentations anew from the tempered "
                        "probabilities (default: the given ones, which may have been postprocessed, are copied)")  # fmt: skip
    inputs.add_processes(parser)
    _add_memory(parser)
    parser.set_defaults(run=run_apply)


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-memory", type=memory_size, default=2 * 2**30, metavar="SIZE",
                        help="for the probabilities of a case, e.g. 512M; larger ones are unpacked to a file in the folder of "
                             "-o (default: 2G)")  # fmt: skip
    parser.add_argument("--memory", type=positive, dest="max_memory", action=FormerOption, now="--max-memory SIZE",
                        convert=lambda mebibytes: mebibytes * 2**20)  # fmt: skip


def run_fit(parsed: argparse.Namespace) -> int:
    """Run ``fit`` and return its exit status."""
    from rich.console import Console

    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.evaluation.output import prepare_folder
    from nnunet_nacl.evaluation.validation_cases import sentences_on_folders
    from nnunet_nacl.json_files import mapping_if_any
    from nnunet_nacl.recalibration.fit import DEFAULT_PARTS, Options, fit_folders
    from nnunet_nacl.recalibration.temperature_file import content_of, write
    from nnunet_nacl.report.recalibration_table import prepare_recalibration_table

    if parsed.cross_fit_parts is not None and (not parsed.cross_fit or len(parsed.predicted) > 1):
        raise InputError(
            "--cross-fit-parts goes with --cross-fit and a single folder; several folders are the parts themselves."
        )
    if parsed.o.is_dir():
        raise InputError(f"{parsed.o}: is a folder. Give -o the name of a file, e.g. temperature.json.")
    files = inputs.find_inputs(parsed, parsed.predicted)
    prepare_folder(parsed.o.parent)
    options = Options(
        voxel_set=parsed.voxel_set,
        per_class=parsed.per_class,
        cross_fit=parsed.cross_fit,
        parts=parsed.cross_fit_parts or DEFAULT_PARTS,
        max_voxels=parsed.max_voxels,
        seed=parsed.seed,
        memory=parsed.max_memory,
        n_bins=parsed.bins,
    )
    with progress_bar("reading") as advance:
        result = fit_folders(
            parsed.predicted,
            files.label_folder,
            files.dataset_json,
            files.plans_json,
            options,
            parsed.o.parent,
            advance,
        )
    content = content_of(result)
    write(content, parsed.o)
    Console().print(prepare_recalibration_table(content))
    for line in _fit_lines(content):
        print(line)
    dataset_name = str(mapping_if_any(files.plans_json).get("dataset_name", ""))
    for sentence in sentences_on_folders(parsed.predicted, dataset_name):
        print(f"nnunet-nacl: note: {sentence}", file=sys.stderr)
    print(f"wrote {parsed.o}")
    return 0


def run_apply(parsed: argparse.Namespace) -> int:
    """Run ``apply`` and return its exit status."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.recalibration.apply import apply_to_folder

    files = inputs.find_inputs(parsed, [parsed.predicted], labels=False)
    with progress_bar("applying") as advance:
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
        print(f"{used} of these cases were fitted on: their scores flatter. Use --cross-fit and --held-out for them.")
    print(f"wrote {parsed.o}")
    return 0


def _segmentation_lines(applied: list[Applied]) -> list[str]:
    """Return in words what the segmentations have to do with the new probabilities."""
    changed, rewritten = sum(result.n_changed for result in applied), any(result.rewritten for result in applied)
    edited = [result for result in applied if result.n_edited]
    lines = [f"{len(applied)} cases; the temperature changed the label of {changed} voxels."]
    if changed and not rewritten:
        lines.append(
            "The segmentations are copies of the given ones, without these changes; --rewrite-segmentations makes them anew."
        )
    if edited:
        outcome = (
            "those written are, so what had been done to them is undone"
            if rewritten
            else "they were copied as they are"
        )
        lines.append(
            f"{sum(result.n_edited for result in edited)} voxels of {len(edited)} given segmentations were not those of their "
            f"own probabilities (postprocessed?); {outcome}."
        )
    return lines


def _fit_lines(content: dict) -> list[str]:  # type: ignore[type-arg]
    """Return in words what was fitted on what, and what to beware of."""
    counts, problems = content["counts"], content["counts"]["problems"]
    names = content["channels"] if content["per_class"] else ["all channels"]
    lines = [f"temperature on all cases: {_temperatures(names, content['temperatures'])}"]
    for part in (content["cross_fit"] or {"parts": []})["parts"]:
        lines.append(f"  without {part['name']}: {_temperatures(names, part['temperatures'])}")
    lines.append(f"fitted on {counts['n_fitted']} voxels of the set `{content['voxel_set']}`")
    if counts["subsampled"]:
        lines[-1] += f", drawn from {counts['subsampled']['of']}"
    for key, text in (
        ("n_exact_left_out", "with all probability on one class left out (outside of nnU-Net's crop)"),
        ("n_exact_and_wrong", "of these with another label: no temperature repairs them"),
        ("n_floored", "with a probability of 0, taken as the floor"),
    ):
        number = sum(problem[key] for problem in problems.values())
        if number:
            lines.append(f"  {number} voxels {text}")
    for fit in [*content["fits"], *(fit for part in (content["cross_fit"] or {"parts": []})["parts"] for fit in part["fits"])]:  # fmt: skip
        if not fit["converged"]:
            lines.append(f"warning: the optimiser did not converge: {fit['message']}")
        if fit["separable"]:
            lines.append(
                f"warning: none of {fit['n_voxels']} voxels is wrong, so that no temperature is the best one: it ended at its bound"
            )
        elif fit["at_bound"]:
            lines.append(
                f"warning: a factor ended at its bound ({fit['at_bound']}): too few errors, or nothing but errors"
            )
        if fit["without_labelled_voxel"]:
            absent = ", ".join(fit["without_labelled_voxel"])
            lines.append(f"warning: no voxel labelled {absent} in the set: it has the factor that suits all classes")
    return lines


def _temperatures(names: list[str], values: list[float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in zip(names, values, strict=False))
