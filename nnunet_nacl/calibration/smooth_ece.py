"""Smooth ECE: the calibration error of confidences smoothed by a kernel, without bins (Blasiok and Nakkiran, arXiv 2309.12236).

With the residual ``r = confidence - correct`` of each of n voxels and the Gaussian kernel K of width s, reflected at 0 and 1,

    smECE_s = integral over t from 0 to 1 of | 1/n sum_i r_i K_s(confidence_i, t) |,

which never grows with s, and smooth ECE is the s that equals its own smECE_s (their Definition 5 and Lemma 10). It is computed from sums
over cells of confidences, with all of a cell's residuals at the mean confidence of the cell. A kernel moved by d differs from itself by at
most ``d sqrt(2 / pi) / s`` in the integral, and smECE_s - s falls at least as fast as s grows, so the result is off by at most
``sqrt(2 / pi) B / s`` with B the mean over voxels of ``|r|`` times the distance to the mean of their cell (:func:`error_of_cells`).

The reflected kernel is the heat kernel of an interval with closed ends, so smoothing multiplies the cosine modes k of the residuals by
``exp(-(pi k s)**2 / 2)``. The residuals are put on equal steps for that, with cubic weights; at sixteen or more steps a width the
integral is within 2e-4 of itself (measured, tests/calibration/test_smooth_ece.py).
"""

from __future__ import annotations

import math

import numpy as np

from nnunet_nacl.calibration.arrays import Array, Float64Array

STEPS_PER_WIDTH = 16
MOST_STEPS = 2**18
"""Widths below 16 / 2**18, 6e-5, are smoothed on these steps too: such a result says that it is so small, not how small."""

_TOLERANCE = 1e-5  # of the width, relative
_MOST_TRIES = 60


def smooth_ece(count: Array, confidence: Array, correct: Array) -> Float64Array:
    """Return the smooth ECE of confidences in cells; NaN where there is no voxel.

    Args:
        count: ``(..., F)`` voxels of each cell.
        confidence: ``(..., F)`` their summed confidences.
        correct: ``(..., F)`` how many of them are right.

    Returns:
        ``(...)`` float64, 0 to 1.

    >>> round(float(smooth_ece(np.array([10.0, 10.0]), np.array([6.0, 9.0]), np.array([5.0, 8.0]))), 4)
    0.1
    """
    *leading, n_cells = np.shape(count)
    shape = (math.prod(leading), n_cells)  # there may be no cell: no -1
    rows = (np.asarray(part, np.float64).reshape(shape) for part in (count, confidence, correct))
    found = [_of_row(*row) for row in zip(*rows, strict=True)]
    return np.array(found, np.float64).reshape(leading)


def smooth_ece_of_width(count: Array, confidence: Array, correct: Array, width: float) -> float:
    """Return smECE at one width; arguments ``(F,)`` as in :func:`smooth_ece`, and a width above 0."""
    return _Residuals(*(np.asarray(part, np.float64) for part in (count, confidence, correct))).smoothed(width)


def error_of_cells(count: Array, correct: Array, lower: Array, upper: Array, width: float) -> float:
    """Return by how much cells of confidences from ``lower`` to ``upper`` can have moved a smooth ECE of this value, at most.

    Args:
        count, correct: ``(F,)``, voxels, and those that are right.
        lower, upper: ``(F,)``, the ends of each cell.
        width: the smooth ECE.
    """
    right, wrong = np.asarray(correct, np.float64), np.subtract(count, correct, dtype=np.float64)
    residuals = right * (1 - np.asarray(lower)) + wrong * np.asarray(upper)
    moved = (residuals * np.subtract(upper, lower)).sum() / np.sum(count)
    return float(math.sqrt(2 / math.pi) * moved / width)


def _of_row(count: Float64Array, confidence: Float64Array, correct: Float64Array) -> float:
    if not count.any():
        return math.nan
    residuals = _Residuals(count, confidence, correct)
    # smoothing takes nothing from residuals of one sign, and never adds any: the result lies between these two
    low, high = residuals.net, residuals.gross
    if high - low <= _TOLERANCE * high:
        return high
    at_high = residuals.smoothed(high)
    return _fixed_point(residuals, max(low, at_high, _TOLERANCE * high), high, at_high - high)


def _fixed_point(residuals: _Residuals, low: float, high: float, below: float) -> float:
    """Return where smECE_s = s between two widths by false position, Illinois variant; ``below`` is smECE_s - s at the upper one."""
    above = residuals.smoothed(low) - low
    side = 0
    for _ in range(_MOST_TRIES):
        if high - low <= _TOLERANCE * high or above <= 0 or below >= 0:
            break
        width = high - below * (high - low) / (below - above)
        off = residuals.smoothed(width) - width
        if abs(off) <= _TOLERANCE * width:  # the difference falls by one or more, so the width is no further away
            return width
        if off > 0:
            low, above = width, off
            below, side = (below / 2, 1) if side == 1 else (below, 1)
        else:
            high, below = width, off
            above, side = (above / 2, -1) if side == -1 else (above, -1)
    return low if above <= 0 else high if below >= 0 else (low + high) / 2


class _Residuals:
    """The residuals of cells, at the mean confidence of each, as shares of all voxels."""

    def __init__(self, count: Float64Array, confidence: Float64Array, correct: Float64Array) -> None:
        held = count > 0
        self._value = (confidence[held] - correct[held]) / count.sum()
        self._place = np.clip(confidence[held] / count[held], 0.0, 1.0)
        self.net = abs(float(self._value.sum()))
        self.gross = float(np.abs(self._value).sum())
        self._modes: dict[int, Float64Array] = {}

    def smoothed(self, width: float) -> float:
        """Return smECE at a width."""
        steps = _steps(width)
        if steps not in self._modes:
            self._modes[steps] = _cosine_modes(self._value, self._place, steps)
        modes = self._modes[steps]
        damped = modes * np.exp(-0.5 * (math.pi * width * np.arange(modes.size)) ** 2)
        return _integral_of_absolute(np.fft.irfft(damped, 2 * steps)[: steps + 1])


def _steps(width: float) -> int:
    """Return a number of steps from 0 to 1 that is a power of two and fine enough for a width."""
    return int(min(MOST_STEPS, 2 ** max(6, math.ceil(math.log2(STEPS_PER_WIDTH / width)))))


def _cosine_modes(value: Float64Array, place: Float64Array, steps: int) -> Float64Array:
    """Return the cosine modes ``(steps + 1,)`` of values put on steps from 0 to 1, which go on mirrored beyond both ends."""
    node = np.minimum((place * steps).astype(np.int64), steps - 1)
    x = place * steps - node
    weights = (
        -x * (x - 1) * (x - 2) / 6,
        (x + 1) * (x - 1) * (x - 2) / 2,
        -(x + 1) * x * (x - 2) / 2,
        (x + 1) * x * (x - 1) / 6,
    )
    at = np.abs(node + np.arange(-1, 3)[:, None])  # what lies beyond an end is mirrored back
    at = np.minimum(at, 2 * steps - at)
    mass = np.bincount(at.ravel(), (np.stack(weights) * value).ravel(), steps + 1)
    mass[[0, -1]] *= 2  # an end is its own mirror image
    on_circle = np.concatenate([mass, mass[-2:0:-1]])
    return np.fft.rfft(on_circle).real


def _integral_of_absolute(mass: Float64Array) -> float:
    """Return the integral from 0 to 1 of the absolute of a function, straight between the steps; ``mass`` is it times the step."""
    first, second = np.abs(mass[:-1]), np.abs(mass[1:])
    whole = first + second
    crossed = mass[:-1] * mass[1:] < 0
    parts = np.divide(first**2 + second**2, whole, out=whole.copy(), where=crossed)
    return float(parts.sum() / 2)
