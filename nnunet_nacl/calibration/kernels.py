"""The compiled inner loops: sums over voxels, for each stratum, bin and class.

All work on flat runs of voxels. Loops that only compute are kept apart from loops that add into bins: the former become
vector instructions. Neighbouring voxels mostly fall into the same bin, and an addition has to wait for the one before it
into the same place, so the sums exist :data:`LANES` times and voxel i adds to copy ``i % LANES``.

The constants stand here, since numba compiles again where this file has changed, not where one has that it imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from nnunet_nacl.calibration.compiled import compiled, compiled_in_any_order
from nnunet_nacl.calibration.voxel_sets import N_STRATA, PREDICTED_FOREGROUND

if TYPE_CHECKING:
    from nnunet_nacl.calibration.sums import Sums

LANES = 4
GROUPS = N_STRATA + 1  # the strata, and the voxels that are left out
SLAB = 1 << 18  # voxels for a thread at a time; the same for any number of threads, and so is the order of additions
RUN = 4096  # voxels at a time, so that what is known of them stays in the nearest cache

THRESHOLD = 1e-3
"""Probabilities up to this have a bin of their own within the first one: the thresholded scores leave them out."""

NLL_FLOOR = 1e-12
"""A label's probability below this enters the negative log likelihood as this (27.6 nats), and is counted."""

GRID_CELLS = 1538
"""Cells of the confidence grid: 64 for each halving of 1 - confidence down to float32's last, 2**-24; and 0 and 1 alone."""

_GRID_ORIGIN = 1023 * 64  # the leading 17 bits of 1.0 in float64: sign, exponent and 6 of the mantissa

_ROOT_OF_HALF = np.int32(0x3F3504F3)  # the bits of a float32
_LN2 = float(np.log(2))
_, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8, _L9 = (
    float(term)
    for term in Chebyshev.interpolate(np.log1p, 9, (np.sqrt(0.5) - 1, np.sqrt(2) - 1)).convert(kind=Polynomial).coef
)
"""Of ln (1 + x) between these ends, without the constant term of 2e-9, so that ln 1 is 0."""


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
        spread = _find_class_cells(run, run_group, n_bins, cells)
        sums.spread[channel] += spread if channel > 0 else 0.0
        whole = run.size - run.size % LANES
        for i in range(0, whole, LANES):
            for lane in range(LANES):
                cell = cells[i + lane]
                count[lane, cell] += 1
                probability[lane, cell] += run[i + lane]
        for i in range(whole, run.size):
            count[0, cells[i]] += 1
            probability[0, cells[i]] += run[i]


@compiled_in_any_order
def _find_class_cells(run: NDArray[Any], group: NDArray[np.uint8], n_bins: int, cells: NDArray[np.int32]) -> float:
    """Write the cell of each voxel, and return the sum of p (1 - p) without the voxels that are left out."""
    total = 0.0
    for i in range(run.size):
        value = np.float64(run[i])
        cells[i] = np.int32(group[i]) * np.int32(n_bins + 1) + class_cell(value, n_bins)
        counted = value if group[i] < N_STRATA else 0.0
        total += counted * max(1 - counted, 0.0)
    return total


@compiled
def entropies(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -p ln p - (1 - p) ln (1 - p) of each probability in nats, within 1e-7; 0 at both ends, and beyond by rounding."""
    size = probability.size
    event, other = np.empty(size, np.float32), np.empty(size, np.float32)
    for i in range(size):
        event[i] = min(probability[i], 1.0)
        other[i] = max(1 - probability[i], 0.0)
    of_event, of_other = _logarithms(event), _logarithms(other)
    for i in range(size):
        of_event[i] = -event[i] * of_event[i] - other[i] * of_other[i]
    return of_event


@compiled
def _logarithms(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return natural logarithms within 1e-8, of 0 some finite number: vector instructions, where the library's take one at a time.

    A float32 is 2**e m with m between the square roots of 1/2 and 2, taken from its bits; ln m is a polynomial.
    """
    bits, found = values.view(np.int32), np.empty(values.size)
    exponents, reduced = np.empty(values.size, np.int32), np.empty(values.size, np.int32)
    for i in range(values.size):
        exponents[i] = (bits[i] - _ROOT_OF_HALF) >> np.int32(23)
        reduced[i] = bits[i] - (exponents[i] << np.int32(23))
    mantissas = reduced.view(np.float32)
    for i in range(values.size):
        x = np.float64(mantissas[i]) - 1
        total = _L9
        for term in (_L8, _L7, _L6, _L5, _L4, _L3, _L2, _L1):
            total = total * x + term
        found[i] = exponents[i] * _LN2 + total * x
    return found


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
        _add_per_group(voxels.residual[begin:end], voxels.between[begin:end], group, sums)
        _add_masks(argmax, top, group, sums)
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
def _add_masks(argmax: NDArray[Any], top: NDArray[Any], group: NDArray[Any], sums: Sums) -> None:
    """Add what the probabilities say of the mask of each foreground class; few voxels are in one."""
    found, n_found = np.empty(argmax.size, np.int32), 0
    for i in range(argmax.size):
        found[n_found] = i
        n_found += (argmax[i] > 0) & (group[i] < N_STRATA)
    if n_found == 0:
        return
    probability, label = np.empty(n_found), np.empty(n_found, np.int16)
    for i in range(n_found):
        probability[i], label[i] = top[found[i]], argmax[found[i]]
    entropy = entropies(probability)
    # neighbouring voxels mostly have the same class, whose sums wait until another one comes
    current, summed, disorder = label[0], 0.0, 0.0
    for i in range(n_found):
        if label[i] != current:
            sums.mask_sums[current, 0] += summed
            sums.mask_sums[current, 1] += disorder
            current, summed, disorder = label[i], 0.0, 0.0
        summed += probability[i]
        disorder += entropy[i]
    sums.mask_sums[current, 0] += summed
    sums.mask_sums[current, 1] += disorder


@compiled
def mark_predicted(voxels: Voxels) -> None:
    """Put into the groups whether the prediction is foreground, now that all channels have been seen."""
    for i in range(voxels.group.size):
        foreground = voxels.argmax[i] > 0 and voxels.group[i] < N_STRATA
        voxels.group[i] |= PREDICTED_FOREGROUND if foreground else 0


@compiled
def add_array(
    probabilities: NDArray[Any],
    label: NDArray[np.int16],
    group: NDArray[np.uint8],
    n_bins: int,
    sums: Sums,
    tolerance: float,
    prediction: NDArray[np.int16],
) -> int:
    """Add voxels whose probabilities ``(K, N)`` are all in memory; return how many values or sums are unusable.

    The predicted classes are written into ``prediction`` ``(N,)``. Nothing more is added after a run with unusable values: they have no bin.
    """
    faults = 0
    for begin in range(0, label.size, RUN):
        end = min(begin + RUN, label.size)
        voxels = new_voxels(label[begin:end], group[begin:end].copy(), probabilities)
        for channel in range(probabilities.shape[0]):
            faults += see_channel(probabilities[channel, begin:end], channel, voxels, 0, 1 + tolerance)
        if faults:
            return faults
        mark_predicted(voxels)
        for channel in range(probabilities.shape[0]):
            bin_channel(probabilities[channel, begin:end], channel, voxels.group, n_bins, sums)
        faults += bin_voxels(voxels, n_bins, sums, tolerance)
        prediction[begin:end] = voxels.argmax
    return faults
