"""Within which folds the cases of runs that are compared are put in order: the same in all runs, or a difference of orders would be one of grouping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_nacl.evaluation.part_names import fold_of
from nnunet_nacl.study.run import Run

WITHIN = "Cases are put in order within each fold, and the folds are averaged"


@dataclass(frozen=True)
class SharedFolds:
    """The number of each case's fold, ``(N,)``, 0 for all where all cases have one order; and in words what was done and why."""

    numbers: np.ndarray[Any, Any]
    in_words: str


def shared_folds(runs: Sequence[Run], cases: Sequence[str]) -> SharedFolds:
    """Return the folds of the runs that name one for each case, if these divide the cases in the same way, whatever their names.

    A run that names none, as the results of folders without a fold in their path, has its cases in the folds of the others: the same
    case is compared in both. Where no run names folds, or two divide the cases differently, all cases have one order in all runs.
    """
    named = {run.name: numbers for run in runs if (numbers := _numbers(run, cases)) is not None}
    pooled = np.zeros(len(cases), np.intp)
    if not named:
        return SharedFolds(pooled, "All cases are put in one order, since their folds are not known.")
    first, *others = named.values()
    if any((numbers != first).any() for numbers in others):
        return SharedFolds(pooled, "All cases are put in one order, since the runs have them in different folds.")
    if not first.any():
        return SharedFolds(first, "All cases are put in one order: they are of one fold.")
    unnamed = [run.name for run in runs if run.name not in named]
    if unnamed:
        return SharedFolds(
            first, f"{WITHIN}, by the folds of {next(iter(named))}, since {', '.join(unnamed)} names none."
        )
    return SharedFolds(first, f"{WITHIN}.")


def _numbers(run: Run, cases: Sequence[str]) -> np.ndarray[Any, Any] | None:
    """Return the number of each case's fold in the order of first appearance, so that names do not matter; None if one is not known."""
    parts = {str(entry["case"]): str(entry.get("part") or "") for entry in run.summary["metric_per_case"]}
    held = [parts[case] for case in cases]
    if not all(map(fold_of, held)):
        return None
    order = {part: number for number, part in enumerate(dict.fromkeys(held))}
    return np.array([order[part] for part in held], np.intp)
