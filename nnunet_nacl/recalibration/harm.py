"""What a recalibration makes worse, on cases that it was not fitted on.

Three scores in two voxel sets that are chosen without looking at the label, each the mean over cases, and the bias of the soft volume of
each structure. A difference counts as worse where its whole interval over cases (paired: both scores of a case go together) is on the wrong
side of 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL, mean_interval, pooled_interval
from nnunet_nacl.calibration.scores import divided, mean_of_defined
from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.recalibration.heads import Heads
from nnunet_nacl.recalibration.scored_cases import ScoredProblem

SETS = ("all", "predicted")
SCORES = ("ECE", "NLL", "Brier")  # lower is better


@dataclass(frozen=True)
class Change:
    """A score before and after.

    Attributes:
        problem: name of the classification problem: ``classes``, or a region.
        what: ``ECE``, ``NLL``, ``Brier``, or ``soft volume``.
        where: the voxel set, or for a soft volume the name of the structure.
        before, after: means over the cases; soft volumes: (sum of the probabilities - volume of the label) / volume of the label,
            of all cases together.
        difference: after - before; of soft volumes that of the absolute values.
        low, high: interval of the difference over cases; NaN where it has none.
    """

    problem: str
    what: str
    where: str
    before: float
    after: float
    difference: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Whether it got worse beyond its interval."""
        return self.low > 0


def changes_of(
    heads: Heads,
    before: Sequence[Sequence[ScoredProblem]],
    after: Sequence[Sequence[ScoredProblem]],
    groups: Sequence[str] | None = None,
) -> list[Change]:
    """Return all changes.

    Args:
        heads: the channels.
        before, after: per case and problem.
        groups: the group of each case, which is the unit of the intervals; None where each case is its own.
    """
    changes = []
    for number, problem in enumerate(heads.problems):
        old, new = ([of_case[number] for of_case in cases] for cases in (before, after))
        changes += _scores(problem, old, new, groups)
        changes += _soft_volumes(problem, heads, old, new, groups)
    return changes


def _scores(
    problem: str, before: list[ScoredProblem], after: list[ScoredProblem], groups: Sequence[str] | None
) -> list[Change]:
    keys = [(voxel_set, name) for voxel_set in SETS for name in SCORES]
    old, new = (
        np.array([[case.scores[voxel_set][name] for case in cases] for voxel_set, name in keys])
        for cases in (before, after)
    )
    low, high = mean_interval((new - old).T, groups=groups)
    means = (mean_of_defined(values) for values in (old, new, new - old))
    return [
        Change(problem, name, voxel_set, *map(float, numbers))
        for (voxel_set, name), *numbers in zip(keys, *means, low, high, strict=True)
    ]


def _soft_volumes(
    problem: str,
    heads: Heads,
    before: list[ScoredProblem],
    after: list[ScoredProblem],
    groups: Sequence[str] | None,
) -> list[Change]:
    """Return the change of each structure: of the classes but background, or of the inside of a region."""
    names = heads.channels[1:] if heads.kind == "softmax" else (problem,)
    sums = {
        "label": np.stack([case.label_volumes for case in before])[:, 1:],
        "before": np.stack([case.soft_volumes for case in before])[:, 1:],
        "after": np.stack([case.soft_volumes for case in after])[:, 1:],
    }
    low, high = pooled_interval(sums, _more_bias, groups=groups)
    total = {name: np.asarray(values.sum(0), np.float64) for name, values in sums.items()}
    bias = [divided(total[name] - total["label"], total["label"]) for name in ("before", "after")]
    return [
        Change(problem, "soft volume", name, *map(float, numbers))
        for name, *numbers in zip(names, *bias, _more_bias(total), low, high, strict=True)
    ]


def _more_bias(sums: dict[str, Float64Array]) -> Float64Array:
    more = np.abs(sums["after"] - sums["label"]) - np.abs(sums["before"] - sums["label"])
    return divided(more, sums["label"])


def to_json(changes: Sequence[Change]) -> dict[str, object]:
    """Return the changes as plain values, NaN and infinity as None."""
    return {
        "level": DEFAULT_LEVEL,
        "changes": [
            {
                "problem": each.problem,
                "what": each.what,
                "where": each.where,
                "before": finite_or_none(each.before),
                "after": finite_or_none(each.after),
                "difference": finite_or_none(each.difference),
                "interval": [each.low, each.high] if math.isfinite(each.high - each.low) else None,
                "worse": each.worse,
            }
            for each in changes
        ],
        "in_words": [in_words(each, several=len({c.problem for c in changes}) > 1) for each in changes if each.worse],
    }


def in_words(change: Change, several: bool) -> str:
    """Return what got worse; ``several`` problems are told apart."""
    if change.what == "soft volume":
        return (
            f"the soft volume of {change.where}: {100 * change.before:+.1f} % before, {100 * change.after:+.1f} % after "
            f"({100 * change.low:+.1f} to {100 * change.high:+.1f} points further off)"
        )
    whose = f" of {change.problem}" if several else ""
    return (
        f"{change.what}{whose} in `{change.where}`: {change.before:.4f} before, {change.after:.4f} after "
        f"({change.low:+.4f} to {change.high:+.4f})"
    )
