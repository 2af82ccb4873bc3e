"""Neighbor-aware calibration loss (NACL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_nacl.losses.neighborhood import Kernel, check_kernel, soft_class_proportions, window_sides
from nnunet_nacl.losses.targets import compute_dtype, label_map, mean_over_valid, valid_mask

Norm = Literal["l1", "l2"]
ClassReduction = Literal["mean", "sum"]


class NACLLoss(nn.Module):
    r"""Cross-entropy plus a penalty that ties the logits to the soft class proportions of the neighbourhood.

    .. math::
        \mathcal L = \mathrm{CE}(l, y) + \lambda \, \frac{1}{|V|} \sum_{v \in V} R_k \left| \tau_k(v) - l_k(v) \right|

    with :math:`\tau` from :func:`~nnunet_nacl.losses.soft_class_proportions` and :math:`R_k` the mean (default) or the
    sum over the classes. The penalty acts on the raw logits, not on probabilities. Source: Murugesan et al.,
    "Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints", arXiv 2401.14487, and "Trust your
    neighbours", arXiv 2303.06268, the objective ``CE + lambda * sum_k |tau_k - l_k|``. The papers' formula sums over
    classes; the authors' experiments average, and so does this default.

    With ``norm="l1"`` and the mean over classes, the pointwise optimum has confidence ``1 - weight / K`` wherever the
    neighbourhood is of one class: 0.95 for K = 2, 0.967 for K = 3 at the default weight.

    Args:
        weight: :math:`\lambda`, not negative.
        kernel_size: odd side of the neighbourhood in voxels, one for all axes or one per axis.
        kernel: ``"mean"``, ``"gaussian"`` or ``"svls"``.
        sigma: of the Gaussian, in voxels; unused by ``"mean"``.
        norm: ``"l1"`` for the absolute difference, ``"l2"`` for its square.
        class_reduction: ``"mean"`` or ``"sum"`` over the classes.
        ignore_label: label of voxels that neither count as neighbours nor enter the loss.

    Shape:
        - logits: ``(B, K, *spatial)``, one to three spatial axes, any floating dtype; computed in float32 (float64 stays).
        - target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float dtype.
        - output: scalar; 0 with a zero gradient where every voxel is ignored.

    Example:
        >>> import torch
        >>> loss = NACLLoss()
        >>> logits = torch.zeros(1, 2, 4, 4, 4, requires_grad=True)
        >>> target = torch.zeros(1, 1, 4, 4, 4)
        >>> loss(logits, target)  # log 2 + 0.1 * (|1 - 0| + |0 - 0|) / 2
        tensor(0.7431, grad_fn=<AddBackward0>)
    """

    def __init__(
        self,
        weight: float = 0.1,
        kernel_size: int | Sequence[int] = 3,
        kernel: Kernel = "mean",
        sigma: float = 1.0,
        norm: Norm = "l1",
        class_reduction: ClassReduction = "mean",
        ignore_label: int | None = None,
    ) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"Expected argument `weight` to be a number >= 0, but got {weight!r}.")
        if norm not in get_args(Norm):
            raise ValueError(f"Expected argument `norm` to be one of {get_args(Norm)}, but got {norm!r}.")
        if class_reduction not in get_args(ClassReduction):
            raise ValueError(
                f"Expected argument `class_reduction` to be one of {get_args(ClassReduction)}, but got {class_reduction!r}."
            )
        check_kernel(kernel, window_sides(kernel_size, 1 if isinstance(kernel_size, int) else len(kernel_size)), sigma)
        self.weight = weight
        self.kernel_size = kernel_size
        self.kernel: Kernel = kernel
        self.sigma = sigma
        self.norm: Norm = norm
        self.class_reduction: ClassReduction = class_reduction
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss; see the class for shapes."""
        labels = label_map(logits, target)
        logits = logits.to(compute_dtype(logits))
        valid = valid_mask(labels, self.ignore_label)
        proportions = soft_class_proportions(
            labels, logits.shape[1], self.kernel_size, self.kernel, self.sigma, self.ignore_label, logits.dtype
        )
        return cross_entropy(logits, labels, valid) + self.weight * self._penalty(logits, proportions, valid)

    def _penalty(self, logits: Tensor, proportions: Tensor, valid: Tensor | None) -> Tensor:
        difference = proportions - logits
        distance = difference.abs() if self.norm == "l1" else difference.square()
        if self.class_reduction == "mean":
            return mean_over_valid(distance.mean(1, keepdim=True), valid)
        return mean_over_valid(distance.sum(1, keepdim=True), valid)

    def extra_repr(self) -> str:
        """Return the hyper-parameters as the constructor takes them."""
        return (
            f"weight={self.weight}, kernel_size={self.kernel_size}, kernel={self.kernel!r}, sigma={self.sigma}, "
            f"norm={self.norm!r}, class_reduction={self.class_reduction!r}, ignore_label={self.ignore_label}"
        )


def cross_entropy(logits: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean cross-entropy over the voxels that count; 0 with a zero gradient where none does."""
    index = labels if valid is None else labels.masked_fill(~valid, 0)
    return mean_over_valid(F.cross_entropy(logits, index[:, 0], reduction="none").unsqueeze(1), valid)
