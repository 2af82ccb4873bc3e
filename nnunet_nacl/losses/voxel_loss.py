"""The losses that look at each voxel alone: what they share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_nacl.losses.base import Loss
from nnunet_nacl.losses.targets import count_valid, counted_logits, members_and_valid


class VoxelLoss(Loss):
    """Mean over the voxels that count of a loss that is computed from a voxel's own logits and class.

    With regions, each region is a softmax over the two logits (0, l), whose second probability is sigmoid(l), and the mean is
    taken over regions too. So the binary form of every loss follows from its softmax form.

    Args:
        ignore_label: label of voxels that do not enter the loss; unused with regions.
        regions: one sigmoid per region instead of a softmax over classes.

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
        ValueError: shapes that do not go together; no voxel; a label that is no class and not the ignore label (not
            looked at on a GPU and under ``torch.compile``: there PyTorch's assertion on an index fails).
    """

    def __init__(self, ignore_label: int | None = None, regions: bool = False) -> None:
        super().__init__(ignore_label, regions)

    def per_voxel(self, logits: Tensor, index: Tensor) -> Tensor:
        """Return the loss of each voxel.

        Args:
            logits: ``(B, K, *spatial)``, float32 or float64.
            index: classes ``(B, *spatial)``, int64.

        Returns:
            ``(B, *spatial)``.
        """
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss; see the class for shapes."""
        members, valid = members_and_valid(logits, target, self.ignore_label, self.regions)
        logits = counted_logits(logits, valid)
        losses = self._of_regions(logits, members) if self.regions else self._of_classes(logits, members, valid)
        if valid is not None:
            losses = losses * valid[:, 0]
        return losses.sum() / count_valid(members, valid)

    def _of_classes(self, logits: Tensor, classes: Tensor, valid: Tensor | None) -> Tensor:
        index = classes.long() if valid is None else classes.long().masked_fill(~valid, 0)
        return self.per_voxel(logits, index[:, 0])

    def _of_regions(self, logits: Tensor, masks: Tensor) -> Tensor:
        flat = logits.flatten(0, 1)
        losses = self.per_voxel(torch.stack([torch.zeros_like(flat), flat], dim=1), masks.flatten(0, 1).long())
        return losses.reshape(*logits.shape).mean(1)


def voxel_cross_entropy(logits: Tensor, index: Tensor) -> Tensor:
    """Return the cross-entropy of each voxel in nats, ``(B, *spatial)``.

    Args:
        logits: ``(B, K, *spatial)``, floating point.
        index: ``(B, *spatial)`` int64, the class of each voxel, 0 to K - 1.
    """
    return F.cross_entropy(logits, index, reduction="none")
