"""What every loss does with its input first: check shapes, turn the target into a label map, find the ignored voxels."""

from __future__ import annotations

import torch
from torch import Tensor


def label_map(logits: Tensor, target: Tensor) -> Tensor:
    """Return the target as an int64 label map with a channel axis.

    Args:
        logits: ``(B, K, *spatial)`` with one, two or three spatial axes, floating point.
        target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float dtype that holds whole numbers.

    Returns:
        ``(B, 1, *spatial)``, int64, on the device of ``target``.

    Raises:
        TypeError: ``logits`` are not floating point.
        ValueError: the shapes do not belong together.
    """
    if not logits.is_floating_point():
        raise TypeError(f"Expected argument `logits` to be floating point, but got dtype {logits.dtype}.")
    if logits.ndim not in (3, 4, 5):
        raise ValueError(
            "Expected argument `logits` to have shape (B, K, *spatial) with one to three spatial axes, "
            f"but got {tuple(logits.shape)}."
        )
    batch, spatial = logits.shape[0], tuple(logits.shape[2:])
    if tuple(target.shape) == (batch, *spatial):
        target = target.unsqueeze(1)
    elif tuple(target.shape) != (batch, 1, *spatial):
        raise ValueError(
            f"Expected argument `target` to have shape {(batch, 1, *spatial)} or {(batch, *spatial)} for logits of "
            f"shape {tuple(logits.shape)}, but got {tuple(target.shape)}."
        )
    return target.long()


def valid_mask(labels: Tensor, ignore_label: int | None) -> Tensor | None:
    """Return True where a voxel counts, or None where all of them do (saves work in the common case)."""
    return None if ignore_label is None else labels != ignore_label


def one_hot(labels: Tensor, num_classes: int, valid: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return the one-hot encoding of a label map, all zero at ignored voxels.

    Args:
        labels: ``(B, 1, *spatial)``, int64.
        num_classes: number of classes K.
        valid: ``(B, 1, *spatial)`` boolean, or None for all True.
        dtype: floating dtype of the result.

    Returns:
        ``(B, K, *spatial)``.

    Raises:
        ValueError: a label outside ``0 .. K-1`` that is not the ignore label (on CPU; CUDA raises a device-side
            assertion instead, since looking at the values there would make every training step wait for the GPU).
    """
    index = labels if valid is None else labels.masked_fill(~valid, 0)
    if index.device.type == "cpu" and not torch.compiler.is_compiling() and index.numel():
        lowest, highest = (int(extreme) for extreme in torch.aminmax(index))
        if lowest < 0 or highest >= num_classes:
            raise ValueError(
                f"Expected argument `target` to hold labels 0 to {num_classes - 1} (the logits have {num_classes} "
                f"classes), but got labels from {lowest} to {highest}. If one of them marks voxels without an "
                "annotation, pass it as `ignore_label`."
            )
    encoded = torch.zeros((labels.shape[0], num_classes, *labels.shape[2:]), dtype=dtype, device=labels.device)
    if valid is None:
        return encoded.scatter_(1, index, 1.0)
    return encoded.scatter_(1, index, valid.to(dtype))


def compute_dtype(logits: Tensor) -> torch.dtype:
    """Return the dtype to compute in: float64 stays, everything else is float32, so that float16 cannot overflow."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def mean_over_valid(per_voxel: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean of ``(B, 1, *spatial)`` over the voxels that count; 0 with a zero gradient where none does."""
    if valid is None:
        return per_voxel.mean()
    return (per_voxel * valid).sum() / valid.sum().clamp(min=1)
