"""Runs the Triton kernels as one function that autograd knows: value forward, gradient backward.

Between the two kernels' sums and tables lie numbers per image and class only, which PyTorch's own operations work on. Nothing waits for
the device.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnunet_nacl.losses import triton_kernels as kernels
from nnunet_nacl.losses.gradient_in_forward import refuse_second_derivatives
from nnunet_nacl.losses.terms import Terms

VOXELS_PER_PROGRAM = 128
WARPS = 2
_TERMS = {"cross-entropy": 0, "nacl l1": 1, "nacl l2": 2, "svls": 3}
_OF_DICE = 3
_WITH_BINS = 7
_FIXED_POINT = 2.0**32
# of the bins that blocks add to: with few classes, all blocks at one copy would wait for each other
_COPIES = 64
_COPIES_BYTES = 2**20


def triton_loss(terms: Terms, logits: Tensor, target: Tensor) -> Tensor:
    """Return the scalar loss, float32, differentiable once with respect to the logits.

    Args:
        terms: what the loss consists of.
        logits: ``(B, K, *spatial)``, one to three spatial axes, contiguous; float16, bfloat16 or float32.
        target: label map ``(B, 1, *spatial)`` or ``(B, *spatial)``, of whole numbers. A label that is no class and not the ignore
            label makes the loss and its voxel's gradient NaN.
    """
    result: Tensor = _TritonLoss.apply(logits, target.contiguous(), terms)
    return result


@dataclass
class _Launch:
    """The arguments that both kernels have in common."""

    logits: Tensor
    target: Tensor
    terms: Terms

    def __post_init__(self) -> None:
        batch, self.classes, *spatial = self.logits.shape
        self.batch = batch
        self.sizes = [1] * (3 - len(spatial)) + spatial
        self.sides = [1] * (3 - len(spatial)) + list(self.terms.sides(len(spatial)))
        self.voxels = math.prod(spatial)
        self.blocks = math.ceil(self.voxels / VOXELS_PER_PROGRAM)
        self.weights = _weights(self.terms, len(spatial), self.logits.device)

    def run(self, kernel: Any, *arguments: Tensor | int) -> None:
        terms = self.terms
        with _on(self.logits.device):
            kernel[(self.blocks, self.batch)](
                self.logits, self.target, self.weights, *arguments, self.classes, self.voxels, *self.sizes,
                0 if terms.ignore_label is None else terms.ignore_label, float(terms.factor(self.classes)), max(terms.bins, 1),
                _TERMS[terms.name], terms.ignore_label is not None, terms.is_box, *self.sides,
                terms.dice is not None or terms.bins > 0, terms.bins > 0, VOXELS_PER_PROGRAM, num_warps=WARPS,
            )  # fmt: skip


class _TritonLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, terms: Terms) -> Tensor:
        launch = _Launch(logits, target, terms)
        batch, classes = launch.batch, launch.classes
        of_voxels = logits.new_empty((2, batch, launch.blocks), dtype=torch.float32)
        rows = _WITH_BINS if terms.bins else _OF_DICE if terms.dice else 0
        of_classes = logits.new_empty((rows, batch, classes, launch.blocks), dtype=torch.float32)
        copies = max(1, min(_COPIES, _COPIES_BYTES // max(1, 16 * batch * classes * terms.bins))) if terms.bins else 1
        middle = logits.new_zeros((copies, 2, batch, classes, terms.bins), dtype=torch.int64)
        launch.run(kernels.sum_up, of_voxels, of_classes, middle, copies)
        # sums of blocks in a fixed order, so that the same batch gives the same value
        total, counted = of_voxels.flatten(1).sum(1, dtype=torch.float64).unbind()
        counted = counted.clamp(min=1)
        value = total / counted
        nothing = logits.new_zeros((batch, classes, 1), dtype=torch.float32)
        of_class, of_label, of_bin = nothing, nothing, nothing
        if rows:
            sums = of_classes.sum(-1, dtype=torch.float64)
            if terms.dice is not None:
                dice, of_class, of_label = _soft_dice(sums, terms)
                value = value + dice
            if terms.bins:
                error, of_bin = _calibration_error(sums, middle.sum(0), terms)
                value = value + error
        ctx.save_for_backward(logits, target, counted.float(), of_class.float(), of_label.float(), of_bin.float())
        ctx.terms = terms
        return value.float()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivatives()
        logits, target, counted, *tables = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        outer = grad_output.float().contiguous()
        tables = [table.contiguous() for table in tables]
        _Launch(logits, target, ctx.terms).run(kernels.write_gradient, gradient, outer, counted, *tables)
        return gradient, None, None


def _soft_dice(sums: Tensor, terms: Terms) -> tuple[Tensor, Tensor, Tensor]:
    """Return minus nnU-Net's soft Dice, and its derivatives by a probability: of another class than the label, and of the label.

    Args:
        sums: ``(>= 3, B, K)``, float64: of probabilities, of the label's probabilities, and of voxels per label.
        terms: its ``dice`` has what nnU-Net's ``MemoryEfficientSoftDiceLoss`` has.
    """
    dice = terms.dice
    assert dice is not None
    predicted, overlap, labelled = sums[:3]
    shape = predicted.shape
    if dice.batch_dice:
        predicted, overlap, labelled = (item.sum(0, keepdim=True) for item in (predicted, overlap, labelled))
    numerator = 2 * overlap + dice.smooth
    size = labelled + predicted + dice.smooth
    denominator = size.clamp(min=1e-8)
    first = 0 if dice.do_bg else 1
    ratio = numerator / denominator
    share = -1 / ratio[:, first:].numel()
    of_class = -share * ratio / denominator * (size >= 1e-8)
    of_label = of_class + 2 * share / denominator
    if first:
        of_class[:, 0] = of_label[:, 0] = 0
    return -ratio[:, first:].mean(), of_class.expand(shape), of_label.expand(shape)


def _calibration_error(sums: Tensor, middle: Tensor, terms: Terms) -> tuple[Tensor, Tensor]:
    """Return the weighted mL1-ACE of hard bins, and its derivatives by a probability in each bin, ``(B, K, M)``.

    Args:
        sums: ``(7, B, K)``, float64: see ``triton_kernels``.
        middle: ``(2, B, K, M)``, int64: voxels, and probability less label in fixed point, of all bins but the first and the last.
        terms: its ``bins`` and ``calibration_weight``.
    """
    held, gap = middle[0].double(), middle[1] / _FIXED_POINT
    # one bin alone is the first
    for index, (voxels, difference) in ((0, sums[3:5]), (-1, sums[5:7])):
        held[..., index] += voxels
        gap[..., index] += difference
    used = held > 0
    present = sums[2] > 0
    per_class = present / used.sum(-1).clamp(min=1) * (terms.calibration_weight / present.numel())
    per_bin = per_class.unsqueeze(-1) * used / held.clamp(min=1)
    return (gap.abs() * per_bin).sum(), gap.sign() * per_bin


_kept_weights: dict[tuple[Any, ...], Tensor] = {}


def _weights(terms: Terms, spatial_axes: int, device: torch.device) -> Tensor:
    """Return the weights of a window in raster order, float32, once for each window and device."""
    weights = terms.weights(spatial_axes)
    key = (device, *weights)
    if key not in _kept_weights:
        _kept_weights[key] = torch.tensor(weights, dtype=torch.float32, device=device)
    return _kept_weights[key]


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton starts a kernel on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
