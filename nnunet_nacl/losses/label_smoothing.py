"""Uniform label smoothing (LS)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nnunet_nacl.losses.voxel_loss import VoxelLoss


class LabelSmoothingLoss(VoxelLoss):
    r"""Cross-entropy against the one-hot label mixed with the uniform distribution, :math:`(1 - \alpha) y + \alpha / K`.

    Source: Szegedy et al., "Rethinking the Inception Architecture", arXiv 1512.00567, section 7.

    With smoothing 0 it is cross-entropy, with 1 the label no longer matters.

    Args:
        smoothing: :math:`\alpha`, 0 to 1.
        ignore_label, regions: see :class:`~nnunet_nacl.losses.voxel_loss.VoxelLoss`, also for shapes, edges and errors.

    Raises:
        ValueError: a smoothing outside 0 to 1.
    """

    def __init__(self, smoothing: float = 0.1, ignore_label: int | None = None, regions: bool = False) -> None:
        super().__init__(ignore_label, regions)
        if not 0 <= smoothing <= 1:
            raise ValueError(f"Expected argument `smoothing` to be from 0 to 1, but got {smoothing!r}.")
        self.smoothing = smoothing

    def per_voxel(self, logits: Tensor, index: Tensor) -> Tensor:
        """Return the loss of each voxel."""
        return F.cross_entropy(logits, index, reduction="none", label_smoothing=self.smoothing)
