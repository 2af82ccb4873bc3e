"""The numbers behind the sentence about a run: how far confidence and accuracy are apart on average, and what the average hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.intervals import mean_interval, pooled_interval
from nnunet_nacl.report.prepare_scores import Value, read_value, voxel_sets
from nnunet_nacl.study.run import Run

BIN_LEVEL = 0.99
"""Level of the interval of a single bin: there are several, and one that strays by chance is no finding."""

MIN_CASES = 5
"""With fewer cases nothing is said of single bins."""

MIN_PART = 0.01
"""An over- or underconfident part is told from this contribution to the pooled ECE on."""

CASE_GAP = 0.05
"""Cases are counted as over- or underconfident where their gap is larger than this."""


@dataclass(frozen=True)
class Range:
    """Neighbouring bins that are all overconfident, or all underconfident: lower and upper edge of the confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class HeadlineNumbers:
    """Means over cases, each with its interval, and where confidence and accuracy differ in opposite ways.

    Attributes:
        voxel_set: the set that the numbers are of.
        n_cases: cases with voxels in the set.
        confidence, accuracy: mean over cases.
        gap: mean over cases of confidence minus accuracy.
        ece: by voxel set, mean over cases.
        over, under: the pooled bins that are clearly over- or underconfident, joined to ranges; empty where they add less than
            :data:`MIN_PART` to the ECE.
        cases_over, cases_under: how many cases are over- or underconfident by more than :data:`CASE_GAP`.
    """

    voxel_set: str
    n_cases: int
    confidence: float | None
    accuracy: float | None
    gap: Value
    ece: dict[str, Value]
    over: tuple[Range, ...] = ()
    under: tuple[Range, ...] = ()
    cases_over: int = 0
    cases_under: int = 0


def prepare_headline(run: Run, cases: Sequence[str]) -> HeadlineNumbers:
    """Return the numbers of the structures that a run predicts, over the given cases."""
    held = voxel_sets(run)
    voxel_set = "predicted" if "predicted" in held else held[0]
    shown = [name for name in dict.fromkeys((voxel_set, "all")) if name in held]
    ece = {name: value_over(run, cases, name, "ECE") for name in shown}
    gaps = _scores(run, cases, voxel_set, "gap")
    confidence, accuracy = (value_over(run, cases, voxel_set, name).value for name in ("confidence", "accuracy"))
    over, under = clear_ranges(_top_bins(run, cases, voxel_set))
    return HeadlineNumbers(
        voxel_set=voxel_set,
        n_cases=int((~np.isnan(gaps)).sum()),
        confidence=confidence,
        accuracy=accuracy,
        gap=value_over(run, cases, voxel_set, "gap"),
        ece=ece,
        over=over,
        under=under,
        cases_over=int((gaps > CASE_GAP).sum()),
        cases_under=int((gaps < -CASE_GAP).sum()),
    )


def value_over(run: Run, cases: Sequence[str], voxel_set: str, score: str) -> Value:
    """Return the mean of a score over the given cases that have it, with its 95 % interval over cases."""
    held = read_value(run.summary["per_case"][voxel_set], score)
    if held.interval is not None and set(cases) == set(run.statistics):
        return held
    values = _scores(run, cases, voxel_set, score)
    defined = values[~np.isnan(values)]
    if not defined.size:
        return Value(None)
    low, high = mean_interval(values, within=(-1.0 if score == "gap" else 0.0, 1.0))
    return Value(float(defined.mean()), (float(low), float(high)) if low < high else None)


def clear_ranges(bins: Float64Array) -> tuple[tuple[Range, ...], tuple[Range, ...]]:
    """Return the overconfident and the underconfident ranges of confidence, pooled over cases.

    A bin counts where the :data:`BIN_LEVEL` interval over cases of its mean gap does not hold 0. The ranges of a kind
    are returned where such bins together add at least :data:`MIN_PART` to the pooled ECE.

    Args:
        bins: ``(N, 3, B)``, of each case the number of voxels, the sum of confidences and the number of right ones per bin.
    """
    count, confidence, right = bins.sum(0)
    if len(bins) < MIN_CASES or not count.sum():
        return (), ()
    low, high = pooled_interval({"bins": bins}, lambda sums: _gaps(sums["bins"].swapaxes(0, 1)), BIN_LEVEL)
    weight = np.abs(confidence - right) / count.sum()
    kinds = ((low > 0), (high < 0))
    over, under = (_ranges(clear) if weight[clear].sum() >= MIN_PART else () for clear in kinds)
    return over, under


def _top_bins(run: Run, cases: Sequence[str], voxel_set: str) -> Float64Array:
    return np.array([run.statistics[case].top_label_bins(voxel_set) for case in cases], np.float64)


def _gaps(sums: Float64Array) -> Float64Array:
    """Return mean confidence minus accuracy ``(r, B)`` of sums ``(3, r, B)``, NaN in empty bins."""
    count, confidence, right = sums
    gaps = np.full(count.shape, np.nan)
    np.divide(confidence - right, count, out=gaps, where=count > 0)
    return gaps


def _ranges(chosen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[Range, ...]:
    """Return runs of neighbouring bins as ranges of confidence."""
    steps = np.diff(np.concatenate([[0], chosen.astype(int), [0]]))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return tuple(Range(start / chosen.size, end / chosen.size) for start, end in zip(starts, ends, strict=True))


def _scores(run: Run, cases: Sequence[str], voxel_set: str, score: str) -> Float64Array:
    wanted = set(cases)
    values = [
        entry["voxel_sets"][voxel_set][score] for entry in run.summary["metric_per_case"] if entry["case"] in wanted
    ]
    return np.array([np.nan if value is None else value for value in values], np.float64)
