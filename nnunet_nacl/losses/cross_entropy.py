"""The first term of the losses: cross-entropy of a softmax, or binary cross-entropy of one sigmoid per region.

Each function returns the *sum* over the voxels that count and turns the buffer it returns into the gradient of that sum, so
that a loss can add its own terms to the same buffer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunet_nacl.losses.gradient_in_forward import precise_sum
from nnunet_nacl.losses.neighborhood import Neighborhood, chunks
from nnunet_nacl.losses.targets import sum_dtype


def hard_cross_entropy(logits: Tensor, members: Tensor, valid: Tensor | None, regions: bool) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy, with regions the mean over them, and its gradient (not yet masked).

    Args:
        logits: ``(B, K, *spatial)``.
        members: class map or region masks, see :func:`~nnunet_nacl.losses.targets.members_and_valid`.
        valid: ``(B, 1, *spatial)`` boolean or None.
        regions: one sigmoid per channel instead of a softmax over them.
    """
    return (_sigmoid_cross_entropy if regions else _softmax_cross_entropy)(logits, members, valid)


def _softmax_cross_entropy(logits: Tensor, classes: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    index = classes.long()
    if valid is not None:
        index.masked_fill_(~valid, 0)
    gradient = F.log_softmax(logits, 1)
    log_probability = gradient.gather(1, index)
    if valid is not None:
        log_probability.mul_(valid)
    total = -precise_sum(log_probability)
    gradient.exp_().scatter_add_(1, index, logits.new_full((1,), -1.0).expand_as(index))
    return total, gradient


def _sigmoid_cross_entropy(logits: Tensor, masks: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    inside = masks.to(logits.dtype)
    per_voxel = F.binary_cross_entropy_with_logits(logits, inside, reduction="none")
    if valid is not None:
        per_voxel.mul_(valid)
    share = 1 / logits.shape[1]
    return precise_sum(per_voxel) * share, torch.sigmoid(logits).sub_(inside).mul_(share)


def soft_cross_entropy(
    logits: Tensor, targets: Neighborhood, valid: Tensor | None, regions: bool
) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy against soft targets and its gradient (not yet masked at ignored voxels).

    Args:
        logits: ``(B, K, *spatial)``.
        targets: gives the soft targets of a few channels at a time.
        valid: ``(B, 1, *spatial)`` boolean or None.
        regions: one sigmoid per channel instead of a softmax over them.
    """
    gradient = torch.sigmoid(logits) if regions else F.log_softmax(logits, 1)
    total = logits.new_zeros((), dtype=sum_dtype(logits))
    for first, last in chunks(logits.shape[1], logits.device):
        target, part = targets.proportions(first, last), gradient[:, first:last]
        if regions:
            losses = F.binary_cross_entropy_with_logits(logits[:, first:last], target, reduction="none")
        else:
            losses = part * target
            losses.neg_()
            part.exp_()
        part.sub_(target)
        total += precise_sum(losses if valid is None else losses.mul_(valid))
    return total, gradient
