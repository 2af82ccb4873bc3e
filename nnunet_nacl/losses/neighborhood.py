"""Soft class proportions: which share of a voxel's neighbourhood belongs to each class.

NACL pulls the logits towards these proportions and SVLS takes them as the target, so both read the same neighbourhood:
a window around each voxel, replicate-padded at the border of the patch, in which ignored voxels have no weight and the
weights of the others sum to one.

Every kernel is separable, or a separable one plus a centre term, so the cost grows with the sum of the window's sides and
not with their product. Classes are worked on a few at a time, from a label map of one byte a voxel, and the box is summed
in small integers: neither the one-hot map nor the proportions of all classes ever have to exist at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

from nnunet_nacl.losses.base import check_one_of
from nnunet_nacl.losses.targets import class_map, valid_mask

Kernel = Literal["mean", "gaussian", "svls"]
Number = TypeVar("Number", int, float)

# The svls kernel divides by the weight of the neighbours, which float32 knows to 1e-7 of the centre's.
_FEWEST_NEIGHBOURS = 1e-3


def soft_class_proportions(
    labels: Tensor,
    num_classes: int,
    kernel_size: int | Sequence[int] = 3,
    kernel: Kernel = "mean",
    sigma: float | Sequence[float] = 1.0,
    ignore_label: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Return the soft class proportions :math:`\tau_k(v) = \sum_{u \in N(v)} w(v, u) [y_u = k]`.

    Args:
        labels: label map ``(B, 1, *spatial)`` with one to three spatial axes of at least one voxel, whole numbers in any integer
            or float dtype (fractions are cut off).
        num_classes: number of classes K.
        kernel_size: odd side of the window in voxels, one number for all axes or one per axis.
        kernel: ``"mean"``, a box with equal weights including the centre (the default of NACL, arXiv 2401.14487);
            ``"gaussian"``, weights :math:`\exp(-d^2 / 2 \sigma^2)`; or ``"svls"``, a Gaussian whose centre weight is
            replaced by the sum of the others (arXiv 2104.05788), so that half of the result is the one-hot label.
        sigma: standard deviation of the Gaussian in voxels, one for all axes or one per axis; unused by ``"mean"``. For
            ``"svls"`` at least 0.26: the neighbours' share of the Gaussian must not be lost to rounding.
        ignore_label: label of voxels without annotation; they have no weight in any window; their own proportions
            are those of their neighbours.
        dtype: floating dtype of the result.

    Returns:
        ``(B, K, *spatial)``; sums to 1 over the classes wherever the window holds a voxel that is not ignored, else 0. Beyond the
        border the outermost voxels repeat, so a window may be larger than the map.

    Raises:
        ValueError: unusable shape, kernel, kernel size, sigma or label (not looked at on a GPU and under
            ``torch.compile``: there a label that is no class counts for none).
        RuntimeError: a dtype that is not floating point.

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
    if not labels.numel():
        raise ValueError(f"Expected argument `labels` to hold at least one voxel, but got shape {tuple(labels.shape)}.")
    window = Window(kernel_size, kernel, sigma)
    labels = labels.long()
    valid = valid_mask(labels, ignore_label)
    return window.over(class_map(labels, num_classes, valid), valid, dtype).proportions(0, num_classes)


class Window:
    """The shape and weights of a neighbourhood, checked once.

    Args:
        kernel_size, kernel, sigma: as in :func:`soft_class_proportions`.

    Raises:
        ValueError: they cannot be combined.
    """

    def __init__(self, kernel_size: int | Sequence[int], kernel: Kernel, sigma: float | Sequence[float]) -> None:
        check_one_of(Kernel, kernel=kernel)
        sides = (kernel_size,) if isinstance(kernel_size, int) else tuple(kernel_size)
        if not sides or any(not isinstance(side, int) or side < 1 or side % 2 == 0 for side in sides):
            raise ValueError(
                "Expected argument `kernel_size` to be an odd number of voxels, or one for each spatial axis, "
                f"but got {kernel_size!r}."
            )
        sigmas = (sigma,) if isinstance(sigma, (int, float)) else tuple(sigma)
        if kernel != "mean" and not (sigmas and all(math.isfinite(width) and width > 0 for width in sigmas)):
            raise ValueError(f"Expected argument `sigma` to be a positive number of voxels, but got {sigma!r}.")
        if kernel == "svls" and all(side == 1 for side in sides):
            raise ValueError(
                "Expected argument `kernel_size` to be at least 3 for the svls kernel: 1 has no neighbours."
            )
        self.kernel: Kernel = kernel
        self._sides = sides
        self._sigmas = sigmas
        if kernel == "svls" and 1 - self.centre(max(len(sides), len(sigmas))) < _FEWEST_NEIGHBOURS:
            raise ValueError(
                f"Expected argument `sigma` to be at least 0.26 voxels for the svls kernel, but got {sigma!r}: the weights "
                "of the neighbours, next to nothing, would be lost to rounding."
            )

    def sides(self, spatial_axes: int) -> tuple[int, ...]:
        """Return the side of the window for each spatial axis."""
        return _per_axis("kernel_size", self._sides, spatial_axes)

    def profiles(self, spatial_axes: int) -> list[list[float]]:
        """Return the normalised weights of each axis; the separable part of the window is their outer product."""
        sides, sigmas = self.sides(spatial_axes), _per_axis("sigma", self._sigmas, spatial_axes)
        if self.kernel == "mean":
            return [[1 / side] * side for side in sides]
        return [_gaussian(side, sigma) for side, sigma in zip(sides, sigmas, strict=True)]

    def centre(self, spatial_axes: int) -> float:
        """Return the weight of the centre in the separable part of the window."""
        # a list, since torch.compile takes no generator
        return math.prod([profile[len(profile) // 2] for profile in self.profiles(spatial_axes)])

    def over(self, members: Tensor, valid: Tensor | None, dtype: torch.dtype) -> Neighborhood:
        """Return the neighbourhoods of a batch.

        Args:
            members: class map ``(B, 1, *spatial)`` of integers, or region masks ``(B, R, *spatial)``, boolean; of no class
                or region at ignored voxels. Class maps of M raters, ``(B, M, *spatial)``, are counted together: each
                rater's neighbour is a neighbour.
            valid: where a voxel counts, boolean, ``(B, 1, *spatial)`` or one channel per rater, or None for all True.
            dtype: floating dtype of the proportions.
        """
        return Neighborhood(self, members, valid, dtype)

    def is_mixed(self, members: Tensor, valid: Tensor | None) -> Tensor:
        """Return where the window holds more than one class, or both inside and outside of a region.

        Exact, unlike asking whether a proportion is below 1: that is a rounded number.

        Args:
            members, valid: as in :meth:`over`, of one rater.

        Returns:
            Boolean, of the shape of ``members``. Ignored voxels are no neighbours.
        """
        lowest = highest = members.view(torch.uint8) if members.dtype == torch.bool else members
        if valid is not None:
            # an ignored voxel may be neither the lowest nor the highest of its window
            if members.dtype == torch.bool:
                lowest = (members | ~valid).view(torch.uint8)
            else:
                highest = members.masked_fill(~valid, 0)
        sides = self.sides(members.ndim - 2)
        return _extreme(lowest, sides, torch.minimum) < _extreme(highest, sides, torch.maximum)


class Neighborhood:
    """The windows around every voxel of a batch, ready to give the proportions of a few channels at a time."""

    def __init__(self, window: Window, members: Tensor, valid: Tensor | None, dtype: torch.dtype) -> None:
        spatial_axes = members.ndim - 2
        self._window = window
        self._sides = window.sides(spatial_axes)
        self._profiles = window.profiles(spatial_axes)
        self._dtype = dtype
        self._padded = _replicate_padded(members, self._sides)
        self._per_weight: Tensor | float | None = None
        raters = 1 if members.dtype == torch.bool else members.shape[1]
        if raters > 1:
            self._per_weight = 1 / raters
        if valid is not None:
            # The same filter over the mask is the weight that the counted neighbours have; dividing by it makes them
            # sum to 1 again.
            counted = valid if raters == 1 else valid.sum(1, keepdim=True, dtype=dtype)
            weight = self._filtered(_replicate_padded(counted, self._sides))
            self._per_weight = torch.where(weight > 0, 1 / weight.clamp(min=torch.finfo(dtype).tiny), 0.0)

    def proportions(self, first: int, last: int) -> Tensor:
        """Return the proportions of the channels ``first`` to ``last - 1``, ``(B, last - first, *spatial)``."""
        proportions = self._filtered(self._belongs(first, last))
        return proportions if self._per_weight is None else proportions.mul_(self._per_weight)

    def _belongs(self, first: int, last: int) -> Tensor:
        if self._padded.dtype == torch.bool:
            return self._padded[:, first:last]
        channels = torch.arange(first, last, dtype=self._padded.dtype, device=self._padded.device)
        channels = channels.view(1, -1, *[1] * (self._padded.ndim - 2))
        first_rater, *others = (self._padded.narrow(1, rater, 1) for rater in range(self._padded.shape[1]))
        if not others:
            return first_rater == channels
        # the window is linear, so it can run once over the raters' votes instead of once for each of them
        votes = (first_rater == channels).to(self._dtype)
        for rater in others:
            votes += rater == channels
        return votes

    def _filtered(self, padded: Tensor) -> Tensor:
        """Return the padded map, boolean or of votes, under the window and without its padding."""
        if self._window.kernel == "mean" and padded.dtype == torch.bool:
            return _box_sum(padded, self._sides).to(self._dtype).mul_(1 / math.prod(self._sides))
        filtered = _weighted(padded.to(self._dtype), self._profiles)
        if self._window.kernel != "svls":
            return filtered
        # svls: the centre g becomes the sum of the others, 1 - g, and all is divided by the new sum, 2 (1 - g).
        centre = self._window.centre(len(self._sides))
        inner = padded
        for axis, side in enumerate(self._sides, start=2):
            inner = inner.narrow(axis, side // 2, inner.shape[axis] - side + 1)
        return filtered.add_(inner, alpha=1 - 2 * centre).mul_(1 / (2 * (1 - centre)))


def chunks(channels: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Yield (first, last) over the channels: one at a time on a CPU, where that stays in the cache, eight on a GPU."""
    size = 1 if device.type == "cpu" else 8
    for first in range(0, channels, size):
        yield first, min(first + size, channels)


def _per_axis(name: str, values: tuple[Number, ...], spatial_axes: int) -> tuple[Number, ...]:
    if len(values) == 1:
        return values * spatial_axes
    if len(values) != spatial_axes:
        raise ValueError(
            f"Expected argument `{name}` to have one value or {spatial_axes} for the {spatial_axes} spatial axes, but got {values}."
        )
    return values


def _gaussian(side: int, sigma: float) -> list[float]:
    half = side // 2
    weights = [math.exp(-(offset**2) / (2 * sigma**2)) for offset in range(-half, half + 1)]
    return [weight / sum(weights) for weight in weights]


def _replicate_padded(values: Tensor, sides: Sequence[int]) -> Tensor:
    """Return values of any dtype with their border repeated by half a window on every spatial axis."""
    for axis, side in enumerate(sides, start=2):
        if side == 1:
            continue
        length, shape = values.shape[axis], list(values.shape)
        shape[axis] = side // 2
        first, last = values.narrow(axis, 0, 1).expand(shape), values.narrow(axis, length - 1, 1).expand(shape)
        values = torch.cat([first, values, last], dim=axis)
    return values


def _box_sum(padded: Tensor, sides: Sequence[int]) -> Tensor:
    """Return how many voxels of each window are True, in the smallest integer dtype that holds the window's size."""
    sums = padded.view(torch.uint8) if math.prod(sides) < 256 else padded.to(torch.int32)
    for axis, side in enumerate(sides, start=2):
        if side == 1:
            continue
        length = sums.shape[axis] - side + 1
        summed = sums.narrow(axis, 0, length) + sums.narrow(axis, 1, length)
        for offset in range(2, side):
            summed += sums.narrow(axis, offset, length)
        sums = summed
    return sums


def _extreme(values: Tensor, sides: Sequence[int], of_two: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the minimum or the maximum of each window."""
    extreme = _replicate_padded(values, sides)
    for axis, side in enumerate(sides, start=2):
        length = extreme.shape[axis] - side + 1
        along = extreme.narrow(axis, 0, length)
        for offset in range(1, side):
            along = of_two(along, extreme.narrow(axis, offset, length))
        extreme = along
    return extreme


def _weighted(padded: Tensor, profiles: Sequence[list[float]]) -> Tensor:
    """Return the sums of each window weighted with a symmetric profile along every axis."""
    filtered = padded
    for axis, profile in enumerate(profiles, start=2):
        half, length = len(profile) // 2, filtered.shape[axis] - len(profile) + 1
        weighted = filtered.narrow(axis, half, length) * profile[half]
        for offset in range(half):
            # both arms of the kernel in one go
            arms = filtered.narrow(axis, offset, length) + filtered.narrow(axis, 2 * half - offset, length)
            weighted.add_(arms, alpha=profile[offset])
        filtered = weighted
    return filtered
