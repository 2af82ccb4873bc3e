"""A calibrated loss together with nnU-Net's own soft Dice loss."""

from __future__ import annotations

from torch import Tensor, nn

from nnunet_nacl.losses.targets import members_and_valid


class LossPlusDice(nn.Module):
    """The sum of a calibrated loss and nnU-Net's Dice term, for labels and regions, with and without ignored voxels.

    nnU-Net's own compound losses cannot hold another loss: they mask the cross-entropy outside of it.

    Args:
        loss: takes logits and target as nnU-Net has them.
        dice: nnU-Net's Dice term, compiled or not.
        ignore_label: label of voxels to leave out; unused with regions.
        regions: the target is region masks.
    """

    def __init__(self, loss: nn.Module, dice: nn.Module, ignore_label: int | None, regions: bool) -> None:
        super().__init__()
        self.loss = loss
        self.dice = dice
        self.ignore_label = ignore_label
        self.regions = regions

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of one resolution."""
        total: Tensor = self.loss(logits, target)
        return total + dice_term(self.dice, logits, target, self.ignore_label, self.regions)


def dice_term(dice: nn.Module, logits: Tensor, target: Tensor, ignore_label: int | None, regions: bool) -> Tensor:
    """Return nnU-Net's Dice term with ignored voxels left out; arguments as in :class:`LossPlusDice`."""
    members, valid = members_and_valid(logits, target, ignore_label, regions)
    if valid is not None:
        # nnU-Net multiplies with the mask, and 0 times a NaN or an infinite logit is NaN
        logits = logits.masked_fill(~valid, 0)
        if not regions:
            members = members.masked_fill(~valid, 0)
    term: Tensor = dice(logits, members, loss_mask=valid)
    return term
