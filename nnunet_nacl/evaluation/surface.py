"""HD95: how far apart the surfaces of two masks are, in mm, but for the worst twentieth of each surface.

Definition, as in Metrics Reloaded (Maier-Hein et al., Nature Methods 2024, and its code) and MONAI: the surface of a mask is
its voxels with a face neighbour outside it, the outside of the volume included; the distance of a surface voxel is the one
between its centre and the nearest centre of the other surface; HD95 is the larger of the two directed 95th percentiles
(linear interpolation). MedPy's ``hd95`` is another number: the percentile of both directions' distances pooled.

At the edges:

==============================  =======================================================================================
both masks are empty            NaN, as nnU-Net's Dice
one of the masks is empty       the diagonal of the volume in mm (extent times spacing), the worst value there is: nnU-Net's
                                Dice is 0 there, and BraTS counts 373.13 mm, which is this diagonal for 240 x 240 x 155. With
                                NaN a network that finds nothing would have the best mean.
an axis has one voxel           it is left out: a slice has a contour, not two faces
ignored voxels                  belong to neither mask
==============================  =======================================================================================

The nearest voxels come from a k-d tree over the surface voxels. The libraries take a distance transform of the box around
both masks, which grows to the whole volume with one stray voxel, as ``docs/results/hd95.md`` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import KDTree

PERCENTILE = 95

BoolArray = NDArray[np.bool_]
Box = tuple[slice, ...]


def hd95(reference: BoolArray, prediction: BoolArray, spacing: Sequence[float]) -> float:
    """Return the HD95 of two masks in mm.

    Args:
        reference: bool, ``(z, y, x)`` or ``(y, x)``.
        prediction: bool, same shape.
        spacing: mm per voxel along each axis, in the order of the axes.

    Raises:
        ValueError: shapes, dtypes or spacing do not fit together.

    >>> reference, prediction = np.zeros((2, 1, 20, 30), dtype=bool)
    >>> reference[0, 4:9, 5:15] = prediction[0, 4:9, 5:17] = True
    >>> hd95(reference, prediction, (999.0, 0.5, 0.75))
    1.5
    """
    for name, mask in (("reference", reference), ("prediction", prediction)):
        if mask.dtype != np.bool_:
            raise ValueError(f"Expected argument `{name}` to be of dtype bool, but got {mask.dtype}.")
    _check(reference, prediction, spacing)
    box = _union(_box(reference), _box(prediction))
    if box is None:
        return float("nan")
    return _hd95(reference[box], prediction[box], spacing, reference.shape)


def hd95_per_class(
    labels: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    classes: Sequence[int],
    spacing: Sequence[float],
    ignore_label: int | None = None,
) -> NDArray[np.float64]:
    """Return the HD95 of each class in mm, each computed within the box around it.

    Args:
        labels: label map of integers, ``(z, y, x)`` or ``(y, x)``.
        prediction: predicted classes, same shape.
        classes: label values from 1; the background has no surface of its own.
        spacing: mm per voxel along each axis, in the order of the axes.
        ignore_label: value of voxels in ``labels`` that belong to no mask.

    Returns:
        Array ``(len(classes),)``, float64.

    Raises:
        ValueError: shapes, dtypes, spacing or classes do not fit together.
    """
    for name, values in (("labels", labels), ("prediction", prediction)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"Expected argument `{name}` to be of an integer dtype, but got {values.dtype}.")
    _check(labels, prediction, spacing)
    if any(value < 1 for value in classes):
        raise ValueError(f"Expected argument `classes` to be label values from 1, but got {list(classes)}.")
    if ignore_label is not None:
        prediction = np.where(labels == ignore_label, 0, prediction)
    largest = max(classes, default=0)
    boxes = [find_objects(values, largest) for values in (labels, prediction)]
    result = np.full(len(classes), np.nan)
    for index, value in enumerate(classes):
        box = _union(*(found[value - 1] for found in boxes))
        if box is not None:
            result[index] = _hd95(labels[box] == value, prediction[box] == value, spacing, labels.shape)
    return result


def flat_classes(
    labels: NDArray[np.integer[Any]], prediction: NDArray[np.integer[Any]], classes: Sequence[int]
) -> list[int]:
    """Return the classes that lie in one or two slices of a stack, in labels and prediction, and are wider in plane than a line.

    Each of their voxels is surface, also in the middle, so that a shift in plane hardly changes the distances.

    Args:
        labels: label map of integers, ``(z, y, x)``; ignored voxels do not matter.
        prediction: predicted classes, same shape.
        classes: label values from 1.
    """
    if min(labels.shape, default=0) < 2:
        return []
    largest = max(classes, default=0)
    boxes = [find_objects(values, largest) for values in (labels, prediction)]
    return [
        value
        for value in classes
        if any(
            all(
                _is_flat(values, found[value - 1], value, axis)
                for values, found in zip((labels, prediction), boxes, strict=True)
            )
            for axis in range(labels.ndim)
        )
    ]


def _is_flat(values: NDArray[Any], box: Box | None, value: int, axis: int) -> bool:
    if box is None or box[axis].stop - box[axis].start > 2:
        return False
    return bool(binary_erosion((values[box] == value).any(axis)).any())


def _check(first: NDArray[Any], second: NDArray[Any], spacing: Sequence[float]) -> None:
    if first.shape != second.shape:
        raise ValueError(f"Expected arguments of the same shape, but got {first.shape} and {second.shape}.")
    if len(spacing) != first.ndim or not all(0 < extent < np.inf for extent in spacing):
        raise ValueError(
            f"Expected argument `spacing` to be {first.ndim} positive numbers, one per axis, but got {tuple(spacing)}."
        )


def _box(mask: BoolArray) -> Box | None:
    # a view: find_objects wants integers, and a mask may be as large as a CT
    found: Box | None = next(iter(find_objects(mask.view(np.uint8), 1)))
    return found


def _union(first: Box | None, second: Box | None) -> Box | None:
    if first is None or second is None:
        return first or second
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _hd95(reference: BoolArray, prediction: BoolArray, spacing: Sequence[float], volume: tuple[int, ...]) -> float:
    """Return the HD95 of two masks, cropped to the box around both, in a volume of this many voxels per axis."""
    kept = [axis for axis, side in enumerate(volume) if side > 1]
    sizes = np.array([spacing[axis] for axis in kept], dtype=np.float64)
    if not (reference.any() and prediction.any()):
        return float(np.linalg.norm(sizes * [volume[axis] for axis in kept]))
    shape = [reference.shape[axis] for axis in kept]
    first, second = (_surface(mask.reshape(shape)) for mask in (reference, prediction))
    return max(_directed(first, second, sizes), _directed(second, first, sizes))


def _surface(mask: BoolArray) -> BoolArray:
    # beyond the crop as beyond the volume there is no voxel of the mask, and binary_erosion takes it that way
    surface: BoolArray = mask & ~binary_erosion(mask) if mask.ndim else mask
    return surface


def _directed(start: BoolArray, target: BoolArray, sizes: NDArray[np.float64]) -> float:
    """Return the percentile of the distances from one surface's voxels to the nearest voxel of the other."""
    away = np.argwhere(start & ~target) * sizes
    distances = np.zeros(np.count_nonzero(start))  # voxels on both surfaces have distance 0
    if len(away):
        # voxels lie on a grid, where balancing the tree takes longer than it saves
        tree = KDTree(np.argwhere(target) * sizes, balanced_tree=False, compact_nodes=False)
        distances[: len(away)] = tree.query(away)[0]
    return float(np.percentile(distances, PERCENTILE))
