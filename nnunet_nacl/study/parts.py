"""The difference of each part of the cases. A part is a fold as a rule: its cases share one network, so it is a replicate.

These are no tests: they say whether the sign holds from one training to the next, and no p is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.part_names import fold_of
from nnunet_nacl.study.case_scores import CaseScores


@dataclass(frozen=True)
class PartDifference:
    """A score of a run against the base over the cases of one part.

    Attributes:
        part: its name, as ``fold_0``.
        n_pairs: cases in which both have a value.
        difference: mean of run - base over them; NaN where there is none.
    """

    part: str
    n_pairs: int
    difference: float


def differences_of_parts(differences: Float64Array, parts: Sequence[str]) -> tuple[PartDifference, ...]:
    """Return the mean difference of each part, in the order of their names, ``fold_2`` before ``fold_10``.

    Args:
        differences: ``(N,)`` of the cases, NaN where a pair is not complete.
        parts: of the same cases; empty where they are not known.
    """
    if not parts:
        return ()
    of_cases = np.array(parts)
    held = {part: differences[of_cases == part] for part in in_order(parts)}
    paired = {part: values[~np.isnan(values)] for part, values in held.items()}
    return tuple(
        PartDifference(part, values.size, float(values.mean()) if values.size else np.nan)
        for part, values in paired.items()
    )


def common_sign(parts: Sequence[PartDifference]) -> int:
    """Return -1 if the difference is below 0 in every part, 1 if it is above 0 in every part, otherwise 0.

    A part without any pair, or with a difference of exactly 0, has no sign, so there is no common one.
    """
    signs = {0 if np.isnan(part.difference) else int(np.sign(part.difference)) for part in parts}
    return signs.pop() if len(signs) == 1 else 0


def folds_among(parts: Sequence[str]) -> list[str]:
    """Return the distinct folds that parts are of, ``fold_0`` for both ``A/fold_0`` and ``B/fold_0``."""
    return in_order([fold for fold in map(fold_of, parts) if fold])


def in_order(parts: Sequence[str]) -> list[str]:
    """Return distinct names sorted, with numbers in them by their value."""
    return sorted(set(parts), key=_pieces)


def why_not_shared(base: CaseScores, run: CaseScores, cases: Sequence[str]) -> str:
    """Return why a run cannot be compared with the base part by part; empty where it can."""
    without = [name for name, table in (("base", base), ("run", run)) if any(not table.part(case) for case in cases)]
    if without:
        known = "the run does not know" if without == ["run"] else "the base does not know"
        known = "neither base nor run knows" if len(without) > 1 else known
        return f"{known} which fold its cases are of; make it with `nnunet-nacl merge` of the results of its folds"
    differing = [case for case in cases if base.part(case) != run.part(case)]
    if differing:
        first, more = differing[0], f" ({len(differing) - 1} more differ)" if len(differing) > 1 else ""
        return f"{first} is of {base.part(first)} in the base and of {run.part(first)} in the run{more}"
    return ""


def cases_of_parts(
    base: CaseScores, runs: Sequence[CaseScores], cases: Sequence[str], chosen: Sequence[str]
) -> list[str]:
    """Return the cases of the chosen parts.

    Raises:
        InputError: the parts are not known or not the same in all runs, or one is not there.
    """
    for run in runs:
        why = why_not_shared(base, run, cases)
        if why:
            raise InputError(f"{run.folder}: cannot be compared with {base.folder} by parts: {why}.")
    known = in_order([base.part(case) for case in cases])
    unknown = [part for part in chosen if part not in known]
    if unknown:
        raise InputError(f"{base.folder}: has no part {', '.join(unknown)}; it has {', '.join(known)}.")
    return [case for case in cases if base.part(case) in chosen]


def _pieces(name: str) -> list[tuple[int, str]]:
    # text and numbers take turns, so that text is compared with text and a number by its length first
    return [(len(piece) if place % 2 else 0, piece) for place, piece in enumerate(re.split(r"([0-9]+)", name))]
