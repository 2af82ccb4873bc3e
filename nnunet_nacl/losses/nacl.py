"""Neighbor-aware calibration loss (NACL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from nnunet_nacl.losses.base import Loss, check_not_negative, check_one_of
from nnunet_nacl.losses.cross_entropy import hard_cross_entropy
from nnunet_nacl.losses.gradient_in_forward import with_gradient
from nnunet_nacl.losses.neighborhood import Kernel, Neighborhood, Window, chunks
from nnunet_nacl.losses.targets import compute_dtype, count_valid, counted_logits, members_and_valid, sum_dtype

Norm = Literal["l1", "l2"]
ClassReduction = Literal["mean", "sum"]


class NACLLoss(Loss):
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
        sigma: of the Gaussian, in voxels, one for all axes or one per axis; unused by ``"mean"``, at least 0.26 for ``"svls"``.
        norm: ``"l1"`` for the absolute difference, ``"l2"`` for its square.
        class_reduction: ``"mean"`` or ``"sum"`` over the classes.
        ignore_label: label of voxels that neither count as neighbours nor enter the loss; unused with regions.
        regions: one sigmoid per region instead of a softmax over classes. Cross-entropy becomes binary cross-entropy (mean
            over regions) and the proportion of a region is the share of the neighbours inside it.

    Shape:
        - logits: ``(B, K, *spatial)``, one to three spatial axes, at least one voxel, any floating dtype; computed in float32
          (float64 stays).
        - target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, whole numbers in any integer or float dtype (fractions are cut off).
          With regions ``(B, R, *spatial)`` of 0 and 1 (above 0.5 is 1, NaN is 0), or ``(B, R + 1, *spatial)`` whose last channel is
          1 at voxels to ignore.
        - output: scalar in the dtype of the computation; 0 with a zero gradient where every voxel is ignored. A NaN logit makes it NaN,
          an infinite one may, unless the voxel is ignored.

    Raises:
        TypeError: logits that are not floating point.
        ValueError: a parameter out of its range; shapes that do not go together; no voxel; a label that is no class
            and not the ignore label (not looked at on a GPU and under ``torch.compile``: there PyTorch's assertion on an index fails).
        RuntimeError: a second derivative is asked for (``create_graph=True``).

    Example:
        >>> import torch
        >>> loss = NACLLoss()
        >>> logits = torch.zeros(1, 2, 4, 4, 4)
        >>> target = torch.zeros(1, 1, 4, 4, 4)
        >>> loss(logits, target)  # log 2 + 0.1 * (|1 - 0| + |0 - 0|) / 2
        tensor(0.7431)
    """

    def __init__(
        self,
        weight: float = 0.1,
        kernel_size: int | Sequence[int] = 3,
        kernel: Kernel = "mean",
        sigma: float | Sequence[float] = 1.0,
        norm: Norm = "l1",
        class_reduction: ClassReduction = "mean",
        ignore_label: int | None = None,
        regions: bool = False,
    ) -> None:
        super().__init__(ignore_label, regions)
        check_not_negative(weight=weight)
        check_one_of(Norm, norm=norm)
        check_one_of(ClassReduction, class_reduction=class_reduction)
        self._window = Window(kernel_size, kernel, sigma)
        self.weight = weight
        self.kernel_size = kernel_size
        self.kernel: Kernel = kernel
        self.sigma = sigma
        self.norm: Norm = norm
        self.class_reduction: ClassReduction = class_reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss; see the class for shapes."""
        dtype = compute_dtype(logits)
        members, valid = members_and_valid(logits, target, self.ignore_label, self.regions)
        neighborhood = self._window.over(members, valid, dtype)
        n_voxels = count_valid(members, valid)

        def value_and_gradient(logits: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
            total, gradient = hard_cross_entropy(logits, members, valid, self.regions)
            total = total + self._add_penalty(logits, neighborhood, valid, gradient)
            gradient.mul_(1 / n_voxels if valid is None else valid.to(dtype) / n_voxels)
            return total / n_voxels, gradient if wanted else None

        return with_gradient(counted_logits(logits, valid), value_and_gradient)

    def _add_penalty(
        self, logits: Tensor, neighborhood: Neighborhood, valid: Tensor | None, gradient: Tensor
    ) -> Tensor:
        """Return the penalty summed over the voxels and add its gradient to a buffer."""
        factor = self.weight / logits.shape[1] if self.class_reduction == "mean" else self.weight
        total = logits.new_zeros((), dtype=sum_dtype(logits))
        for first, last in chunks(logits.shape[1], logits.device):
            difference = neighborhood.proportions(first, last).sub_(logits[:, first:last])
            if valid is not None:
                difference.mul_(valid)
            # norms along the rows need no tensor of their own, unlike abs and square
            if self.norm == "l1":
                total += torch.linalg.vector_norm(difference, 1, dim=-1).sum(dtype=total.dtype)
                gradient[:, first:last].sub_(difference.sign_(), alpha=factor)
            else:
                total += torch.linalg.vector_norm(difference, 2, dim=-1).square().sum(dtype=total.dtype)
                gradient[:, first:last].sub_(difference, alpha=2 * factor)
        return factor * total
