"""The compiled inner loops of what volumes and triage need: the uncertainty of a class over all voxels, and sums over its predicted mask.

They go through voxels a strip at a time, in loops that become vector instructions. A sum has a place for each voxel of a strip, and the places are
added up in the end (:func:`nnunet_nacl.calibration.sums.joined`): a fixed order of additions, so that the same voxels give the same sums to the last
bit. Strips that hold no voxel of a mask are only looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from nnunet_nacl.calibration.compiled import compiled, compiled_contracted
from nnunet_nacl.calibration.sums import MASK_ENTROPY, MASK_PROBABILITY, SPREAD, STRIP
from nnunet_nacl.calibration.voxel_sets import LEFT_OUT

_ROOT_OF_HALF = np.int32(0x3F3504F3)  # the bits of a float32
_MANTISSA_BITS = np.int32(23)
_LN2 = np.float32(np.log(2))
_ONE = np.float32(1)


def _coefficients(function: Callable[[Any], Any], low: float, high: float) -> tuple[np.float32, ...]:
    """Return those of the polynomial of degree 6 that interpolates ``function(x) / x``, of which the limit at 0 is 1."""

    def ratio(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.divide(function(x), x, out=np.ones_like(x), where=x != 0))

    polynomial = Chebyshev.interpolate(ratio, 6, (low, high)).convert(kind=Polynomial)
    return tuple(np.float32(value) for value in polynomial.coef)


_L0, _L1, _L2, _L3, _L4, _L5, _L6 = _coefficients(np.log1p, np.sqrt(0.5) - 1, np.sqrt(2) - 1)
_R0, _R1, _R2, _R3, _R4, _R5, _R6 = _coefficients(lambda x: -(1 - x) * np.log1p(-x), 0, 0.5)


@compiled
def add_spread(values: NDArray[Any], group: NDArray[np.uint8], lanes: NDArray[np.float64]) -> None:
    """Add p (1 - p) over a run of one channel.

    Args:
        values: ``(N,)``, probabilities; each product is taken in their dtype and added in float64.
        group: ``(N,)``, LEFT_OUT where a voxel is not counted.
        lanes: ``(3, STRIP)`` of the channel.
    """
    one, zero = values.dtype.type(1), values.dtype.type(0)
    spread = lanes[SPREAD]
    for begin in range(0, values.size, STRIP):
        strip, strip_group = values[begin : begin + STRIP], group[begin : begin + STRIP]
        for i in range(strip.size):
            product = strip[i] * max(one - strip[i], zero)
            spread[i] += np.float64(product if strip_group[i] != LEFT_OUT else zero)


@compiled
def add_masks(
    values: NDArray[Any], predicted: NDArray[Any], group: NDArray[np.uint8], first: int, lanes: NDArray[np.float64]
) -> None:
    """Add probability and entropy over the masks of some classes that follow one another.

    Args:
        values: ``(N,)``, the probability of the predicted class where that is one of these; what else stands there is not added.
        predicted: ``(N,)``, the predicted class.
        group: ``(N,)``, LEFT_OUT where a voxel is not counted.
        first: the first of these classes.
        lanes: ``(C, 3, STRIP)`` of the classes ``first`` to ``first + C - 1``.
    """
    last, room = first + len(lanes) - 1, _new_strip()
    entropy = room.entropy
    for begin in range(0, values.size, STRIP):
        of_strip = predicted[begin : begin + STRIP]
        lowest, highest = _classes_between(of_strip, first, last)
        if lowest > highest:
            continue
        strip, strip_group = values[begin : begin + STRIP], group[begin : begin + STRIP]
        _find_entropies(strip, room)
        for label in range(lowest, highest + 1):
            of_label = lanes[label - first]
            for i in range(strip.size):
                hit = (of_strip[i] == label) & (strip_group[i] != LEFT_OUT)
                of_label[MASK_PROBABILITY, i] += np.float64(strip[i]) if hit else 0.0
                of_label[MASK_ENTROPY, i] += np.float64(entropy[i]) if hit else 0.0


@compiled
def _classes_between(predicted: NDArray[Any], first: int, last: int) -> tuple[Any, Any]:
    """Return the lowest and the highest predicted class from ``first`` to ``last``; where there is none, the former is above the latter."""
    low, high = np.int32(first), np.int32(last)
    below, above = np.int32(first - 1), np.int32(last + 1)
    lowest, highest = above, below
    for i in range(predicted.size):
        label = np.int32(predicted[i])
        lowest = min(lowest, label if label >= low else above)
        highest = max(highest, label if label <= high else below)
    return lowest, highest


class Strip(NamedTuple):
    """Room for a strip of voxels, float32: the smaller of p and 1 - p, its mantissa, and the entropy; of the former two the bits, too, as int32."""

    smaller: NDArray[np.float32]
    bits: NDArray[np.int32]
    mantissa: NDArray[np.float32]
    mantissa_bits: NDArray[np.int32]
    entropy: NDArray[np.float32]


@compiled
def _new_strip() -> Strip:
    smaller, mantissa = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    return Strip(smaller, smaller.view(np.int32), mantissa, mantissa.view(np.int32), np.empty(STRIP, np.float32))


@compiled_contracted
def _find_entropies(values: NDArray[Any], strip: Strip) -> None:
    """Write -p ln p - (1 - p) ln (1 - p) of each probability of a strip, in nats, with a relative error below 1e-6; 0 at both ends and beyond.

    With x the smaller of p and 1 - p the entropy is x (r - ln x), where r = -(1 - x) ln (1 - x) / x is a polynomial. A float32 is 2**e m with m between
    the square roots of 1/2 and 2, taken from its bits; ln m is a polynomial. So these are vector instructions, where the library's logarithm takes one
    value at a time.
    """
    smaller, bits, mantissa, mantissa_bits, entropy = strip
    one, zero = values.dtype.type(1), values.dtype.type(0)
    for i in range(values.size):
        smaller[i] = max(min(values[i], one - values[i]), zero)
    for i in range(values.size):
        mantissa_bits[i] = bits[i] - (((bits[i] - _ROOT_OF_HALF) >> _MANTISSA_BITS) << _MANTISSA_BITS)
    for i in range(values.size):
        exponent = np.float32((bits[i] - _ROOT_OF_HALF) >> _MANTISSA_BITS)
        x, m = smaller[i], mantissa[i] - _ONE
        rest, logarithm = _R6, _L6
        for term in (_R5, _R4, _R3, _R2, _R1, _R0):
            rest = rest * x + term
        for term in (_L5, _L4, _L3, _L2, _L1, _L0):
            logarithm = logarithm * m + term
        entropy[i] = x * (rest - (exponent * _LN2 + logarithm * m))


@compiled
def find_members(
    labels: NDArray[Any], predicted: NDArray[Any], ignored: Any, bits: NDArray[np.uint8], inside: NDArray[np.uint8]
) -> None:
    """Write for each voxel ``(N,)`` the bits of its predicted label; 0 where the label is the ignored one."""
    for i in range(labels.size):
        inside[i] = bits[predicted[i]] if labels[i] != ignored else 0


@compiled
def see_region(
    values: NDArray[Any], bit: int, above: NDArray[np.uint8], low: float, high: float
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Take in a run of a region's channel.

    Args:
        values: ``(N,)``, probabilities.
        bit: number of the bit that is set in ``above`` where a value is above 0.5.
        above: ``(N,)``.
        low, high: values above the one and up to the other are wanted.

    Returns:
        Where these are, ``(n,)``, and what they are, ``(n,)``.
    """
    least, most, half = values.dtype.type(low), values.dtype.type(high), values.dtype.type(0.5)
    flag, found, n_found = np.uint8(1 << bit), np.empty(values.size + 1, np.int32), 0
    wanted = np.zeros(STRIP, np.uint8)
    eights = wanted.view(np.uint64)  # most groups of eight voxels have none
    for begin in range(0, values.size, STRIP):
        strip, strip_above = values[begin : begin + STRIP], above[begin : begin + STRIP]
        for i in range(strip.size):
            strip_above[i] |= flag if strip[i] > half else np.uint8(0)
            wanted[i] = (strip[i] > least) & (strip[i] <= most)
        for i in range(strip.size, STRIP):
            wanted[i] = 0
        for eight in range(STRIP // 8):
            if eights[eight]:
                for i in range(8 * eight, 8 * eight + 8):
                    found[n_found] = begin + i
                    n_found += wanted[i]
    at = found[:n_found].copy()
    return at, values[at]
