"""``nnunet-nacl thresholds fit`` and ``nnunet-nacl thresholds apply``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, default_processes
from nnunet_nacl.commands.fits import add_fit, number_within, read_fit_input, warn, with_probabilities, write_table

LEAST, MOST = 0.001, 0.5
"""Of a miss rate: half of a structure is no miss rate to keep, and 0.001 needs a thousand patients."""

TABLE = "thresholds.csv"
COLUMNS = ("case", "class", "name", "threshold", "volume_ml", "segmentation_ml", "findings", "segmentation_findings")


def add(commands: Commands) -> None:
    """Add the command, its two steps and their arguments."""
    text = "masks with a given mean miss rate: the threshold of each class, its cost, and the masks of new predictions"
    parser = commands.add_parser(
        "thresholds",
        help=text,
        description=f"{text}. On average over new cases drawn like those of the fit, no more than the given share of a structure's voxels is missed; with --groups "
        "it is the mean over patients, each with the mean of their cases, which need not hold for the mean over cases.",
    )
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    fit = add_fit(steps, "fit the thresholds on the results of validation folders", "THRESHOLDS_JSON", level=False)
    fit.add_argument("--miss", type=_miss, default=0.1, metavar="RATE",
                     help=f"share of a structure's voxels that may be missed, on average over new cases, from {LEAST:g} to {MOST:g} (default: %(default)s)")  # fmt: skip
    fit.add_argument("--trade", action="store_true",
                     help="also print Dice, sensitivity and precision for a range of thresholds, and the threshold with the best mean Dice")  # fmt: skip
    fit.set_defaults(run=run_fit)
    text = "write a mask of each class for new predictions"
    apply = steps.add_parser("apply", help=text, description=text)
    apply.add_argument("fit", type=Path, metavar="THRESHOLDS_JSON", help="file of `fit`")
    inputs.add_predicted(apply)
    apply.add_argument("-o", type=Path, required=True, metavar="FOLDER",
                       help=f"new folder for {TABLE} and a folder of masks for each class")  # fmt: skip
    inputs.add_descriptions(apply)
    inputs.add_processes(apply)
    apply.set_defaults(run=run_apply)


def _miss(text: str) -> float:
    return number_within(text, LEAST, MOST, "a miss rate")


def run_fit(parsed: argparse.Namespace) -> int:
    """Run ``fit`` and return its exit status: 1 if no class has a threshold."""
    from nnunet_nacl.decisions.threshold_fit import fit_thresholds
    from nnunet_nacl.files.fit_files import write
    from nnunet_nacl.files.output_folder import output_folder

    evaluated, groups = read_fit_input(parsed)
    content = with_probabilities(fit_thresholds(evaluated, parsed.miss, groups, parsed.trade), evaluated)
    fitted = [entry for entry in content["structures"].values() if entry["threshold"] is not None]
    useful = bool(fitted) or parsed.trade
    if useful:
        with output_folder(parsed.o.parent):
            write(content, parsed.o)
    if fitted:
        _print_fit(content)
    if parsed.trade:
        for entry in content["structures"].values():
            _print_trade(entry, "cases" if content["unit"] == "case" else "patients")
    warn(content["warnings"])
    if useful:
        print(f"wrote {parsed.o}")
    return 0 if useful else 1


def _print_fit(content: dict[str, Any]) -> None:
    from rich.text import Text

    from nnunet_nacl.report.console import plain_table, table_console

    units = "cases" if content["unit"] == "case" else "patients"
    table = plain_table(f"Miss rate {content['level']:g}: segmentation to mask, {units} left out one by one")
    table.add_column("class", overflow="fold")
    for heading in (units, "threshold"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("missed", "volume, ml", "false, ml"):
        table.add_column(heading, no_wrap=True)
    fitted = [entry for entry in content["structures"].values() if entry["threshold"] is not None]
    for entry in fitted:
        price, left_out = entry["price"], entry["left_out"]
        times = "" if price["volume_ratio"] is None else f" (x {price['volume_ratio']:.2f})"
        missed = f"{entry['miss_rate']:.3f} *" if left_out is None else f"{left_out['miss_rate']:.3f}"
        volume, false = price["volume_ml"], price["false_positive_ml"]
        table.add_row(
            Text(entry["name"]),
            str(entry["n_units"]),
            f"{entry['threshold']:.3g}",
            f"{entry['argmax_miss_rate']:.3f} to {missed}",
            f"{_ml(volume['threshold'])}{times}",
            f"{_ml(false['argmax'])} to {_ml(false['threshold'])}",
        )
    table_console().print(table)
    if any(entry["left_out"] is None for entry in fitted):
        print(
            f"* measured on the {units} of the fit themselves, volumes too: with one left out they are too few. In new cases more is missed."
        )
    print(_guarantee(content))


def _guarantee(content: dict[str, Any]) -> str:
    """Return what the thresholds are worth, in words; no promise where a result left out contradicts it."""
    level = f"{100 * content['level']:g} %"
    mean = (
        "on average over cases that have it"
        if content["unit"] == "case"
        else "on average over patients that have it (each with the mean of their cases that have it; not over cases)"
    )
    differ = [
        entry["name"]
        for entry in content["structures"].values()
        if entry.get("across_results") and entry["across_results"]["above_the_level"]
    ]
    if differ:
        return (
            f"At most {level} of a structure would be missed, {mean}, if new cases were drawn like all cases of the fit "
            f"together. But a threshold fitted without one of the results did not achieve this in it ({', '.join(differ)}), so nothing is guaranteed for another network, or an ensemble."
        )
    return (
        f"If new cases are drawn like those of the fit (exchangeable: same networks, scanners, kind of patients), at most {level} of a structure's voxels "
        f"are missed, {mean}, and over fits. For a single patient or a subgroup of patients nothing is guaranteed, "
        "and neither for another network, scanner or annotator."
    )


def _print_trade(entry: dict[str, Any], units: str) -> None:
    from rich.text import Text

    from nnunet_nacl.report.console import plain_table, table_console

    trade = entry["trade"]
    if trade is None:
        return
    table = plain_table(Text(f"{entry['name']}: means over {units} that have it; false ml over all"))
    for heading in ("threshold", "Dice", "sensitivity", "precision", "false ml"):
        table.add_column(heading, justify="right")
    for row in (*trade["table"], trade["argmax"]):
        names = ("Dice", "sensitivity", "precision")
        table.add_row(
            "argmax" if row["threshold"] is None else f"{row['threshold']:.3g}",
            *("-" if row[name] is None else f"{row[name]:.3f}" for name in names),
            _ml(row["false_positive_ml"]),
        )
    table_console().print(table)
    print(f"{entry['name']}: best mean Dice at {trade['best_threshold']:.3g}. {_gain(trade, units)}")


def _gain(trade: dict[str, Any], units: str) -> str:
    """Return what the best threshold gains on other data, in words."""
    if trade["difference"] is None:
        return f"Its gain over argmax is unknown (-): all {units} have cases in each result, so none are left to choose it on."
    low, high = trade["difference_interval"]
    return (
        f"Chosen on other {trade['cross_fitted_over']}: Dice {trade['cross_fitted_Dice']:.4f}, argmax {trade['argmax_Dice']:.4f}, "
        f"difference {trade['difference']:+.4f}"
        + (" (no interval: too few, or all alike" if low is None else f" ({low:+.4f} to {high:+.4f}")
        + f"; {trade['cross_fitted_units']} {units})"
    )


def _ml(volume: float | None) -> str:
    return "-" if volume is None or math.isnan(volume) else f"{volume:.3g}"


def run_apply(parsed: argparse.Namespace) -> int:
    """Run ``apply`` and return its exit status."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.decisions.fit_file import check_structures
    from nnunet_nacl.decisions.fitted_probabilities import other_kind
    from nnunet_nacl.decisions.threshold_fit import ThresholdFit
    from nnunet_nacl.decisions.threshold_masks import write_masks
    from nnunet_nacl.errors import InputError
    from nnunet_nacl.evaluation.dataset import load_dataset
    from nnunet_nacl.files.fit_files import write
    from nnunet_nacl.files.output_folder import output_folder

    fit = ThresholdFit(parsed.fit)
    if not any(fit.thresholds.values()):
        why = f": {'; '.join(fit.why_not[:2])}" if fit.why_not else ""
        raise InputError(
            f"{parsed.fit}: no class has a threshold{why}. Nothing can be applied; fit on other results, or at a higher --miss."
        )
    files = inputs.find_inputs(parsed, [parsed.predicted], labels=False)
    dataset = load_dataset(files.dataset_json, files.plans_json)
    check_structures(fit.path, fit.content, dataset, files.dataset_json)
    with output_folder(parsed.o), progress_bar("applying") as advance:
        masks = write_masks(
            fit.thresholds,
            fit.structures,
            parsed.predicted,
            parsed.o,
            dataset,
            parsed.np or default_processes(),
            lambda done, of: advance("applying", done, of),
        )
        rows = [
            (mask.case, mask.key, fit.structures[mask.key], fit.thresholds[mask.key], *_volumes(mask), mask.findings,
             mask.segmentation_findings)
            for mask in masks
        ]  # fmt: skip
        write_table(COLUMNS, rows, parsed.o / TABLE)
        write(fit.content, parsed.o / "thresholds.json")
    _print_masks(fit, masks)
    warn(other_kind(parsed.fit, fit.content, parsed.predicted))
    warn(fit.sentences)
    known = sorted({mask.case for mask in masks} & set(fit.content["cases"]))
    if known:
        warn([f"{len(known)} cases have the name of a case of the fit ({', '.join(known[:3])}), for which the miss rate will be slightly too low if they are the same cases"])  # fmt: skip
    print(f"wrote {parsed.o}")
    return 0


def _volumes(mask: Any) -> tuple[float | None, float | None]:
    return tuple(
        None if math.isnan(value) else float(f"{value:.9g}") for value in (mask.volume_ml, mask.segmentation_ml)
    )  # type: ignore[return-value]


def _print_masks(fit: Any, masks: Any) -> None:
    for key, name in fit.structures.items():
        own = [mask for mask in masks if mask.key == key]
        if own:
            volume, before = (
                sum(getattr(mask, each) for mask in own) / len(own) for each in ("volume_ml", "segmentation_ml")
            )
            found, segmented = (
                sum(getattr(mask, each) for mask in own) / len(own) for each in ("findings", "segmentation_findings")
            )
            print(
                f"{name}: p of at least {fit.thresholds[key]:.3g}; {_ml(volume)} ml and {found:.1f} findings a case (means over cases), in the segmentations "
                f"{_ml(before)} ml and {segmented:.1f}"
            )
