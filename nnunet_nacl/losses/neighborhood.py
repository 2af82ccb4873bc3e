"""Soft class proportions: which share of a voxel's neighbourhood belongs to each class.

NACL pulls the logits towards these proportions and SVLS takes them as the target, so both read the same neighbourhood:
a window around each voxel, replicate-padded at the border of the patch, in which ignored voxels have no weight and the
weights of the others sum to one. Every kernel here is separable or a separable one plus a centre term, so the cost grows
with the sum of the window's sides and not with their product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from nnunet_nacl.losses.targets import one_hot, valid_mask

Kernel = Literal["mean", "gaussian", "svls"]


def soft_class_proportions(
    labels: Tensor,
    num_classes: int,
    kernel_size: int | Sequence[int] = 3,
    kernel: Kernel = "mean",
    sigma: float = 1.0,
    ignore_label: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Return the soft class proportions :math:`\tau_k(v) = \sum_{u \in N(v)} w(v, u) [y_u = k]`.

    Args:
        labels: label map ``(B, 1, *spatial)`` with one to three spatial axes, any integer or float dtype.
        num_classes: number of classes K.
        kernel_size: odd side of the window in voxels, one number for all axes or one per axis.
        kernel: ``"mean"``, a box with equal weights including the centre (the default of NACL, arXiv 2401.14487);
            ``"gaussian"``, weights :math:`\exp(-d^2 / 2 \sigma^2)`; or ``"svls"``, a Gaussian whose centre weight is
            replaced by the sum of the others (arXiv 2104.05788), so that half of the result is the one-hot label.
        sigma: standard deviation of the Gaussian in voxels; unused by ``"mean"``.
        ignore_label: label of voxels without annotation; they have no weight in any window.
        dtype: floating dtype of the result.

    Returns:
        ``(B, K, *spatial)``; sums to 1 over the classes wherever the window holds a voxel that is not ignored, else 0.

    Raises:
        ValueError: unusable shape, kernel, kernel size, sigma or label.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1, 1]).reshape(1, 1, 5)
        >>> soft_class_proportions(labels, num_classes=2)[0, 1]
        tensor([0.0000, 0.3333, 0.6667, 1.0000, 1.0000])
    """
    if labels.ndim not in (3, 4, 5) or labels.shape[1] != 1:
        raise ValueError(
            "Expected argument `labels` to have shape (B, 1, *spatial) with one to three spatial axes, "
            f"but got {tuple(labels.shape)}."
        )
    sides = window_sides(kernel_size, labels.ndim - 2)
    check_kernel(kernel, sides, sigma)
    labels = labels.long()
    return _proportions(labels, num_classes, sides, kernel, sigma, valid_mask(labels, ignore_label), dtype)


def window_sides(kernel_size: int | Sequence[int], spatial_axes: int) -> tuple[int, ...]:
    """Return the odd side of the window for each spatial axis, or raise ValueError saying what is wrong with it."""
    sides = (kernel_size,) * spatial_axes if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(sides) != spatial_axes or any(not isinstance(side, int) or side < 1 or side % 2 == 0 for side in sides):
        raise ValueError(
            f"Expected argument `kernel_size` to be an odd number of voxels, or one for each of the {spatial_axes} "
            f"spatial axes, but got {kernel_size!r}."
        )
    return sides


def check_kernel(kernel: str, sides: Sequence[int], sigma: float) -> None:
    """Raise ValueError where kernel, window and sigma cannot be combined."""
    if kernel not in get_args(Kernel):
        raise ValueError(f"Expected argument `kernel` to be one of {get_args(Kernel)}, but got {kernel!r}.")
    if kernel != "mean" and not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"Expected argument `sigma` to be a positive number of voxels, but got {sigma!r}.")
    if kernel == "svls" and all(side == 1 for side in sides):
        raise ValueError("Expected argument `kernel_size` to be at least 3 for the svls kernel: 1 has no neighbours.")


def _proportions(
    labels: Tensor,
    num_classes: int,
    sides: tuple[int, ...],
    kernel: Kernel,
    sigma: float,
    valid: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    encoded = one_hot(labels, num_classes, valid, dtype)
    smoothed = _filter(encoded, sides, kernel, sigma)
    if valid is None:
        return smoothed
    # The same filter over the mask is the weight that the counted neighbours have; dividing by it makes them sum to 1.
    total = _filter(valid.to(dtype), sides, kernel, sigma)
    return torch.where(total > 0, smoothed / total.clamp(min=torch.finfo(dtype).tiny), 0.0)


def _filter(values: Tensor, sides: tuple[int, ...], kernel: Kernel, sigma: float) -> Tensor:
    """Return ``values`` filtered along every axis by a normalised kernel, with replicate padding."""
    profiles = [_profile(side, kernel, sigma) for side in sides]
    smoothed = values
    for axis, profile in enumerate(profiles, start=2):
        smoothed = _filter_axis(smoothed, axis, profile)
    if kernel == "svls":
        # Centre g becomes the sum of the others, 1 - g, and the whole is divided by its new sum, 2 (1 - g).
        centre = math.prod(profile[len(profile) // 2] for profile in profiles)
        smoothed = (smoothed + (1 - 2 * centre) * values) / (2 * (1 - centre))
    return smoothed


def _profile(side: int, kernel: Kernel, sigma: float) -> list[float]:
    """Return the normalised weights of one axis; the window is their outer product over the axes."""
    if kernel == "mean":
        return [1 / side] * side
    half = side // 2
    weights = [math.exp(-(offset**2) / (2 * sigma**2)) for offset in range(-half, half + 1)]
    return [weight / sum(weights) for weight in weights]


def _filter_axis(values: Tensor, axis: int, profile: list[float]) -> Tensor:
    half = len(profile) // 2
    if half == 0:
        return values
    length = values.shape[axis]
    padded = torch.cat(
        [
            values.narrow(axis, 0, 1).expand(_with(values.shape, axis, half)),
            values,
            values.narrow(axis, length - 1, 1).expand(_with(values.shape, axis, half)),
        ],
        dim=axis,
    )
    filtered = padded.narrow(axis, half, length) * profile[half]
    for offset in range(half):
        # both arms of the symmetric kernel in one go
        arms = padded.narrow(axis, offset, length) + padded.narrow(axis, 2 * half - offset, length)
        filtered.add_(arms, alpha=profile[offset])
    return filtered


def _with(shape: Sequence[int], axis: int, size: int) -> list[int]:
    changed = list(shape)
    changed[axis] = size
    return changed
