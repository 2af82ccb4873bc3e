"""What every loss does with its input first: check shapes, take the target apart, find the ignored voxels.

Two kinds of targets reach the losses. A *label map* ``(B, 1, *spatial)`` goes with a softmax over K classes, and an ignore
label may mark voxels without annotation. *Region masks* ``(B, R, *spatial)`` go with one sigmoid per region, and a further
last channel may mark the voxels to ignore (nnU-Net's region-based training). Several raters are several label maps in the
channels of one target, ``(B, M, *spatial)``; a loss takes them only where it was told how many there are.
"""

from __future__ import annotations

import torch
from torch import Tensor


def label_map(logits: Tensor, target: Tensor, raters: int = 1) -> Tensor:
    """Return the target as an int64 label map with a channel axis.

    Args:
        logits: ``(B, K, *spatial)`` with one, two or three spatial axes, floating point.
        target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float dtype that holds whole numbers. Of several
            raters ``(B, raters, *spatial)``, nothing else.
        raters: number of label maps in the target.

    Returns:
        ``(B, raters, *spatial)``, int64, on the device of ``target``.

    Raises:
        TypeError: ``logits`` are not floating point.
        ValueError: the shapes do not belong together.
    """
    _check_logits(logits)
    batch, spatial = logits.shape[0], tuple(logits.shape[2:])
    if raters == 1 and tuple(target.shape) == (batch, *spatial):
        target = target.unsqueeze(1)
    if tuple(target.shape) != (batch, raters, *spatial):
        allowed = f"{(batch, raters, *spatial)}" + (f" or {(batch, *spatial)}" if raters == 1 else "")
        raise ValueError(
            f"Expected argument `target` to have shape {allowed} for {raters} label map(s) and logits of shape "
            f"{tuple(logits.shape)}, but got {tuple(target.shape)}."
        )
    return target.long()


def region_masks(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the region masks and where a voxel counts.

    Args:
        logits: ``(B, R, *spatial)``, one channel per region.
        target: ``(B, R, *spatial)`` of 0 and 1 (any dtype), or ``(B, R + 1, *spatial)`` whose last channel is 1 at voxels
            to ignore.

    Returns:
        masks: ``(B, R, *spatial)``, boolean, False at ignored voxels.
        valid: ``(B, 1, *spatial)``, boolean, or None where every voxel counts.

    Raises:
        TypeError: ``logits`` are not floating point.
        ValueError: the shapes do not belong together.
    """
    _check_logits(logits)
    batch, regions, *spatial = logits.shape
    if tuple(target.shape) not in ((batch, regions, *spatial), (batch, regions + 1, *spatial)):
        raise ValueError(
            f"Expected argument `target` to have shape {(batch, regions, *spatial)} for logits of that shape, or one "
            f"more channel that marks ignored voxels, but got {tuple(target.shape)}."
        )
    masks = target[:, :regions] > 0.5
    if target.shape[1] == regions:
        return masks, None
    valid = target[:, regions:] < 0.5
    return masks & valid, valid


def valid_mask(labels: Tensor, ignore_label: int | None) -> Tensor | None:
    """Return True where a voxel counts, or None where all of them do (saves work in the common case)."""
    return None if ignore_label is None else labels != ignore_label


def members_and_valid(
    logits: Tensor, target: Tensor, ignore_label: int | None, regions: bool, raters: int = 1
) -> tuple[Tensor, Tensor | None]:
    """Return what each voxel belongs to and where it counts: :func:`region_masks` or :func:`classes_and_valid`."""
    if regions:
        return region_masks(logits, target)
    return classes_and_valid(logits, target, ignore_label, raters)


def classes_and_valid(
    logits: Tensor, target: Tensor, ignore_label: int | None, raters: int = 1
) -> tuple[Tensor, Tensor | None]:
    """Return the class map and where a voxel counts; see :func:`label_map`, :func:`class_map` and :func:`valid_mask`.

    Both have one channel per rater.
    """
    labels = label_map(logits, target, raters)
    valid = valid_mask(labels, ignore_label)
    return class_map(labels, logits.shape[1], valid), valid


def class_map(labels: Tensor, num_classes: int, valid: Tensor | None) -> Tensor:
    """Return the label map in the smallest integer dtype, with ``num_classes`` at ignored voxels.

    Args:
        labels: ``(B, 1, *spatial)``, or one channel per rater, int64.
        num_classes: number of classes K.
        valid: boolean, of the same shape, or None for all True.

    Raises:
        ValueError: a label outside ``0 .. K-1`` that is not the ignore label. Only where :func:`are_looked_at`; elsewhere it becomes -1 or K, or
            255 for -1, never a class.
    """
    classes = labels if valid is None else labels.masked_fill(~valid, num_classes)
    if are_looked_at(labels):
        counted = labels if valid is None else labels.masked_fill(~valid, 0)
        lowest, highest = (int(extreme) for extreme in torch.aminmax(counted))
        if lowest < 0 or highest >= num_classes:
            raise ValueError(
                f"Expected argument `target` to hold labels 0 to {num_classes - 1} (the logits have {num_classes} "
                f"classes), but got labels from {lowest} to {highest}. If one of them marks voxels without an "
                "annotation, pass it as `ignore_label`."
            )
    else:
        # in a byte 256 would be the background
        classes = classes.clamp(-1, num_classes)
    return classes.to(torch.uint8 if num_classes < 256 else torch.int32)


def are_looked_at(labels: Tensor) -> bool:
    """Return whether the values of labels are checked: a GPU would hold up every training step for it, and a compiler does not know them.

    There PyTorch's own assertion fails where such a label is used as an index. A loss that uses none as an index asks :func:`nan_if_no_class`.
    """
    return labels.device.type == "cpu" and not is_compiling()


def nan_if_no_class(classes: Tensor, num_classes: int, valid: Tensor | None) -> Tensor | None:
    """Return 1, or NaN where a voxel that counts has no class; None where the labels were looked at.

    Args:
        classes: of :func:`class_map`.
        num_classes: number of classes K.
        valid: as there.

    Returns:
        Scalar on the device of ``classes``, float32.
    """
    if are_looked_at(classes):
        return None
    none = (classes < 0) | (classes >= num_classes)
    if valid is not None:
        none &= valid
    return torch.ones((), device=classes.device).masked_fill(none.any(), torch.nan)


def counted_logits(logits: Tensor, valid: Tensor | None) -> Tensor:
    """Return the logits in the dtype to compute in, and 0 where a voxel does not count.

    0 times NaN is NaN, in the value as in the gradient, so a mask that is multiplied with afterwards would let a NaN or an
    infinite logit of an ignored voxel through.

    Args:
        logits: ``(B, K, *spatial)``, any floating dtype.
        valid: ``(B, 1, *spatial)``, boolean, or None where every voxel counts.
    """
    counted = logits if valid is None else logits.masked_fill(~valid, 0)
    return counted.to(compute_dtype(logits))


def is_compiling() -> bool:
    """Return whether torch.compile is tracing; PyTorch before 2.3 does not say, and is taken not to be."""
    return hasattr(torch.compiler, "is_compiling") and torch.compiler.is_compiling()


def compute_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype to compute in: float64 stays, everything else is float32, so that float16 cannot overflow."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def sum_dtype(values: Tensor) -> torch.dtype:
    """Return the dtype to add up millions of voxels in: float64, which Apple's GPUs (mps) lack, so float32 there."""
    return torch.float32 if values.device.type == "mps" else torch.float64


def count_valid(labels_or_masks: Tensor, valid: Tensor | None) -> Tensor | int:
    """Return how many voxels count, at least 1, so that a mean over none of them is 0 and has a zero gradient."""
    if valid is None:
        return labels_or_masks[:, :1].numel()
    return valid.sum().clamp(min=1)


def _check_logits(logits: Tensor) -> None:
    if not logits.is_floating_point():
        raise TypeError(f"Expected argument `logits` to be floating point, but got dtype {logits.dtype}.")
    if logits.ndim not in (3, 4, 5):
        raise ValueError(
            "Expected argument `logits` to have shape (B, K, *spatial) with one to three spatial axes, "
            f"but got {tuple(logits.shape)}."
        )
    if not logits.numel():
        raise ValueError(
            f"Expected argument `logits` to hold at least one voxel and one class, but got shape {tuple(logits.shape)}."
        )
