"""The compiled inner loops: sums over voxels, for each stratum, bin and class.

All work on flat runs of voxels. Loops that only compute are kept apart from loops that add into bins: the former become
vector instructions. Neighbouring voxels mostly fall into the same bin, and an addition has to wait for the one before it
into the same place, so the sums exist :data:`LANES` times and voxel i adds to copy ``i % LANES``.

What volumes and triage need is in :mod:`nnunet_nacl.calibration.mask_kernels`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.compiled import compiled
from nnunet_nacl.calibration.mask_kernels import add_masks, add_spread
from nnunet_nacl.calibration.sums import GRID_CELLS, GROUPS, LANES, Sums
from nnunet_nacl.calibration.voxel_sets import N_STRATA, PREDICTED_FOREGROUND

SLAB = 1 << 18  # voxels for a thread at a time; the same for any number of threads, and so is the order of additions
RUN = 4096  # voxels at a time, so that what is known of them stays in the nearest cache

THRESHOLD = 1e-3
"""Probabilities up to this have a bin of their own within the first one: the thresholded scores leave them out."""

NLL_FLOOR = 1e-12
"""A label's probability below this enters the negative log likelihood as this (27.6 nats), and is counted."""

_GRID_ORIGIN = 1023 * 64  # the leading 17 bits of 1.0 in float64: sign, exponent and 6 of the mantissa


class Voxels(NamedTuple):
    """What is known of a run of voxels while its channels pass by, each ``(N,)``.

    ``label`` is int16 (K for none), ``group`` uint8 (stratum, or LEFT_OUT). Of the channels so far: ``top`` the highest
    probability and ``argmax`` its channel, ``of_label`` the probability of the label, ``total`` their sum, ``residual`` the
    summed squared distance to the one-hot label, ``between`` whether one was neither 0 nor 1.
    """

    label: NDArray[np.int16]
    group: NDArray[np.uint8]
    top: NDArray[Any]
    argmax: NDArray[np.int16]
    of_label: NDArray[Any]
    total: NDArray[Any]
    residual: NDArray[Any]
    between: NDArray[np.uint8]


@compiled
def new_voxels(label: NDArray[np.int16], group: NDArray[np.uint8], like: NDArray[Any]) -> Voxels:
    """Return room for voxels of which no channel has been seen, for probabilities of the dtype of ``like``."""
    size = label.size
    return Voxels(
        label,
        group,
        np.empty(size, like.dtype),
        np.empty(size, np.int16),
        np.empty(size, like.dtype),
        np.empty(size, like.dtype),
        np.empty(size, like.dtype),
        np.empty(size, np.uint8),
    )


@compiled
def see_channel(values: NDArray[Any], channel: int, voxels: Voxels, start: int, highest: float) -> int:
    """Take in a run of one channel and return how many of its values are no probability (NaN, < 0, > ``highest``)."""
    if channel == 0:
        _see_first(values, voxels, start)
    else:
        _see_another(values, channel, voxels, start)
    unusable = 0
    for i in range(values.size):
        unusable += not (values[i] >= 0 and values[i] <= highest)
    return unusable


@compiled
def _see_first(values: NDArray[Any], voxels: Voxels, start: int) -> None:
    label, top, argmax = voxels.label, voxels.top, voxels.argmax
    of_label, total, residual, between = voxels.of_label, voxels.total, voxels.residual, voxels.between
    for i in range(values.size):
        value, at = values[i], start + i
        hit = label[at] == 0
        distance = value - hit
        residual[at] = distance * distance
        total[at] = value
        of_label[at] = value if hit else 0
        top[at] = value
        argmax[at] = 0
        between[at] = (value != 0) & (value != 1)


@compiled
def _see_another(values: NDArray[Any], channel: int, voxels: Voxels, start: int) -> None:
    label, top, argmax = voxels.label, voxels.top, voxels.argmax
    of_label, total, residual, between = voxels.of_label, voxels.total, voxels.residual, voxels.between
    for i in range(values.size):
        value, at = values[i], start + i
        hit = label[at] == channel
        distance = value - hit
        residual[at] += distance * distance
        total[at] += value
        of_label[at] = value if hit else of_label[at]
        better = value > top[at]
        top[at] = value if better else top[at]
        argmax[at] = channel if better else argmax[at]
        between[at] |= (value != 0) & (value != 1)


@compiled
def class_cell(value: Any, n_bins: int) -> Any:
    """Return 0 up to THRESHOLD, else 1 + the equal-width bin (j / n, (j + 1) / n].

    The product is taken in float64, where it is exact for a float32 probability, so none changes its bin by rounding.
    """
    cell = min(np.int32(np.ceil(value * n_bins)), np.int32(n_bins))
    return cell if value > THRESHOLD else np.int32(0)


@compiled
def bin_channel(values: NDArray[Any], channel: int, group: NDArray[np.uint8], n_bins: int, sums: Sums) -> None:
    """Add a run of one channel to the class bins; ``group`` is that of the same voxels."""
    count, probability = sums.class_count[channel], sums.class_probability[channel]
    cells = np.empty(RUN, np.int32)
    for begin in range(0, values.size, RUN):
        run, run_group = values[begin : begin + RUN], group[begin : begin + RUN]
        _find_class_cells(run, run_group, n_bins, cells)
        if channel > 0:
            add_spread(run, run_group, sums.of_masks[channel])
        whole = run.size - run.size % LANES
        for i in range(0, whole, LANES):
            for lane in range(LANES):
                cell = cells[i + lane]
                count[lane, cell] += 1
                probability[lane, cell] += run[i + lane]
        for i in range(whole, run.size):
            count[0, cells[i]] += 1
            probability[0, cells[i]] += run[i]


@compiled
def _find_class_cells(run: NDArray[Any], group: NDArray[np.uint8], n_bins: int, cells: NDArray[np.int32]) -> None:
    for i in range(run.size):
        cells[i] = np.int32(group[i]) * np.int32(n_bins + 1) + class_cell(np.float64(run[i]), n_bins)


@compiled
def bin_voxels(voxels: Voxels, n_bins: int, sums: Sums, tolerance: float) -> int:
    """Add voxels all of whose channels have been seen, and return how many do not sum to 1 within the tolerance."""
    astray = 0
    for begin in range(0, voxels.label.size, RUN):
        end = min(begin + RUN, voxels.label.size)
        label, group, argmax = voxels.label[begin:end], voxels.group[begin:end], voxels.argmax[begin:end]
        top, of_label = voxels.top[begin:end], voxels.of_label[begin:end]
        right = label == argmax
        _bin_top(top, group, right, n_bins, sums)
        _bin_grid(top, group, right, sums)
        _bin_label(label, argmax, of_label, group, n_bins, sums)
        _add_likelihood(of_label, group, sums)
        add_masks(top, argmax, group, 1, sums.of_masks[1:])
        _add_per_group(voxels.residual[begin:end], voxels.between[begin:end], group, sums)
        total = voxels.total[begin:end]
        for i in range(total.size):
            astray += not (abs(total[i] - 1) <= tolerance)
    return astray


@compiled
def _bin_top(top: NDArray[Any], group: NDArray[Any], right: NDArray[Any], n_bins: int, sums: Sums) -> None:
    cells = np.empty(top.size, np.int32)
    for i in range(top.size):
        bin_number = min(max(np.int32(np.ceil(np.float64(top[i]) * n_bins)), np.int32(1)), np.int32(n_bins))
        cells[i] = np.int32(group[i]) * np.int32(n_bins) + bin_number - np.int32(1)
    _add_top(cells, top, right, sums.top_count, sums.top_confidence, sums.top_correct)


@compiled
def _bin_grid(top: NDArray[Any], group: NDArray[Any], right: NDArray[Any], sums: Sums) -> None:
    doubt = np.empty(top.size, np.float64)
    for i in range(top.size):
        doubt[i] = max(1 - np.float64(top[i]), 0.0)
    bits = doubt.view(np.int64)
    cells = np.empty(top.size, np.int32)
    for i in range(top.size):
        cell = min(max(np.int32(_GRID_ORIGIN - (bits[i] >> 46)), np.int32(0)), np.int32(GRID_CELLS - 1))
        cells[i] = np.int32(group[i]) * np.int32(GRID_CELLS) + cell
    _add_top(cells, top, right, sums.grid_count, sums.grid_confidence, sums.grid_correct)


@compiled
def _add_top(
    cells: NDArray[Any], top: NDArray[Any], right: NDArray[Any], count: Any, confidence: Any, correct: Any
) -> None:
    whole = cells.size - cells.size % LANES
    for i in range(0, whole, LANES):
        for lane in range(LANES):
            cell = cells[i + lane]
            count[lane, cell] += 1
            confidence[lane, cell] += top[i + lane]
            correct[lane, cell] += right[i + lane]
    for i in range(whole, cells.size):
        count[0, cells[i]] += 1
        confidence[0, cells[i]] += top[i]
        correct[0, cells[i]] += right[i]


@compiled
def _bin_label(
    label: NDArray[Any], argmax: NDArray[Any], of_label: NDArray[Any], group: NDArray[Any], n_bins: int, sums: Sums
) -> None:
    cells = np.empty(label.size, np.int32)
    for i in range(label.size):
        cells[i] = np.int32(group[i]) * np.int32(n_bins + 1) + class_cell(np.float64(of_label[i]), n_bins)
    for i in range(label.size):
        sums.class_positive[label[i], cells[i]] += 1
        sums.confusion[label[i], argmax[i]] += 1


@compiled
def _add_likelihood(of_label: NDArray[Any], group: NDArray[Any], sums: Sums) -> None:
    """Add the logarithms of products: as exact as single ones (a product errs by 1e-16 a factor), at a tenth of the time."""
    product = np.ones((LANES, GROUPS))
    for i in range(of_label.size):
        lane, stratum = i % LANES, group[i]
        value = np.float64(of_label[i])
        sums.floored[lane, stratum] += value < NLL_FLOOR
        multiplied = product[lane, stratum] * max(value, NLL_FLOOR)
        if multiplied < 1e-290:  # one more factor of at least 1e-12 stays above float64's smallest normal number
            sums.nll[lane, stratum] -= np.log(multiplied)
            multiplied = 1.0
        product[lane, stratum] = multiplied
    for lane in range(LANES):
        for stratum in range(GROUPS):
            sums.nll[lane, stratum] -= np.log(product[lane, stratum])


@compiled
def _add_per_group(residual: NDArray[Any], between: NDArray[Any], group: NDArray[Any], sums: Sums) -> None:
    for i in range(residual.size):
        lane, stratum = i % LANES, group[i]
        sums.brier[lane, stratum] += residual[i]
        sums.certain[lane, stratum] += 1 - between[i]


@compiled
def mark_predicted(voxels: Voxels) -> None:
    """Put into the groups whether the prediction is foreground, now that all channels have been seen."""
    for i in range(voxels.group.size):
        foreground = voxels.argmax[i] > 0 and voxels.group[i] < N_STRATA
        voxels.group[i] |= PREDICTED_FOREGROUND if foreground else 0


@compiled
def add_array(
    probabilities: NDArray[Any],
    start: int,
    label: NDArray[np.int16],
    group: NDArray[np.uint8],
    n_bins: int,
    sums: Sums,
    tolerance: float,
    prediction: NDArray[np.int16],
) -> int:
    """Add voxels whose probabilities are all in memory; return how many values or sums are unusable.

    Nothing more is added after a run with unusable values: they have no bin.

    Args:
        probabilities: ``(K, M)``, C-contiguous: of a part of it, numba would not know that voxels are side by side, and make no vector instructions.
        start: the first of N voxels in it.
        label, group: ``(N,)``.
        n_bins, sums, tolerance: as in :func:`bin_voxels`.
        prediction: ``(N,)``, the predicted classes are written into it.
    """
    faults = 0
    for begin in range(0, label.size, RUN):
        end = min(begin + RUN, label.size)
        voxels = new_voxels(label[begin:end], group[begin:end].copy(), probabilities)
        for channel in range(probabilities.shape[0]):
            faults += see_channel(
                probabilities[channel, start + begin : start + end], channel, voxels, 0, 1 + tolerance
            )
        if faults:
            return faults
        mark_predicted(voxels)
        for channel in range(probabilities.shape[0]):
            bin_channel(probabilities[channel, start + begin : start + end], channel, voxels.group, n_bins, sums)
        faults += bin_voxels(voxels, n_bins, sums, tolerance)
        prediction[begin:end] = voxels.argmax
    return faults
