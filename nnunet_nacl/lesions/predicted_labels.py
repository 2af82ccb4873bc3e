"""The label map that nnU-Net writes for probabilities that pass by, and their values where components need them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.channel_stream import Block
from nnunet_nacl.calibration.checks import SUM_TOLERANCE, describe_sums, describe_values
from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.lesions.components import Components


class PredictedClasses(NamedTuple):
    """What the channels of a label model give.

    Attributes:
        segmentation: ``(z, y, x)``, the class of the highest probability, the first of equal ones.
        probability: ``(z, y, x)``, that probability.
        sum_p, largest_p: ``(n,)``, of the probability of each labelled component's class within it.
    """

    segmentation: NDArray[np.int16]
    probability: FloatArray
    sum_p: Float64Array
    largest_p: Float64Array


def predicted_classes(blocks: Iterable[Block], labelled: Components) -> PredictedClasses:
    """Return what the channels of a label model give, each of which is seen and forgotten.

    Args:
        blocks: ``(channel, start, values)`` in order.
        labelled: the labelled components, whose structures are classes.

    Raises:
        ValueError: values that are no probabilities or do not sum to 1.
    """
    numbers = labelled.numbers.reshape(-1)
    segmentation = np.empty(numbers.size, np.int16)
    highest, total = np.empty(0), np.empty(0)
    sum_p, largest_p = np.zeros(labelled.n), np.zeros(labelled.n)
    for channel, start, values in blocks:
        if highest.size != numbers.size:
            highest, total = np.empty(numbers.size, values.dtype), np.empty(numbers.size, values.dtype)
        part = slice(start, start + values.size)
        if _see(values, channel, highest[part], segmentation[part], total[part], 1 + SUM_TOLERANCE):
            raise ValueError(describe_values(values))
        _add_of_structure(values, channel, numbers[part], labelled.structures, sum_p, largest_p)
    if highest.size and _astray(total, SUM_TOLERANCE):
        raise ValueError(describe_sums(total))
    shape = labelled.numbers.shape
    return PredictedClasses(segmentation.reshape(shape), highest.reshape(shape), sum_p, largest_p)


def predicted_regions(
    blocks: Iterable[Block], shape: tuple[int, ...], region_labels: Sequence[int]
) -> NDArray[np.uint16]:
    """Return the label map ``(z, y, x)`` that nnU-Net writes for the channels of a region model.

    Args:
        blocks: as in :func:`predicted_classes`.
        shape: of the label map.
        region_labels: the label written where each channel is above 0.5, later channels over earlier ones.

    Raises:
        ValueError: values that are no probabilities.
    """
    segmentation = np.zeros(shape, np.uint16)
    flat = segmentation.reshape(-1)
    for channel, start, values in blocks:
        problem = describe_values(values)
        if problem:
            raise ValueError(problem)
        flat[start : start + values.size][values > 0.5] = region_labels[channel]
    return segmentation


def channels(blocks: Iterable[Block], shape: tuple[int, ...]) -> Iterator[FloatArray]:
    """Yield the channels ``(z, y, x)`` one after the other, in one array that each fills anew."""
    held: NDArray[Any] = np.zeros(0)
    size = int(np.prod(shape))
    for _, start, values in blocks:
        if not held.size:
            held = np.zeros(size, values.dtype)
        held[start : start + values.size] = values
        if start + values.size == size:
            yield held.reshape(shape)


@compiled
def _see(
    values: NDArray[Any],
    channel: int,
    highest: NDArray[Any],
    segmentation: NDArray[Any],
    total: NDArray[Any],
    most: float,
) -> int:
    """Take in a block and return how many of its values are no probabilities."""
    if channel == 0:
        for i in range(values.size):
            highest[i] = values[i]
            total[i] = values[i]
            segmentation[i] = 0
    else:
        for i in range(values.size):
            value = values[i]
            better = value > highest[i]
            highest[i] = value if better else highest[i]
            segmentation[i] = channel if better else segmentation[i]
            total[i] += value
    faults = 0
    for i in range(values.size):
        faults += not (values[i] >= 0 and values[i] <= most)  # NaN too
    return faults


@compiled
def _add_of_structure(
    values: NDArray[Any],
    channel: int,
    numbers: NDArray[Any],
    structures: NDArray[Any],
    sum_p: NDArray[Any],
    largest_p: NDArray[Any],
) -> None:
    """Add a block of a channel to the components that are of this class."""
    for i in range(values.size):
        number = numbers[i]
        if number and structures[number - 1] == channel:
            sum_p[number - 1] += values[i]
            largest_p[number - 1] = max(largest_p[number - 1], values[i])


@compiled
def _astray(total: NDArray[Any], tolerance: float) -> int:
    count = 0
    for i in range(total.size):
        count += not (abs(total[i] - 1) <= tolerance)
    return count
