"""Whether a difference would be there again if both trainers were trained again: the training is the unit, patients are inside it.

The mean difference of each training (fold) is one observation. With F of them, mean m and standard deviation s, the test is
Student's t with F - 1 degrees of freedom of

    m / (s sqrt(1 / F + r / (1 - r))).

Folds share most of their training cases, so their differences are correlated, and s tells too little of what m varies by; no unbiased
estimate of that variance exists from one cross-validation (Bengio and Grandvalet 2004, JMLR 5:1089). So the correlation r is set
beforehand instead of estimated: for observations of equal correlation r the statistic is distributed as t exactly, for smaller ones the
test errs to the safe side. Nadeau and Bengio (2003, Machine Learning 52:239, eq. 9) take r / (1 - r) as test over training cases, that
is 1/4 for five folds, r = 0.2. Here r = 0.3, the largest that was asked for: the claim is false in at most 5 % for every
correlation from 0 to that. Hierarchical bootstrap and mixed model are wrong in 7 to 45 % there (docs/results/verdicts.md).

Several trainings of one fold are averaged first: they share data and patients, so they make the fold's difference surer but are no more
folds. What no test of this kind holds is another sample of patients to train on: all folds are of one data set.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL
from nnunet_nacl.evaluation.part_names import fold_of
from nnunet_nacl.study.parts import PartDifference, in_order

THESE_NETWORKS = "these networks, other patients"
"""The question of the tests over cases."""

TRAINED_AGAIN = "this trainer, trained again"
"""The question of the tests over trainings."""

ASSUMED_CORRELATION = 0.3
"""Between the differences of two folds."""

MIN_TRAININGS = 5
"""An effect of two standard deviations over cases, where trainings vary 0.7 times as much as cases do, is found in 79 % of studies with
so many folds, and in 41 % with three (docs/results/verdicts.md)."""

NO_ANSWER = f"no answer with fewer than {MIN_TRAININGS} trainings"

METHOD = f"t over trainings (folds), their differences taken as correlated by {ASSUMED_CORRELATION:g} for the training cases they share"
"""The test in words, for files and pages."""


@dataclass(frozen=True)
class TrainedAgain:
    """What the trainings say about one score of a run against the base. NaN where there is no answer.

    Attributes:
        trainings: the folds, each one training or the mean of several.
        difference: mean over the trainings of their mean differences; NaN where there is none.
        low, high: its interval.
        p: two-sided, of this test alone.
        reason: why there is no answer, otherwise empty.
    """

    trainings: tuple[str, ...]
    difference: float
    low: float
    high: float
    p: float
    reason: str


def trained_again(parts: Sequence[PartDifference], unknown: str = "", level: float = DEFAULT_LEVEL) -> TrainedAgain:
    """Return the answer of the trainings that the parts of a comparison are.

    Args:
        parts: mean difference and pairs of each part.
        unknown: why the parts are not known, where they are not.
        level: of the interval.
    """
    folds, no_fold = _folds(parts)
    means = np.array([folds[fold] for fold in in_order(list(folds))])
    reason = _why_no_answer(means, no_fold, unknown)
    mean = float(means.mean()) if means.size and not np.isnan(means).any() else math.nan
    if reason:
        return TrainedAgain(tuple(in_order(list(folds))), mean, math.nan, math.nan, math.nan, reason)
    degrees = means.size - 1
    error = float(means.std(ddof=1)) * math.sqrt(1 / means.size + ASSUMED_CORRELATION / (1 - ASSUMED_CORRELATION))
    half = float(stdtrit(degrees, (1 + level) / 2)) * error
    # without any spread between trainings, as where Dice is untouched by a temperature
    p = float(2 * stdtr(degrees, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return TrainedAgain(tuple(in_order(list(folds))), mean, mean - half, mean + half, p, "")


def _folds(parts: Sequence[PartDifference]) -> tuple[dict[str, float], list[str]]:
    """Return the mean difference of each fold over all its pairs, and the parts that are no fold."""
    held: dict[str, list[PartDifference]] = defaultdict(list)
    for part in parts:
        held[fold_of(part.part)].append(part)
    no_fold = [part.part for part in held.pop("", [])]
    means = {}
    for fold, of_fold in held.items():
        n_pairs = sum(part.n_pairs for part in of_fold)
        total = sum(part.n_pairs * part.difference for part in of_fold if part.n_pairs)
        means[fold] = total / n_pairs if n_pairs else math.nan
    return means, no_fold


def _why_no_answer(means: Float64Array, no_fold: Sequence[str], unknown: str) -> str:
    if unknown:
        return f"no answer, since {unknown}"
    if no_fold:
        return f"no answer, since which training {', '.join(no_fold[:3])} is of is not known"
    if means.size < MIN_TRAININGS:
        return f"{NO_ANSWER} of different folds, and {'this is' if means.size == 1 else 'these are'} {means.size}"
    if np.isnan(means).any():
        return "no answer, since a training has no case in which both have a value"
    return ""
