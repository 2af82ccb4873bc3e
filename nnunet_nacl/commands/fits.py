"""What ``volumes`` and ``triage`` share: their arguments, the evaluated folders of a fit, and the predictions that it is applied to."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_nacl.commands import inputs
from nnunet_nacl.commands.arguments import Commands, default_processes
from nnunet_nacl.commands.groups import add_groups
from nnunet_nacl.commands.messages import warning
from nnunet_nacl.commands.outputs import check_output

if TYPE_CHECKING:
    from nnunet_nacl.decisions.case_table import CaseTable, Evaluated
    from nnunet_nacl.evaluation.dataset import Dataset

MIN_LEVEL, MAX_LEVEL = 0.5, 0.999
"""An interval that fails in most cases helps nobody; 0.999 needs two thousand cases."""


def add_fit(steps: Commands, text: str, file: str, *, level: bool = True) -> argparse.ArgumentParser:
    """Add ``fit``: evaluated folders in, a file out; with ``--level`` of an interval, or without."""
    parser = steps.add_parser("fit", help=text, description=text)
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT",
                        help="evaluated prediction folder, e.g. fold_0/validation, or output folder of `nnunet-nacl evaluate`; one per fold")  # fmt: skip
    parser.add_argument("-o", type=Path, required=True, metavar=file, help="file to write")
    if level:
        parser.add_argument(
            "--level",
            type=_level,
            default=0.9,
            help=f"level of the intervals, from {MIN_LEVEL:g} to {MAX_LEVEL:g} (default: %(default)s)",
        )
    add_groups(parser)
    return parser


def add_apply(steps: Commands, text: str, file: str) -> argparse.ArgumentParser:
    """Add ``apply``: that file and new predictions in, a table out."""
    parser = steps.add_parser("apply", help=text, description=text)
    parser.add_argument("fit", type=Path, metavar=file, help="file of `fit`")
    parser.add_argument("predicted", type=Path, metavar="PREDICTED",
                        help="prediction folder, with .npz files if they were saved")  # fmt: skip
    parser.add_argument("-o", type=Path, required=True, metavar="CASES_CSV", help="table to write")
    inputs.add_descriptions(parser)
    inputs.add_processes(parser)
    inputs.add_max_memory(parser)
    return parser


def _level(text: str) -> float:
    return number_within(text, MIN_LEVEL, MAX_LEVEL, "a level")


def number_within(text: str, least: float, most: float, what: str) -> float:
    """Return a number of the command line; argparse.ArgumentTypeError unless it lies between two others."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"expected {what} from {least:g} to {most:g}, got {text!r:.40}")
    return number


def read_fit_input(parsed: argparse.Namespace) -> tuple[Evaluated, list[str] | None]:
    """Return the evaluated cases and the group of each, and warn of cases that were trained on.

    Raises:
        InputError: see :func:`~nnunet_nacl.decisions.case_table.read_evaluated`.
    """
    from nnunet_nacl.commands.groups import groups_of
    from nnunet_nacl.decisions.case_table import read_evaluated
    from nnunet_nacl.evaluation.remarks import (
        LEFT_OVER,
        SEGMENTATION_DIFFERS,
        SPACING_ASSUMED,
        TRAINED_ON,
        gather,
        in_words,
    )

    check_output(parsed.o, [*parsed.results, parsed.groups, *(getattr(parsed, "members", None) or ())])
    groups = groups_of(parsed)
    evaluated = read_evaluated(parsed.results)
    cases = evaluated.result.cases
    kinds = (TRAINED_ON, LEFT_OVER, SEGMENTATION_DIFFERS, SPACING_ASSUMED)
    seen = [(case.case.name, {kind: text for kind, text in case.remarks.items() if kind in kinds}) for case in cases]
    warn(in_words(gather(seen), len(cases)))
    return evaluated, None if groups is None else groups.of(evaluated.table.cases)


def with_probabilities(content: dict[str, Any], evaluated: Evaluated) -> dict[str, Any]:
    """Return the content of a fit's file with the kinds of probabilities that it was fitted on, and warn where these are several."""
    from nnunet_nacl.decisions.fitted_probabilities import kinds_of, mixed

    content = content | kinds_of(evaluated.result)
    warn(mixed(content))
    return content


def read_predicted(parsed: argparse.Namespace, fit: Any) -> tuple[CaseTable, Dataset]:
    """Return the predictions that a fit is applied to.

    Raises:
        InputError: they are not of the labels that were fitted, or cannot be read.
    """
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.decisions.fit_file import check_structures
    from nnunet_nacl.decisions.fitted_probabilities import other_kind
    from nnunet_nacl.decisions.predictions import find_predictions, read_predictions
    from nnunet_nacl.evaluation.dataset import load_dataset
    from nnunet_nacl.evaluation.remarks import SEGMENTATION_DIFFERS, SPACING_ASSUMED, gather, in_words
    from nnunet_nacl.nnunet.prediction_folder import DATASET_JSON, PLANS_JSON, find_description

    given = (parsed.fit, parsed.predicted, parsed.djfile, parsed.pfile, *(getattr(parsed, "members", None) or ()))
    check_output(parsed.o, given)
    dataset_json = parsed.djfile or find_description(parsed.predicted, DATASET_JSON)
    plans_json = parsed.pfile or find_description(parsed.predicted, PLANS_JSON)
    dataset = load_dataset(dataset_json, plans_json)
    check_structures(fit.path, fit.content, dataset, dataset_json)
    cases = find_predictions(parsed.predicted, dataset)
    with progress_bar("reading") as advance:
        table = read_predictions(
            cases,
            dataset,
            parsed.np or default_processes(),
            parsed.max_memory,
            lambda done, of: advance("reading", done, of),
        )
    if table.soft is not None:
        warn(other_kind(parsed.fit, fit.content, parsed.predicted))
    kinds = (SEGMENTATION_DIFFERS, SPACING_ASSUMED)
    seen = [
        (case, {kind: text for kind, text in remarks.items() if kind in kinds})
        for case, remarks in zip(table.cases, table.remarks, strict=False)
    ]
    warn(in_words(gather(seen), len(table.cases)))
    known = sorted(set(table.cases) & set(fit.content["cases"]))
    if known:
        warn([f"{len(known)} of {len(table.cases)} cases have the name of a case of the fit; if they are the same cases, the results are too good: "
              f"{', '.join(known[:3])}"])  # fmt: skip
    return table, dataset


def write_table(header: Sequence[str], rows: Iterable[Sequence[Any]], path: Path) -> None:
    """Write a CSV file so that nobody sees half of it."""
    from nnunet_nacl.files.whole_file import replacing

    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(["" if value is None else value for value in row] for row in rows)


def warn(sentences: Iterable[str]) -> None:
    """Print warnings on stderr, a line each."""
    for sentence in sentences:
        warning(sentence)
