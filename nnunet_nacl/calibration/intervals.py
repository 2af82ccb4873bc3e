"""Confidence intervals over cases: numpy and scipy, nothing random.

The unit is the case, never the voxel: the voxels of one case depend on each other, and a new data set brings new cases. Where several
cases are of one patient (two frames, two lesions) they depend on each other as well, and the unit is the group of them.

**Means** (:func:`mean_interval`): the t interval corrected for skewness by Hall's cubic transformation (Hall 1992, On the
removal of skewness by transformation, JRSS B 54, 221-228). Calibration scores are skewed, and differences of them are.
With n units, mean m, standard deviation s, skewness g and T = (m - mu) / s, the variable

    h(T) = T + g T^2 / 3 + g^2 T^3 / 27 + g / (6 n)

times the root of n is nearer to its limit than T itself; h is a cube, so its inverse is exact. Its quantiles are those of
Student's t, so that without skewness this is the t interval.

**Statistics of sums** (:func:`pooled_interval`), as a pooled ECE: the t interval around the statistic with the standard error of the
delete-one jackknife over units (Efron and Stein 1981).

Both were chosen by simulation, against percentile, expanded percentile, BCa and studentised bootstrap intervals and the t interval of
logarithms; the coverage is in docs/scores.md and `scripts/simulate_coverage.py` makes it again. The studentised bootstrap covers
as Hall's interval does, but it needs random numbers and breaks down where most values are equal. Bootstrap intervals of a pooled ECE
near 0 never cover: a resample has more error than the data, which have more than the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from nnunet_nacl.calibration.arrays import Float64Array

DEFAULT_LEVEL = 0.95

METHOD = "t over cases, corrected for skewness (Hall 1992)"
"""Of the intervals of means, in words for files and pages."""

METHOD_POOLED = "t over cases, delete-one jackknife"
"""The same of statistics of sums."""

CHUNK_BYTES = 2**26
"""About how much memory the sums without each unit take at a time (64 MiB); at least one unit is left out at a time."""

ROUNDING = 1e-12
"""Share of the largest value below which a deviation from the mean is rounding."""


def mean_interval(
    values: ArrayLike,
    level: float = DEFAULT_LEVEL,
    groups: Sequence[str] | None = None,
    within: tuple[ArrayLike, ArrayLike] = (-np.inf, np.inf),
) -> tuple[Float64Array, Float64Array]:
    """Return the interval of means over cases.

    A value that is NaN (a score that the case does not have) is left out. With groups the mean is still that over cases; its
    deviation is that of the means without each group (jackknife).

    Args:
        values: ``(N,)`` or ``(N, M)``, one row per case.
        level: the share of such intervals that hold the mean of the population, between 0 and 1.
        groups: the group of each case, N names; None where each case is its own.
        within: the range of the score, each end a number or ``(M,)``: no interval reaches beyond.

    Returns:
        Lower and upper end, each ``()`` or ``(M,)`` float64. Both are NaN where fewer than two units have a value.

    >>> low, high = mean_interval([0.1, 0.2, 0.3, float("nan")])
    >>> round(float(low), 3), round(float(high), 3)
    (-0.048, 0.448)
    """
    mean, deviation, skewness, n = _moments_of(values, groups)
    quantile = _t_quantile(_checked_level(level), np.maximum(n - 1, 1)) / np.sqrt(np.maximum(n, 1))
    ends = (mean - deviation * _inverse_of_hall(side * quantile, skewness, n) for side in (1, -1))
    shape = np.shape(values)[1:]
    low, high = (np.clip(np.where(n >= 2, end, np.nan), *within).reshape(shape) for end in ends)
    return low, high


def p_of_zero(values: ArrayLike, groups: Sequence[str] | None = None) -> Float64Array:
    """Return the two-sided p of means of 0 that belongs to :func:`mean_interval`: below 1 - level where the interval leaves out 0.

    Args:
        values, groups: as there.

    Returns:
        ``()`` or ``(M,)`` float64; NaN where fewer than two units have a value. Where all units agree it is 0, or 1 if they are 0.

    >>> values = [0.1, 0.2, 0.3]
    >>> low, high = mean_interval(values, 1 - float(p_of_zero(values)))
    >>> abs(round(float(low), 9)), round(float(high), 3)
    (0.0, 0.4)
    """
    mean, deviation, skewness, n = _moments_of(values, groups)
    spread = deviation > 0
    distance = np.divide(mean, deviation, out=np.zeros_like(mean), where=spread)
    moved = np.sqrt(np.maximum(n, 1)) * _hall(distance, skewness, n)
    p = np.where(spread, 2 * stdtr(np.maximum(n - 1, 1), -np.abs(moved)), mean == 0)
    return np.asarray(np.where(n >= 2, p, np.nan)).reshape(np.shape(values)[1:])


def pooled_interval(
    arrays: Mapping[str, NDArray[Any]],
    statistic: Callable[[dict[str, Float64Array]], NDArray[Any]],
    level: float = DEFAULT_LEVEL,
    groups: Sequence[str] | None = None,
    within: tuple[ArrayLike, ArrayLike] = (-np.inf, np.inf),
) -> tuple[Float64Array, Float64Array]:
    """Return the interval of a statistic of sums over cases, for instance a pooled ECE.

    Args:
        arrays: name to ``(N, ...)``, what is summed over the cases (first axis): counts, sums.
        statistic: takes name to ``(r, ...)``, r rows of sums, and returns ``(r, *out)``; NaN where it is undefined.
        level, groups: as in :func:`mean_interval`.
        within: the range of the statistic, each end a number or of shape ``out``.

    Returns:
        Lower and upper end, each of shape ``out``. Both are NaN where the statistic hangs on one unit: there is one only, or
        without one of them it is undefined. Degrees of freedom are those of the units without which it is another.

    >>> counts, right = np.array([10, 20, 30]), np.array([9, 12, 27])
    >>> low, high = pooled_interval({"n": counts, "right": right}, lambda sums: sums["right"] / sums["n"], within=(0, 1))
    >>> round(float(low), 3), round(float(high), 3)
    (0.3, 1.0)
    """
    whole, deviation, contributing = jackknife(arrays, statistic, groups)
    half = _t_quantile(_checked_level(level), np.maximum(contributing - 1, 1)) * deviation
    return np.clip(whole - half, *within), np.clip(whole + half, *within)


def where_units_differ(low: float, high: float) -> tuple[float, float]:
    """Return the ends of an interval, NaN where it has no width but rounding: units that all agree do not say how far others are from them.

    >>> where_units_differ(0.0, 0.0), where_units_differ(0.1, 0.2)
    ((nan, nan), (0.1, 0.2))
    """
    return (float(low), float(high)) if high - low > ROUNDING else (math.nan, math.nan)


def jackknife(
    arrays: Mapping[str, NDArray[Any]],
    statistic: Callable[[dict[str, Float64Array]], NDArray[Any]],
    groups: Sequence[str] | None = None,
) -> tuple[Float64Array, Float64Array, NDArray[np.integer[Any]]]:
    """Return a statistic of sums over cases, its standard error by the delete-one jackknife, and how many units it depends on.

    Args:
        arrays, statistic, groups: as in :func:`pooled_interval`.

    Returns:
        Each of shape ``out``. The error is NaN where there is one unit only, or without one of them the statistic is undefined.
    """
    by_unit = _by_group(arrays, groups)
    n_units = _number_of_cases(by_unit)
    whole = np.asarray(statistic({name: stack.sum(0)[None] for name, stack in by_unit.items()}), np.float64)[0]
    if n_units < 2:
        return whole, np.full(whole.shape, np.nan), np.zeros(whole.shape, np.int64)
    without = np.concatenate([np.asarray(statistic(sums), np.float64) for sums in sums_without_each(by_unit)])
    # the jackknife's standard error, with the units that count for the statistic: the others leave it as it is
    deviation = np.sqrt((n_units - 1) / n_units * ((without - without.mean(0)) ** 2).sum(0))
    contributing = (np.abs(without - whole) > ROUNDING * np.abs(whole)).sum(0)
    return whole, deviation, contributing


def sums_without_each(arrays: Mapping[str, NDArray[Any]]) -> Iterator[dict[str, Float64Array]]:
    """Yield the sums over all rows but one, for each row in turn, a chunk of rows at a time.

    Args:
        arrays: name to ``(N, ...)``, bool, integer or floating, finite.

    Yields:
        Name to ``(r, ...)`` float64, with r rows that add up to N. Sums of whole numbers are exact below 2**53.

    Raises:
        ValueError: no array, no row, or arrays of different numbers of rows.
    """
    stacks = {name: np.asarray(array) for name, array in arrays.items()}
    n_rows = _number_of_cases(stacks)
    totals = {name: stack.sum(0, dtype=np.float64) for name, stack in stacks.items()}
    bytes_each = 8 * max(1, sum(math.prod(stack.shape[1:]) for stack in stacks.values()))
    at_a_time = max(1, CHUNK_BYTES // bytes_each)
    for start in range(0, n_rows, at_a_time):
        yield {name: totals[name] - stack[start : start + at_a_time] for name, stack in stacks.items()}


class _Moments(NamedTuple):
    """Of M scores, ``(M,)`` each: mean over cases, standard deviation and skewness over units, and the number of units."""

    mean: Float64Array
    deviation: Float64Array
    skewness: Float64Array
    n: NDArray[Any]


def _moments_of(values: ArrayLike, groups: Sequence[str] | None) -> _Moments:
    array = _checked_values(values)
    columns = array if array.ndim == 2 else array[:, None]
    defined = ~np.isnan(columns)
    filled = np.where(defined, columns, 0.0)
    sums = _by_group({"sum": filled, "count": defined.astype(np.float64)}, groups)
    counts = sums["count"]
    n, total = (counts > 0).sum(0), counts.sum(0)
    mean = sums["sum"].sum(0) / np.maximum(total, 1)
    largest = np.abs(filled).max(0, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    # how far the mean of all moves without each unit, times the number of the others: for cases alone, their distance to the mean
    others = np.maximum(total - counts, 1) / np.maximum(n - 1, 1)
    deviations = (sums["sum"] - mean * counts) / others / scale
    deviations[np.abs(deviations) <= ROUNDING] = 0.0
    second, third = ((deviations**power).sum(0) / np.maximum(n, 1) for power in (2, 3))
    skewness = np.divide(third, second**1.5, out=np.zeros_like(third), where=second > 0)
    return _Moments(mean, scale * np.sqrt(second * n / np.maximum(n - 1, 1)), skewness, n)


def _hall(distance: Float64Array, skewness: Float64Array, n: NDArray[Any]) -> Float64Array:
    """Return h(T) of T, the distance to the mean in standard deviations."""
    turned = skewness * distance
    return np.asarray(distance * (1 + turned / 3 + turned**2 / 27) + skewness / (6 * np.maximum(n, 1)))


def _inverse_of_hall(value: Float64Array, skewness: Float64Array, n: NDArray[Any]) -> Float64Array:
    """Return T with h(T) = value; h is ((1 + g T / 3)^3 - 1) / g + g / (6 n)."""
    moved = value - skewness / (6 * np.maximum(n, 1))
    # below this the cube root cancels, and T is moved itself
    skewed = np.abs(skewness) > 1e-6
    safe = np.where(skewed, skewness, 1.0)
    return np.asarray(np.where(skewed, 3 / safe * (np.cbrt(1 + safe * moved) - 1), moved))


def _t_quantile(level: float, degrees: NDArray[Any]) -> Float64Array:
    return np.asarray(stdtrit(degrees, (1 + level) / 2))  # scipy.stats takes a second to import


def _by_group(arrays: Mapping[str, NDArray[Any]], groups: Sequence[str] | None) -> dict[str, NDArray[Any]]:
    """Return the sums of each group, in the order of first appearance; the arrays themselves without groups."""
    stacks = {name: np.asarray(array) for name, array in arrays.items()}
    n_cases = _number_of_cases(stacks)
    if groups is None:
        return stacks
    if len(groups) != n_cases:
        raise ValueError(
            f"Expected argument `groups` to name the group of {n_cases} cases, but got {len(groups)} names."
        )
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    of_cases = np.array([numbers[name] for name in groups])
    summed = {}
    for name, stack in stacks.items():
        summed[name] = np.zeros((len(numbers), *stack.shape[1:]))
        np.add.at(summed[name], of_cases, stack)
    return summed


def _checked_values(values: ArrayLike) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2):
        raise ValueError(f"Expected argument `values` to have shape (N,) or (N, M), but got {array.shape}.")
    if np.isinf(array).any():
        raise ValueError("Expected argument `values` to be finite or NaN, but got an infinite value.")
    return array


def _checked_level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"Expected argument `level` to be between 0 and 1, but got {level}.")
    return level


def _number_of_cases(stacks: Mapping[str, NDArray[Any]]) -> int:
    numbers = {stack.shape[0] if stack.ndim else 0 for stack in stacks.values()}
    if len(numbers) != 1 or 0 in numbers:
        shapes = {name: stack.shape for name, stack in stacks.items()}
        raise ValueError(f"Expected arrays of one number of cases, at least 1, on the first axis, but got {shapes}.")
    return numbers.pop()
