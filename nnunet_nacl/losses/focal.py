"""Focal loss."""

from __future__ import annotations

from torch import Tensor

from nnunet_nacl.losses.base import check_not_negative
from nnunet_nacl.losses.voxel_loss import VoxelLoss, voxel_cross_entropy


class FocalLoss(VoxelLoss):
    r"""Cross-entropy weighted with :math:`(1 - p_y)^\gamma`, so that voxels that are right already count less.

    Source: Lin et al., arXiv 1708.02002, equation 4 (without class weights); as a calibration loss with gamma 3: Mukhoti et
    al., arXiv 2002.09437.

    With gamma 0 it is cross-entropy. A voxel with :math:`p_y = 1` has a loss and a gradient of 0.

    Args:
        gamma: :math:`\gamma`, not negative.
        ignore_label, regions: see :class:`~nnunet_nacl.losses.voxel_loss.VoxelLoss`, also for shapes, edges and errors.

    Raises:
        ValueError: a gamma that is negative or not finite.
    """

    def __init__(self, gamma: float = 3.0, ignore_label: int | None = None, regions: bool = False) -> None:
        super().__init__(ignore_label, regions)
        check_not_negative(gamma=gamma)
        self.gamma = gamma

    def per_voxel(self, logits: Tensor, index: Tensor) -> Tensor:
        """Return the loss of each voxel."""
        cross_entropy = voxel_cross_entropy(logits, index)
        # -expm1(-ce) is 1 - p without the rounding; the clamp keeps the gradient of 0 ** gamma finite below gamma 1
        wrong = -cross_entropy.neg().expm1()
        return wrong.clamp(min=1e-12) ** self.gamma * cross_entropy
