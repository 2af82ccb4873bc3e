"""``nnunet-nacl triage fit`` and ``nnunet-nacl triage apply``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.commands.fits import add_apply, add_fit, read_fit_input, read_predicted, warn, write_table
from nnunet_nacl.errors import InputError

if TYPE_CHECKING:
    from nnunet_nacl.decisions.triage_fit import TriageFit

# the keys of decisions.triage.SCORES; not imported, so that --help is instant
SCORES = ("soft_Dice", "mean_probability", "mean_entropy", "volume", "agreement")


def add(commands: Commands) -> None:
    """Add the command, its two steps and their arguments."""
    text = "which cases to look at: confidences that need no label, and how well each finds the bad ones"
    parser = commands.add_parser("triage", help=text, description=f"{text}. docs/decisions.md explains the figures.")
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    fit = add_fit(steps, "see on evaluated validation folders which confidence finds bad cases", "TRIAGE_JSON")
    _add_members(fit)
    fit.set_defaults(run=run_fit)
    apply = add_apply(steps, "estimate the Dice of new predictions and mark those to check, worst first", "TRIAGE_JSON")
    apply.add_argument("--budget", type=_share, default=0.1, metavar="SHARE",
                       help="share of the cases that are marked to be checked (default: %(default)s)")  # fmt: skip
    apply.add_argument(
        "--score", choices=SCORES, default=SCORES[0], help="confidence to sort by (default: %(default)s)"
    )
    _add_members(apply)
    apply.set_defaults(run=run_apply)


def _add_members(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--members", type=Path, nargs="+", default=None, metavar="FOLDER",
                        help="predictions of the same cases by each of several networks, as the folds of an ensemble: the Dice "
                             "between their segmentations is one more confidence")  # fmt: skip


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, got {text}")
    return share


def run_fit(parsed: argparse.Namespace) -> int:
    """Run ``fit`` and return its exit status."""
    from nnunet_nacl.decisions.across import in_words
    from nnunet_nacl.decisions.fit_file import write
    from nnunet_nacl.decisions.predictions import dataset_of_members, pairwise_dice
    from nnunet_nacl.decisions.triage_fit import fit_triage
    from nnunet_nacl.evaluation.output import output_folder

    evaluated, groups = read_fit_input(parsed)
    agreement = None
    if parsed.members is not None:
        agreement = pairwise_dice(evaluated.table.cases, parsed.members, dataset_of_members(parsed.members))
    content = fit_triage(evaluated, parsed.level, groups, agreement)
    with output_folder(parsed.o.parent):
        write(content, parsed.o)
    _print_fit(content)
    warn(in_words("Dice", "the lower bound", content["all_structures"]["across_results"], content["level"]))
    print(f"wrote {parsed.o}")
    return 0


def _print_fit(content: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    whole = content["all_structures"]
    table = Table("confidence", "AUGRC x 1000", "above the best order", "AURC x 1000", "of the worst 10 %, found in 10 %",
                  title=f"{content['n_units']} {'cases' if content['unit'] == 'case' else 'patients'}; lower areas find bad cases better",
                  title_justify="left")  # fmt: skip
    for name, found in whole["scores"].items():
        if found is not None:
            table.add_row(name, _area(found, "AUGRC"), _area(found, "excess_AUGRC"), _area(found, "AURC"),
                          f"{found['found_of_worst_tenth']:.0%}")  # fmt: skip
    Console().print(table)
    first = next(found for found in whole["scores"].values() if found is not None)
    print(
        f"A confidence that knows nothing has an AUGRC of {500 * first['mean_risk']:.1f} here: half the mean of 1 - Dice."
    )
    estimate = whole["estimate"]
    print(
        f"The mean Dice of a new case is estimated as its soft Dice confidence {estimate['median']:+.3f}; it is at least that confidence "
        f"{estimate['lower']:+.3f} in {100 * content['level']:g} % of new cases like these."
    )


def _area(found: dict[str, Any], name: str) -> str:
    low, high = found[f"{name}_interval"]
    return f"{1000 * found[name]:.1f} ({1000 * low:.1f} to {1000 * high:.1f})"


def run_apply(parsed: argparse.Namespace) -> int:
    """Run ``apply`` and return its exit status."""
    from nnunet_nacl.decisions.predictions import pairwise_dice
    from nnunet_nacl.decisions.triage import case_confidences, class_confidences
    from nnunet_nacl.decisions.triage_fit import TriageFit
    from nnunet_nacl.evaluation.output import output_folder

    fit = TriageFit(parsed.fit)
    table, dataset = read_predicted(parsed, fit)
    agreement = None if parsed.members is None else pairwise_dice(table.cases, parsed.members, dataset)
    confidences = case_confidences(table, fit.always, agreement)
    if parsed.score not in confidences:
        raise InputError(
            f"--score {parsed.score} needs {'--members' if parsed.score == 'agreement' else 'a softmax file (.npz) of every case'}."
        )
    rows = _rows(fit, table.cases, confidences, class_confidences(table).get("soft_Dice"), parsed.score, parsed.budget)
    with output_folder(parsed.o.parent):
        write_table(_header(fit, confidences), rows, parsed.o)
    _print_rows(rows, parsed.score)
    nothing = [str(row[0]) for row in rows if row[-1]]
    if nothing:
        warn(
            [
                f"{len(nothing)} of {len(rows)} cases have no predicted structure, so no confidence; they come last: {', '.join(nothing[:3])}"
            ]
        )
    print(f"wrote {parsed.o}")
    return 0


def _header(fit: TriageFit, confidences: dict[str, Any]) -> list[str]:
    header = ["case", "check", "estimated_Dice", "lower_Dice", *confidences]
    for key in fit.structures:
        header += [f"estimated_Dice_{key}", f"lower_Dice_{key}", f"soft_Dice_{key}"]
    return [*header, "note"]


def _rows(
    fit: TriageFit, cases: tuple[str, ...], confidences: dict[str, Any], of_classes: Any, score: str, budget: float
) -> list[list[Any]]:
    """Return the rows of the table, the least confident case first; those without a confidence last."""
    import numpy as np

    from nnunet_nacl.decisions.triage import n_to_check

    unknown = np.full((len(cases), len(fit.structures)), np.nan)
    of_classes = unknown if of_classes is None else of_classes
    estimates, bounds = fit.estimates(confidences.get("soft_Dice", unknown[:, 0]), of_classes)
    order = np.argsort(confidences[score], kind="stable")  # NaN last
    n_check = n_to_check(len(cases), budget)
    rows = []
    for rank, case in enumerate(order):
        sure = confidences[score][case]
        row = [
            cases[case],
            "check" if rank < n_check and not math.isnan(sure) else "",
            estimates[0][case],
            bounds[0][case],
        ]
        row += [-values[case] if name == "mean_entropy" else values[case] for name, values in confidences.items()]
        for place in range(len(fit.structures)):
            row += [estimates[place + 1][case], bounds[place + 1][case], of_classes[case, place]]
        plain = [None if isinstance(value, float) and math.isnan(value) else value for value in row]
        rows.append([*plain, "nothing predicted" if math.isnan(sure) else ""])
    return rows


def _print_rows(rows: list[list[Any]], score: str, shown: int = 10) -> None:
    marked = [row for row in rows if row[1]]
    print(f"{len(marked)} of {len(rows)} cases to check, least {score} first:")
    for row in marked[:shown]:
        says = "" if row[2] is None else f": Dice about {row[2]:.2f}, at least {row[3]:.2f}"
        print(f"  {row[0]}{says}")
    if len(marked) > shown:
        print(f"  and {len(marked) - shown} more")
