"""Every loss with hyper-parameters other than the defaults, and a batch for all of them."""

from functools import partial

import pytest
import torch

from nnunet_nacl.losses import (
    CRaCLoss,
    ECPLoss,
    FocalLoss,
    L1ACELoss,
    LabelSmoothingLoss,
    MbLSLoss,
    NACLLoss,
    SVLSLoss,
)

LOSSES = {
    "NACL": partial(NACLLoss, weight=0.2, kernel_size=5, kernel="gaussian", sigma=2.0, class_reduction="sum"),
    "NACL, l2": partial(NACLLoss, norm="l2"),
    "SVLS": partial(SVLSLoss, sigma=2.0),
    "MbLS": partial(MbLSLoss, margin=1.0),
    "LS": partial(LabelSmoothingLoss, 0.2),
    "Focal": partial(FocalLoss, 2.0),
    "ECP": partial(ECPLoss, 0.3),
    "L1ACE, hard": partial(L1ACELoss, 0.2, 10),
    "L1ACE, soft": partial(L1ACELoss, binning="soft"),
    "CRaC": partial(CRaCLoss, margin=2.0, rho=5.0, max_lambda=3.0),
}
each_loss = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
labels_and_regions = pytest.mark.parametrize("regions", [False, True])
IGNORE = 7


def random_batch(regions, ignored=(), dtype=torch.float32):
    """Logits of two patches, and a target in which some slices are ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 3, 4, 5, 6, generator=generator, dtype=dtype)
    target = torch.randint(0, 3, (2, 1, 4, 5, 6), generator=generator)
    target[:, :, list(ignored)] = IGNORE
    if regions:
        target = torch.cat([target == 0, target == 1, (target == 1) | (target == 2), target == IGNORE], 1)
    return logits, target


def value_and_gradient(loss, logits, target):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    return value.detach(), leaf.grad
