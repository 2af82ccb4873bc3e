"""What is wrong with probabilities or labels, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import FloatArray

SUM_TOLERANCE = 1e-2
"""How far the probabilities of a voxel may sum away from 1: float16 files with many classes reach a few thousandths."""

MOST_CLASSES = 2**15 - 1
"""A label map in memory is int16, whose last value is for voxels without label."""

MOST_BINS = 999
"""The first bin has to reach up to the threshold of the thresholded scores, 1e-3."""


def check_size(num_classes: int, n_bins: int) -> None:
    """Raise ValueError unless there are 2 to 32767 classes and 1 to 999 bins."""
    if not 2 <= num_classes <= MOST_CLASSES:
        raise ValueError(f"Expected argument `num_classes` to be 2 to {MOST_CLASSES}, but got {num_classes}.")
    if not 1 <= n_bins <= MOST_BINS:
        raise ValueError(f"Expected argument `n_bins` to be 1 to {MOST_BINS}, but got {n_bins}.")


def as_probabilities(probabilities: Any, num_classes: int) -> FloatArray:
    """Return a numpy array of a numpy array or torch tensor (on any device), float16 widened to float32.

    Raises:
        ValueError: not of shape ``(num_classes, *spatial)`` or not floating point.
    """
    if hasattr(probabilities, "detach"):  # a torch tensor; this package does not import torch
        probabilities = probabilities.detach().cpu()
        if probabilities.is_floating_point() and probabilities.element_size() < 4:  # numpy knows no bfloat16
            probabilities = probabilities.float()
    array = np.asarray(probabilities)
    if array.ndim < 2 or array.shape[0] != num_classes:
        raise ValueError(f"Expected probabilities of shape ({num_classes}, *spatial), but got {array.shape}.")
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"Expected floating point probabilities, but got dtype {array.dtype}.")
    if array.dtype.itemsize < 4:
        return array.astype(np.float32)
    return array.astype(np.float64 if array.dtype.itemsize > 4 else np.float32, copy=False)  # also other byte orders


def as_labels(
    labels: Any, spatial_shape: tuple[int, ...], num_classes: int, ignore_label: int | None
) -> NDArray[np.int16]:
    """Return a new int16 array of whole-number labels, K where the label is the ignore label.

    Raises:
        ValueError: another shape than ``spatial_shape``, or a value that is no class and not the ignore label.
    """
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu()
    array = np.asarray(labels)
    if array.shape != spatial_shape:
        raise ValueError(f"Expected labels of shape {spatial_shape}, as the probabilities have, but got {array.shape}.")
    if ignore_label is None and np.issubdtype(array.dtype, np.integer) and array.size:
        lowest, highest = array.min(), array.max()
        if lowest >= 0 and highest < num_classes:  # the usual case takes two passes instead of seven
            return array.astype(np.int16)
    ignored = np.zeros(array.shape, bool) if ignore_label is None else array == ignore_label
    usable = ignored | ((array >= 0) & (array < num_classes))
    if not usable.all():
        allowed = "no ignore label" if ignore_label is None else f"ignore label {ignore_label}"
        unknown = ", ".join(f"{value:g}" for value in np.unique(array[~usable])[:5])
        raise ValueError(f"Expected labels 0 to {num_classes - 1} ({allowed}), but got [{unknown}].")
    whole = array.astype(np.int16)
    if not (ignored | (whole == array)).all():
        raise ValueError(f"Expected labels that are whole numbers, but got {array.dtype} values with fractions.")
    whole[ignored] = num_classes
    return whole


def describe_values(values: FloatArray) -> str | None:
    """Return what keeps values from being probabilities, or None."""
    missing = int(np.isnan(values).sum())
    if missing:
        return f"Expected finite probabilities, but got NaN in {missing} places."
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 or highest > 1 + SUM_TOLERANCE:
        return f"Expected probabilities from 0 to 1, but got {lowest:g} to {highest:g}. Are these logits?"
    return None


def describe_sums(total: FloatArray) -> str:
    """Return a message about sums over the classes that are too far from 1."""
    return (
        f"Expected the probabilities of each voxel to sum to 1 (within {SUM_TOLERANCE}), but got sums from "
        f"{total.min():g} to {total.max():g}."
    )
