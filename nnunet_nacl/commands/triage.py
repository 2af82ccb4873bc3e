"""``nnunet-nacl triage fit`` and ``nnunet-nacl triage apply``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.commands.fits import (
    add_apply,
    add_fit,
    number_within,
    read_fit_input,
    read_predicted,
    warn,
    with_probabilities,
    write_table,
)
from nnunet_nacl.errors import InputError

if TYPE_CHECKING:
    from nnunet_nacl.decisions.case_table import CaseTable
    from nnunet_nacl.decisions.triage_fit import TriageFit

# the keys of decisions.triage.SCORES; not imported, so that --help is instant
SCORES = ("soft_Dice", "mean_probability", "mean_entropy", "volume", "agreement")


def add(commands: Commands) -> None:
    """Add the command, its two steps and their arguments."""
    text = "which cases to review: confidences that need no label, and how well each finds cases with a low Dice"
    parser = commands.add_parser(
        "triage",
        help=text,
        description=f"{text}. The figures are explained on the page Volumes and triage of the documentation.",
    )
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    fit = add_fit(
        steps,
        "measure on the results of validation folders which confidence finds cases with a low Dice",
        "TRIAGE_JSON",
    )
    _add_members(fit)
    fit.set_defaults(run=run_fit)
    apply = add_apply(
        steps, "estimate the Dice of new predictions and mark the cases to check, worst first", "TRIAGE_JSON"
    )
    apply.add_argument("--budget", type=_share, default=0.1, metavar="SHARE",
                       help="share of the cases that are marked to be checked (default: %(default)s)")  # fmt: skip
    apply.add_argument(
        "--score", choices=SCORES, default=SCORES[0], help="confidence to sort by (default: %(default)s)"
    )
    _add_members(apply)
    apply.set_defaults(run=run_apply)


def _add_members(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--members", type=Path, nargs="+", default=None, metavar="FOLDER",
                        help="prediction folders of the same cases by several networks, such as the folds of an ensemble: the Dice "
                             "between their segmentations is a further confidence")  # fmt: skip


def _share(text: str) -> float:
    return number_within(text, 0, 1, "a share of the cases")


def run_fit(parsed: argparse.Namespace) -> int:
    """Run ``fit`` and return its exit status."""
    from nnunet_nacl.decisions.across import in_words
    from nnunet_nacl.decisions.predictions import dataset_of_members, pairwise_dice
    from nnunet_nacl.decisions.triage_fit import fit_triage
    from nnunet_nacl.files.fit_files import write
    from nnunet_nacl.files.output_folder import output_folder

    evaluated, groups = read_fit_input(parsed)
    agreement = None
    if parsed.members is not None:
        agreement = pairwise_dice(evaluated.table.cases, parsed.members, dataset_of_members(parsed.members))
    content = with_probabilities(fit_triage(evaluated, parsed.level, groups, agreement), evaluated)
    with output_folder(parsed.o.parent):
        write(content, parsed.o)
    _print_fit(content)
    warn(in_words("Dice", "the lower bound", content["all_structures"]["across_results"], content["level"]))
    print(f"wrote {parsed.o}")
    return 0


def _print_fit(content: dict[str, Any]) -> None:
    from nnunet_nacl.report.console import plain_table, table_console

    whole = content["all_structures"]
    units = "cases" if content["unit"] == "case" else "patients"
    table = plain_table(f"{content['n_units']} {units}; lower areas find bad cases better")
    table.add_column("confidence", no_wrap=True)
    for heading in ("AUGRC\nx 1000", "above the\nbest order", "AURC\nx 1000", "of the worst\n10 %, found\nin 10 %"):
        table.add_column(heading, no_wrap=True)
    for name, found in whole["scores"].items():
        if found is not None:
            table.add_row(name, _area(found, "AUGRC"), _area(found, "excess_AUGRC"), _area(found, "AURC"),
                          f"{found['found_of_worst_tenth']:.0%}")  # fmt: skip
    table_console().print(table)
    first = next(found for found in whole["scores"].values() if found is not None)
    print(
        f"A confidence without information has an AUGRC of {500 * first['mean_risk']:.1f} here: half the mean of 1 - Dice."
    )
    print(_guarantee(content))


def _guarantee(content: dict[str, Any]) -> str:
    """Return what the estimate and the bound are worth, in words; no promise where a result left out contradicts it."""
    estimate, across = content["all_structures"]["estimate"], content["all_structures"]["across_results"]
    level = f"{100 * content['level']:g} %"
    centre = f"The mean Dice of a new case is estimated as its soft Dice confidence {_signed(estimate['median'])}"
    bound = f"soft Dice confidence {_signed(estimate['lower'])}"
    if across is not None and across["below_the_level"]:
        return (
            f"{centre}. {bound[0].upper()}{bound[1:]} would be its lower bound at {level} if new cases were like all of these together. But a bound "
            "fitted without one of the results did not hold in it, so nothing is guaranteed for another network, or an ensemble."
        )
    over = "cases" if content["unit"] == "case" else "patients (with equal weights; not over cases)"
    return (
        f"{centre}; it is at least {bound} in {level} of new cases, on average over all {over} like those of the fit (marginal). For a single case, "
        "for those that are put first, or other kinds of cases, nothing is guaranteed."
    )


def _signed(value: float) -> str:
    return f"{'minus' if value < 0 else 'plus'} {abs(value):.3f}"


def _area(found: dict[str, Any], name: str) -> str:
    low, high = found[f"{name}_interval"]
    if low is None:
        return f"{1000 * found[name]:.1f}"
    return f"{1000 * found[name]:.1f}\n{1000 * low:.1f} to {1000 * high:.1f}"


def run_apply(parsed: argparse.Namespace) -> int:
    """Run ``apply`` and return its exit status."""
    from nnunet_nacl.decisions.across import in_words
    from nnunet_nacl.decisions.predictions import pairwise_dice
    from nnunet_nacl.decisions.triage import case_confidences, class_confidences
    from nnunet_nacl.decisions.triage_fit import TriageFit
    from nnunet_nacl.files.output_folder import output_folder

    fit = TriageFit(parsed.fit)
    table, dataset = read_predicted(parsed, fit)
    agreement = None if parsed.members is None else pairwise_dice(table.cases, parsed.members, dataset)
    confidences = case_confidences(table, fit.always, agreement)
    if parsed.score not in confidences:
        raise InputError(
            f"--score {parsed.score} needs {'--members' if parsed.score == 'agreement' else 'a softmax file (.npz) of every case'}."
        )
    of_classes = class_confidences(table, fit.always).get("soft_Dice")
    rows = _rows(fit, table, confidences, of_classes, parsed.score, parsed.budget)
    with output_folder(parsed.o.parent):
        write_table(_header(fit, confidences), rows, parsed.o)
    _print_rows(rows, parsed.score)
    nothing = [str(row[0]) for row in rows if row[-1]]
    if nothing:
        warn(
            [f"in {len(nothing)} of {len(rows)} cases nothing is predicted; they come first: {', '.join(nothing[:3])}"]
        )
    if "soft_Dice" in confidences:
        warn(in_words("Dice", "the lower bound", fit.across, fit.level))
    print(f"wrote {parsed.o}")
    return 0


def _header(fit: TriageFit, confidences: dict[str, Any]) -> list[str]:
    header = ["case", "check", "estimated_Dice", "lower_Dice", *confidences]
    for key in fit.structures:
        header += [f"estimated_Dice_{key}", f"lower_Dice_{key}", f"soft_Dice_{key}"]
    return [*header, "note"]


def _rows(
    fit: TriageFit, table: CaseTable, confidences: dict[str, Any], of_classes: Any, score: str, budget: float
) -> list[list[Any]]:
    """Return the rows of the table: cases in which nothing is predicted, those without a confidence, then the least confident first."""
    import numpy as np

    from nnunet_nacl.decisions.triage import n_to_check

    unknown = np.full((len(table.cases), len(fit.structures)), np.nan)
    of_classes = unknown if of_classes is None else of_classes
    estimates, bounds = fit.estimates(confidences.get("soft_Dice", unknown[:, 0]), of_classes, table.predicted)
    empty, sure = table.predicted.sum(1) == 0, confidences[score]
    order = np.lexsort((np.where(np.isnan(sure), -np.inf, sure), ~empty))
    n_check = n_to_check(len(table.cases), budget)
    rows = []
    for rank, case in enumerate(order):
        row = [table.cases[case], "check" if rank < n_check else "", estimates[0][case], bounds[0][case]]
        row += [-values[case] if name == "mean_entropy" else values[case] for name, values in confidences.items()]
        for place in range(len(fit.structures)):
            row += [estimates[place + 1][case], bounds[place + 1][case], of_classes[case, place]]
        plain = [None if isinstance(value, float) and math.isnan(value) else value for value in row]
        rows.append([*plain, "nothing predicted" if empty[case] else ""])
    return rows


def _print_rows(rows: list[list[Any]], score: str, shown: int = 10) -> None:
    marked = [row for row in rows if row[1]]
    print(f"{len(marked)} of {len(rows)} cases to check, least {score} first:")
    for row in marked[:shown]:
        says = (
            f": {row[-1]}" if row[-1] else "" if row[2] is None else f": Dice about {row[2]:.2f}, at least {row[3]:.2f}"
        )
        print(f"  {row[0]}{says}")
    if len(marked) > shown:
        print(f"  and {len(marked) - shown} more")
