"""Explicit confidence penalty (ECP)."""

from __future__ import annotations

from torch import Tensor

from nnunet_nacl.losses.base import check_not_negative
from nnunet_nacl.losses.voxel_loss import VoxelLoss, voxel_cross_entropy


class ECPLoss(VoxelLoss):
    r"""Cross-entropy minus the weighted entropy of the prediction, :math:`\mathrm{CE} - \lambda H(p)`.

    Source: Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output Distributions", arXiv 1701.06548;
    weight 0.1 as in the NACL paper's comparison.

    The entropy is in nats, at most log K. The loss may be slightly below 0, where the network is nearly sure and right. A logit of
    minus infinity makes it NaN.

    Args:
        weight: :math:`\lambda`, not negative.
        ignore_label, regions: see :class:`~nnunet_nacl.losses.voxel_loss.VoxelLoss`, also for shapes, edges and errors.

    Raises:
        ValueError: a weight that is negative or not finite.
    """

    def __init__(self, weight: float = 0.1, ignore_label: int | None = None, regions: bool = False) -> None:
        super().__init__(ignore_label, regions)
        check_not_negative(weight=weight)
        self.weight = weight

    def per_voxel(self, logits: Tensor, index: Tensor) -> Tensor:
        """Return the loss of each voxel."""
        log_probability = logits.log_softmax(1)
        entropy = -(log_probability.exp() * log_probability).sum(1)
        return voxel_cross_entropy(logits, index) - self.weight * entropy
