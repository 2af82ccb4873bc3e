"""Margin-based label smoothing (MbLS)."""

from __future__ import annotations

from torch import Tensor

from nnunet_nacl.losses.base import check_not_negative
from nnunet_nacl.losses.voxel_loss import VoxelLoss, voxel_cross_entropy


class MbLSLoss(VoxelLoss):
    r"""Cross-entropy plus a penalty on logits that lie further than a margin below the largest one.

    .. math::
        \mathcal L = \mathrm{CE} + \lambda \, \mathrm{mean}_{v, k} \max(0, \max_j l_j - l_k - m)

    Source: Liu et al., "The Devil is in the Margin", arXiv 2111.15430, and Murugesan et al., "Calibrating Segmentation
    Networks with Margin-based Label Smoothing", arXiv 2209.09641 (margin 10 and weight 0.1 for segmentation).

    The mean is over all K classes. A voxel whose logits all lie within the margin has the cross-entropy alone.

    Args:
        weight: :math:`\lambda`, not negative.
        margin: :math:`m`, not negative.
        ignore_label, regions: see :class:`~nnunet_nacl.losses.voxel_loss.VoxelLoss`, also for shapes, edges and errors.

    Raises:
        ValueError: a weight or margin that is negative or not finite.
    """

    def __init__(
        self, weight: float = 0.1, margin: float = 10.0, ignore_label: int | None = None, regions: bool = False
    ) -> None:
        super().__init__(ignore_label, regions)
        check_not_negative(weight=weight, margin=margin)
        self.weight = weight
        self.margin = margin

    def per_voxel(self, logits: Tensor, index: Tensor) -> Tensor:
        """Return the loss of each voxel."""
        distance = logits.amax(1, keepdim=True) - logits
        return voxel_cross_entropy(logits, index) + self.weight * (distance - self.margin).relu().mean(1)
