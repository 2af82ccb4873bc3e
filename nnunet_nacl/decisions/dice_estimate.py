"""The Dice of a case without a label: an estimate, and a bound that it stays above.

A confidence such as the soft Dice confidence is itself a guess of the Dice. What the Dice was above it in evaluated cases,
d = Dice - confidence, corrects it: the estimate adds the median of d, the bound its conformal lower bound
(:mod:`~nnunet_nacl.decisions.conformal`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.decisions.conformal import case_weights, checked_groups, lower_bound, smallest_number


@dataclass(frozen=True)
class DiceEstimate:
    """What is added to a confidence: ``median`` for the estimate, ``lower`` for the bound at ``level``."""

    level: float
    median: float
    lower: float

    def apply(self, confidence: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the estimated Dice and its lower bound, each ``(N,)`` float64 in [0, 1]."""
        sure = np.asarray(confidence, np.float64)
        return np.clip(sure + self.median, 0, 1), np.clip(sure + self.lower, 0, 1)


def fit_dice(
    confidence: ArrayLike, dice: ArrayLike, level: float = 0.9, groups: ArrayLike | None = None
) -> DiceEstimate:
    """Return the estimate that evaluated cases give.

    Args:
        confidence: ``(N,)`` finite float.
        dice: ``(N,)`` finite float of the same cases, predicted by networks that were not trained on them.
        level: probability with which the Dice of a new case is to be at or above the bound.
        groups: ``(N,)``, the patient of each case; each case its own patient if None.

    Raises:
        ValueError: unusable values, or fewer patients than the level needs.

    >>> estimate, bound = fit_dice(np.full(9, 0.9), np.arange(0.80, 0.89, 0.01)).apply([0.95])
    >>> estimate.round(2).tolist(), bound.round(2).tolist()
    ([0.89], [0.85])
    """
    sure, truth = np.asarray(confidence, np.float64), np.asarray(dice, np.float64)
    if sure.shape != truth.shape:
        raise ValueError(f"Expected `confidence` and `dice` of one shape, but got {sure.shape} and {truth.shape}.")
    above = truth - sure
    patients = above.size if groups is None else np.unique(checked_groups(groups, above.size)).size
    needed = smallest_number(level, two_sided=False)
    if patients < needed:
        raise ValueError(f"A bound at level {level:g} needs at least {needed} patients, but got {patients}.")
    return DiceEstimate(level, _median(above, groups), lower_bound(above, level, groups))


def _median(values: NDArray[np.float64], groups: ArrayLike | None) -> float:
    """Return the median, patients weighing alike: the middle of the lower and the upper weighted median."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(case_weights(values.size, groups)[order])
    share /= share[-1]
    low = int(np.argmax(share >= 0.5 - 1e-12))
    high = int(np.argmax(share > 0.5 + 1e-12))
    return float((values[order][low] + values[order][high]) / 2)
