"""The weight that nnU-Net gives its cross-entropy beside its Dice loss, for the loss that takes its place."""

from __future__ import annotations

from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from torch import Tensor, nn


def cross_entropy_weight(compound: nn.Module, n_regions: int) -> int:
    """Return how many times the mean cross-entropy of a voxel nnU-Net's own loss holds.

    For regions of a data set with an ignore label it is summed over the regions (``DC_and_BCE_loss`` of nnU-Net 2.8.1 divides
    by the number of voxels that count); without one it is averaged over them as well.

    Args:
        compound: nnU-Net's loss of one resolution.
        n_regions: number of regions of the data set.
    """
    return n_regions if isinstance(compound, DC_and_BCE_loss) and compound.use_ignore_label else 1


class Weighted(nn.Module):
    """A loss times a number.

    Args:
        loss: takes logits and target.
        weight: what its value is multiplied with.
    """

    def __init__(self, loss: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of one resolution."""
        value: Tensor = self.loss(logits, target)
        return self.weight * value
