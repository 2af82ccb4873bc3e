"""Does a run's confidence tell its bad cases from its good ones? Risk-coverage of the soft Dice confidence, of one run and of two.

A case's risk is 1 - Dice, as nnU-Net counts Dice, of one class, or the mean over the classes that have a Dice in the case: one that is missed has
a Dice of 0. Its confidence is the soft Dice confidence, of that class, or the mean over the classes that are predicted and those that every
case has, since no confidence may know the label: as ``nnunet-nacl triage`` has it. An empty mask has a confidence of 0. Cases are accepted from the most to the least confident: AURC is the area under the mean risk of the
accepted ones, AUGRC that under their summed risk over all cases (Traub et al. 2024, arXiv 2407.01032). Both are small as well where all risks are, so
runs are compared by the excess over the order that knows the risks.

Cases are put in order within each fold, whose network they share, and the curves are averaged: between networks, or the maps that a
recalibration has for each fold, confidences are on other scales, and whoever uses one network never compares them. The folds are the same
for all runs (:mod:`~nnunet_nacl.study.shared_folds`); where they are not known there is one order of all cases.

Intervals are percentiles of a bootstrap over cases, or groups of them, with one set of draws for all runs: in a difference each case, or
group, is drawn in both. The draws are the same in each call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import where_units_differ
from nnunet_nacl.decisions import RiskCoverage, oracle, risk_coverage
from nnunet_nacl.study.case_scores import BACKGROUND
from nnunet_nacl.study.run import Run, trainings_of
from nnunet_nacl.study.shared_folds import shared_folds

CONFIDENCE = "soft_Dice"
"""Of the ``confidence`` of a class in calibration.json."""

MEASURES = ("aurc", "excess_aurc", "augrc", "excess_augrc")
DECIDING = "excess_augrc"
"""The measure that a difference is put into words by."""

MEAN = "mean"
"""The key of the mean over the classes of a case."""

MAX_CLASSES = 8
"""With more classes only their mean is looked at."""

MIN_CASES = 5
REPLICATES = 1000
SAME_WITHIN = 1e-9
LEVEL = 0.95


@dataclass(frozen=True)
class Detection:
    """How well the confidence of a run tells its bad cases from its good ones.

    Attributes:
        run: its name.
        label: key of the class, or :data:`MEAN`.
        n_cases: cases in which all runs have a Dice.
        risk: mean of 1 - Dice: the AURC of a confidence that knows nothing.
        measures: by name, see :data:`MEASURES`.
        intervals: of the measures; NaN with fewer than :data:`MIN_CASES` units, or where all draws agree.
        curve, best: of the confidence, and of the order that knows the risks, mean over the folds; of the first training where there are
            several.
    """

    run: str
    label: str
    n_cases: int
    risk: float
    measures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    curve: RiskCoverage
    best: RiskCoverage


@dataclass(frozen=True)
class DetectionDifference:
    """A run against the base: run - base of each measure, and its interval.

    ``same_segmentations`` is whether the Dice of every case is the same, as after recalibration: then only confidences differ.
    ``verdict`` is ``better``, ``worse``, ``unclear``, ``same order`` or ``not told``, and ``in_words`` the same in a phrase.
    """

    run: str
    label: str
    differences: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    same_segmentations: bool
    verdict: str
    in_words: str


@dataclass(frozen=True)
class FailureDetection:
    """Of all runs, the base first, by class; in words why a run or a class is not among them, and within which folds cases have an order."""

    detections: tuple[Detection, ...]
    differences: tuple[DetectionDifference, ...]
    missing: tuple[str, ...]
    order: str = ""

    def of_label(self, label: str) -> list[Detection]:
        """Return the detections of a class."""
        return [held for held in self.detections if held.label == label]

    @property
    def labels(self) -> list[str]:
        """The classes that there is something of, the mean first."""
        return list(dict.fromkeys(held.label for held in self.detections))


@dataclass(frozen=True)
class _Values:
    """Confidence and risk of the cases, ``(T, N)`` each, a row per training, and the number of their fold, ``(N,)``."""

    confidence: Float64Array
    risk: Float64Array
    fold: np.ndarray[Any, Any]

    def of(self, cases: Any) -> _Values:
        return _Values(self.confidence[:, cases], self.risk[:, cases], self.fold[cases])

    def curves(self, training: int) -> Iterator[tuple[float, RiskCoverage, RiskCoverage]]:
        """Yield weight, curve and best curve of each fold; of all cases together where no fold has two."""
        sizes = np.bincount(self.fold)
        folds = np.flatnonzero(sizes > 1)
        chosen = [self.fold == fold for fold in folds] or [np.full(self.fold.shape, True)]
        for cases in chosen:
            confidence, risk = self.confidence[training, cases], self.risk[training, cases]
            yield float(cases.sum()) / sum(map(np.sum, chosen)), risk_coverage(confidence, risk), oracle(risk)


def failure_detection(
    runs: Sequence[Run], cases: Sequence[str], groups: Sequence[str] | None = None
) -> FailureDetection:
    """Return how well the runs' confidences tell bad cases, over the given cases; the first run is the base.

    Args:
        runs: evaluated runs; a run may stand for several trainings, whose measures are averaged.
        cases: names of cases that all of them have.
        groups: the group of each case; None where each case is its own.
    """
    known = [run for run in runs if all(_has_confidences(training) for training in trainings_of(run))]
    missing = tuple(
        f"{run.name} was evaluated before the sums of its masks were kept; evaluate it again to see whether its confidence tells bad cases."
        for run in runs
        if run not in known
    )
    labels = [label for label in known[0].summary["mean"] if label != BACKGROUND] if known else []
    chosen = [MEAN, *(labels if 1 < len(labels) <= MAX_CLASSES else [])]
    draws, folds = _draws(len(cases), groups), shared_folds(known, cases)
    detections, differences = [], []
    for label in chosen if known else []:
        values = [_values(run, cases, labels if label == MEAN else [label], folds.numbers) for run in known]
        there = ~np.any([np.isnan(held.confidence + held.risk).any(0) for held in values], axis=0)
        if there.sum() < 2:
            continue
        found = [_detection(run.name, label, held, there, draws) for run, held in zip(known, values, strict=True)]
        detections += [detection for detection, _ in found]
        if known[0] is runs[0]:
            pairs = zip(known[1:], values[1:], found[1:], strict=True)
            differences += [
                _difference(run.name, label, found[0], mine, _same(values[0].of(there), held.of(there)))
                for run, held, mine in pairs
            ]
    return FailureDetection(tuple(detections), tuple(differences), missing, folds.in_words)


def _has_confidences(run: Run) -> bool:
    entries = [metrics for case in run.summary["metric_per_case"] for metrics in case["metrics"].values()]
    return any(_of(metrics, "confidence", CONFIDENCE) is not None for metrics in entries)


def _of(entry: dict[str, Any], *keys: str) -> Any:
    held: Any = entry
    for key in keys:
        held = held.get(key) if isinstance(held, dict) else None
    return held


def _values(run: Run, cases: Sequence[str], labels: Sequence[str], folds: np.ndarray[Any, Any]) -> _Values:
    rows = [_of_training(training, cases, labels) for training in trainings_of(run)]
    return _Values(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), folds)


def _of_training(run: Run, cases: Sequence[str], labels: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return confidence and risk of each case; NaN where no class has a Dice, or a mask has no confidence, as in older results."""
    entries = {str(entry["case"]): entry["metrics"] for entry in run.summary["metric_per_case"]}
    held = [[entries[case][label] for label in labels] for case in cases]
    always = [all(metrics[place]["n_ref"] > 0 for metrics in held) for place in range(len(labels))]
    confidences, risks = [], []
    for metrics in held:
        dice = [entry["Dice"] for entry in metrics if entry["Dice"] is not None]
        counted = [entry for entry, there in zip(metrics, always, strict=True) if there or entry["n_pred"] > 0]
        sure = [_of(entry, "confidence", CONFIDENCE) if entry["n_pred"] > 0 else 0.0 for entry in counted]
        usable = bool(dice) and None not in sure
        confidences.append(math.fsum(sure) / max(len(sure), 1) if usable else math.nan)
        risks.append(1 - math.fsum(dice) / len(dice) if usable else math.nan)
    return confidences, risks


def _draws(n_cases: int, groups: Sequence[str] | None) -> list[np.ndarray[Any, Any]]:
    """Return the cases of each replicate; none where there are too few units."""
    random = np.random.default_rng(0)
    numbers = np.arange(n_cases) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    members = [np.flatnonzero(numbers == unit) for unit in range(int(numbers.max(initial=-1)) + 1)]
    if len(members) < MIN_CASES:
        return []
    picked = random.integers(len(members), size=(REPLICATES, len(members)))
    return [np.concatenate([members[unit] for unit in row]) for row in picked]


def _detection(
    run: str, label: str, values: _Values, there: np.ndarray[Any, Any], draws: Sequence[np.ndarray[Any, Any]]
) -> tuple[Detection, Float64Array]:
    """Return the detection and the measures of each replicate, ``(R, measures)``."""
    held = values.of(there)
    replicates = np.array([_measures(values.of(draw[there[draw]])) for draw in draws if there[draw].sum() > 1])
    replicates = replicates.reshape(-1, len(MEASURES))
    detection = Detection(
        run=run,
        label=label,
        n_cases=int(there.sum()),
        risk=float(held.risk.mean()),
        measures=dict(zip(MEASURES, map(float, _measures(held)), strict=True)),
        intervals={name: where_units_differ(*ends) for name, ends in _intervals(replicates).items()},
        curve=_averaged([(weight, curve) for weight, curve, _ in held.curves(0)]),
        best=_averaged([(weight, best) for weight, _, best in held.curves(0)]),
    )
    return detection, replicates


def _measures(values: _Values) -> Float64Array:
    """Return the measures, mean over the folds by their cases, and over the trainings."""
    total = np.zeros(len(MEASURES))
    for training in range(len(values.risk)):
        for weight, curve, best in values.curves(training):
            measures = (curve.aurc, curve.aurc - best.aurc, curve.augrc, curve.augrc - best.augrc)
            total += weight * np.array(measures)
    return total / len(values.risk)


def _averaged(curves: Sequence[tuple[float, RiskCoverage]]) -> RiskCoverage:
    """Return the weighted mean of curves, with an entry wherever one of them has one."""
    coverage = np.unique(np.concatenate([curve.coverage for _, curve in curves]))
    selective, generalized = (
        sum(
            (weight * np.interp(coverage, curve.coverage, getattr(curve, name)) for weight, curve in curves),
            np.zeros(len(coverage)),
        )
        for name in ("selective_risk", "generalized_risk")
    )
    return RiskCoverage(coverage, selective, generalized)


def _intervals(replicates: Float64Array) -> dict[str, tuple[float, float]]:
    if not len(replicates):
        return dict.fromkeys(MEASURES, (math.nan, math.nan))
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {name: (float(low[place]), float(high[place])) for place, name in enumerate(MEASURES)}


def _same(base: _Values, run: _Values) -> bool:
    return base.risk.shape == run.risk.shape and bool((np.abs(base.risk - run.risk) <= SAME_WITHIN).all())


def _difference(
    run: str, label: str, base: tuple[Detection, Float64Array], mine: tuple[Detection, Float64Array], same: bool
) -> DetectionDifference:
    differences = {name: mine[0].measures[name] - base[0].measures[name] for name in MEASURES}
    intervals = _intervals(mine[1] - base[1] if len(mine[1]) == len(base[1]) else mine[1][:0])
    verdict = _verdict(differences[DECIDING], intervals[DECIDING], same)
    return DetectionDifference(run, label, differences, intervals, same, verdict, _in_words(verdict, same))


def _verdict(difference: float, interval: tuple[float, float], same: bool) -> str:
    low, high = interval
    if same and abs(difference) <= SAME_WITHIN:
        return "same order"
    if math.isnan(low):
        return "not told"
    return "worse" if low > 0 else "better" if high < 0 else "unclear"


def _in_words(verdict: str, same: bool) -> str:
    of = "of the same segmentations" if same else "of its own segmentations"
    return {
        "same order": "finds the bad cases in the same order",
        "not told": "not told: too few cases",
        "unclear": f"no clear difference in how the bad cases {of} are found",
    }.get(verdict, f"finds the bad cases {of} {verdict}")
