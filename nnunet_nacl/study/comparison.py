"""Runs against a base, paired over the cases that all of them have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_groups import Groups
from nnunet_nacl.study.case_scores import (
    CaseScores,
    Quantity,
    check_same_references,
    paired_values,
    predicted_where_absent,
)
from nnunet_nacl.study.direction import Better, chosen_by_label, direction_of
from nnunet_nacl.study.names import distinctly_named, without_repetition
from nnunet_nacl.study.paired import PairedResult, adjusted, compare_pairs, differences_of
from nnunet_nacl.study.parts import PartDifference, cases_of_parts, differences_of_parts, in_order, why_not_shared
from nnunet_nacl.study.run import Run, check_same_protocol
from nnunet_nacl.study.trained_again import TrainedAgain, trained_again

DEFAULT_SCORES = ("Dice", "ECE", "NLL")
ALL = "all"

ALPHA = 0.05
"""The family-wise error rate below which a difference is called better or worse."""


@dataclass(frozen=True)
class Settings:
    """How a comparison is computed."""

    level: float = DEFAULT_LEVEL
    alpha: float = ALPHA


@dataclass(frozen=True)
class Difference:
    """One score of one run against the base.

    Attributes:
        run: name of the run.
        quantity: the score, its voxels and its class.
        absolute: whether absolute values are compared, since nearer to zero is better.
        result: the statistics.
        p_holm: p adjusted for all tests of the comparison; NaN if no test was made.
        p_both_holm: the same of the larger of p and that of the interval, which no verdict asks for.
        verdict: ``better`` or ``worse`` (``lower`` or ``higher`` for a score without a better direction), ``mixed`` where
            the mean and the ranks point in opposite directions, ``unclear`` where p_holm is not below alpha or the interval holds 0, ``no test``.
        in_words: the verdict as a phrase with the amount.
        parts: the difference of each part (fold), where base and run know them; no tests.
        again: what the trainings say: whether the difference would be there if both were trained again.
    """

    run: str
    quantity: Quantity
    absolute: bool
    result: PairedResult
    p_holm: float
    p_both_holm: float
    verdict: str
    in_words: str
    parts: tuple[PartDifference, ...] = ()
    again: TrainedAgain = field(default_factory=lambda: trained_again(()))


@dataclass(frozen=True)
class Comparison:
    """Runs against a base.

    Attributes:
        base, runs: with names that tell them apart.
        labels: names of the classes by their key, without background.
        cases: the names of the cases that all runs have.
        left_out: name of a run to the cases that it has and another lacks.
        repeated: folders that were given more than once and taken once.
        settings: how it was computed.
        differences: by run, in the order of ``runs``, then by quantity.
        groups: the group of each case; None where each case is its own.
        parts: those that it is over, if some were chosen; empty: all.
        of_other_parts: the cases that all runs have and that are of no chosen part.
        no_parts: name of a run to why it has no differences of parts.
        predicted_where_absent: by name of base or run and by class, the cases in which it is predicted and the labels lack it.
    """

    base: Run
    runs: tuple[Run, ...]
    labels: dict[str, str]
    cases: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]
    repeated: tuple[str, ...]
    settings: Settings
    differences: tuple[Difference, ...]
    groups: tuple[str, ...] | None = None
    parts: tuple[str, ...] = ()
    of_other_parts: tuple[str, ...] = ()
    no_parts: dict[str, str] = field(default_factory=dict)
    predicted_where_absent: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def n_tests(self) -> int:
        """The number of tests made, over which p is adjusted."""
        return sum(not math.isnan(difference.result.p) for difference in self.differences)

    def of_run(self, name: str) -> list[Difference]:
        """Return the differences of one run."""
        return [difference for difference in self.differences if difference.run == name]


def compare_runs(
    base: Run,
    runs: Sequence[Run],
    scores: Sequence[str] = DEFAULT_SCORES,
    voxel_sets: Sequence[str] | None = None,
    per_class: bool = False,
    settings: Settings | None = None,
    parts: Sequence[str] | None = None,
    groups: Groups | None = None,
) -> Comparison:
    """Compare runs with a base over the cases that all of them have.

    Args:
        base, runs: evaluated runs.
        scores: names of scores in calibration.json, or ``("all",)`` for every one that has a better direction. Each score in
            each voxel set is a test for which all others are adjusted, so choose them before the results are seen.
        voxel_sets: of the scores that have one; None for every voxel set.
        per_class: also compare each class.
        settings: of intervals and tests.
        parts: compare over the cases of these parts (folds) of merged runs only; None for all cases.
        groups: the cases that are one unit; None where each case is its own.

    Raises:
        InputError: the runs were evaluated differently or against other labels, share no case, or are one run; a score,
            voxel set or part that is not there; a case without a group.
    """
    settings = settings or Settings()
    distinct, repeated = without_repetition([base, *runs])
    if len(distinct) < 2:
        raise InputError(f"{base.folder}: expected at least one run beside the base, but got the base again.")
    base, *others = distinctly_named(distinct)
    tables = [CaseScores(run) for run in (base, *others)]
    for run in (base, *others):
        for each in (run, *run.repeats):
            check_same_protocol(base, each)
    common = cases = _common_cases(tables)
    for table in tables[1:]:
        check_same_references(tables[0], table, common)
    if parts is not None:
        cases = cases_of_parts(tables[0], tables[1:], common, parts)
    quantities = _chosen(tables, scores, voxel_sets, per_class)
    units = None if groups is None else groups.of(cases)
    results = [
        result for table in tables[1:] for result in _compare_with(tables[0], table, cases, quantities, settings, units)
    ]
    no_parts = {
        run.name: why
        for run, table in zip(others, tables[1:], strict=True)
        if (why := why_not_shared(tables[0], table, cases))
    }
    of_ranks, of_both = adjusted([result for result, _ in results])
    keys = [(run.name, quantity) for run in others for quantity in quantities]
    return Comparison(
        base=base,
        runs=tuple(others),
        labels=tables[0].labels,
        cases=tuple(cases),
        left_out={
            run.name: tuple(sorted(table.cases - set(common)))
            for run, table in zip((base, *others), tables, strict=True)
        },
        repeated=tuple(str(run.folder) for run in repeated),
        settings=settings,
        differences=tuple(
            judged(
                name, quantity, result, (float(ranks), float(both)), settings.alpha, of_parts, no_parts.get(name, "")
            )
            for (name, quantity), (result, of_parts), ranks, both in zip(keys, results, of_ranks, of_both, strict=True)
        ),
        groups=None if units is None else tuple(units),
        parts=tuple(in_order(parts or ())),
        of_other_parts=tuple(sorted(set(common) - set(cases))),
        no_parts=no_parts,
        predicted_where_absent={
            run.name: predicted_where_absent(table, cases) for run, table in zip((base, *others), tables, strict=True)
        },
    )


def _common_cases(tables: Sequence[CaseScores]) -> list[str]:
    common = set.intersection(*(table.cases for table in tables))
    if not common:
        raise InputError(f"{' and '.join(str(table.folder) for table in tables)} have no case in common.")
    return sorted(common)


def _chosen(
    tables: Sequence[CaseScores], scores: Sequence[str], voxel_sets: Sequence[str] | None, per_class: bool
) -> list[Quantity]:
    base = tables[0]
    if tuple(scores) == (ALL,):
        # a run that was evaluated before there was a score does not have it
        shared = [name for name in base.scores if all(name in table.scores for table in tables)]
        scores = [name for name in shared if direction_of(name).better is not Better.NEITHER]
    sets = base.voxel_sets if voxel_sets is None else voxel_sets
    for table in tables:
        for kind, given, known in (("scores", scores, table.scores), ("voxel sets", sets, base.voxel_sets)):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise InputError(f"{table.folder}: has no {kind} {', '.join(unknown)}; it has {', '.join(known)}.")
    chosen = base.quantities(tuple(dict.fromkeys(scores)), tuple(dict.fromkeys(sets)), per_class)
    if not chosen:
        raise InputError(f"{base.folder}: has {', '.join(scores)} for each class only; ask for the classes.")
    return chosen


def _compare_with(
    base: CaseScores,
    run: CaseScores,
    cases: Sequence[str],
    quantities: Sequence[Quantity],
    settings: Settings,
    groups: Sequence[str] | None,
) -> list[tuple[PairedResult, tuple[PartDifference, ...]]]:
    pairs = [_compared(paired_values(base, run, cases, quantity), quantity) for quantity in quantities]
    ours, theirs = (np.stack([pair[side] for pair in pairs], axis=1) for side in (0, 1))
    parts = [] if why_not_shared(base, run, cases) else [base.part(case) for case in cases]
    of_parts = [differences_of_parts(column, parts) for column in differences_of(ours, theirs).T]
    results = compare_pairs(ours, theirs, settings.level, groups)
    return list(zip(results, of_parts, strict=True))


def _compared(pair: tuple[Float64Array, Float64Array], quantity: Quantity) -> tuple[Float64Array, Float64Array]:
    return (np.abs(pair[0]), np.abs(pair[1])) if _is_absolute(quantity) else pair


def _is_absolute(quantity: Quantity) -> bool:
    return direction_of(quantity.score).better is Better.NEARER_TO_ZERO


def judged(
    run: str,
    quantity: Quantity,
    result: PairedResult,
    p_holm: tuple[float, float],
    alpha: float,
    parts: tuple[PartDifference, ...],
    unknown: str = "",
) -> Difference:
    """Return a difference with its verdict over cases, and what the trainings say.

    The test is of ranks, the amount a mean. Where the mean does not differ at all but the differences are skewed (lognormal, sigma 1),
    the test alone calls the run better in 19, 26 and 38 % of studies of 16, 24 and 40 cases; with an interval that leaves out 0 it
    does so in 8, 6 and 6 % (scripts/simulate_coverage.py --claims). So both are asked for.

    Args:
        run: name of the run.
        quantity: the score.
        result: the statistics over cases.
        p_holm: adjusted for all tests, that of the ranks and that of ranks and interval (:func:`~nnunet_nacl.study.paired.adjusted`).
        alpha: below what it counts.
        parts: the difference of each part.
        unknown: why parts are not known, where they are not.
    """
    absolute = _is_absolute(quantity)
    name = f"|{quantity.score}|" if absolute else quantity.score
    amount = f"{name} {'lower' if result.difference < 0 else 'higher'} by {abs(result.difference):.4f}"
    if math.isnan(result.p):
        verdict, in_words = "no test", f"not tested: {result.reason}"
    elif not p_holm[0] < alpha:
        verdict, in_words = "unclear", f"no clear difference: {amount}"
    elif result.difference * result.rank_biserial <= 0:
        verdict, in_words = "mixed", f"mixed: {amount} on average, but the ranks of the cases point the other way"
    elif result.low <= 0 <= result.high:
        verdict = "unclear"
        in_words = f"test and interval disagree: {amount} on average, which the interval does not tell from 0; a few cases lie far out"
    else:
        verdict, phrase = _better_or_worse(quantity, result.difference)
        in_words = f"{phrase}: {amount}" if phrase else amount
    again = trained_again(parts, unknown)
    return Difference(run, quantity, absolute, result, *p_holm, verdict, in_words, parts, again)


def _better_or_worse(quantity: Quantity, difference: float) -> tuple[str, str]:
    direction = direction_of(quantity.score)
    if direction.better is Better.NEITHER:
        return ("lower" if difference < 0 else "higher"), ""
    better = (difference > 0) == (direction.better is Better.HIGHER)
    verdict = "better" if better else "worse"
    if direction.of_probabilities and chosen_by_label(quantity.voxel_set):
        return verdict, f"{verdict} by convention"
    return verdict, direction.words_better if better else direction.words_worse
