"""nnU-Net's Dice term beside a calibrated loss, where a network has diverged at voxels that do not count."""

import pytest
import torch
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.helpers import softmax_helper_dim1

from nnunet_nacl.losses import NACLLoss
from nnunet_nacl.training.dice import LossPlusDice
from nnunet_nacl.training.raters import RaterLoss


def value_and_gradient(loss, logits, target):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    return value.detach(), leaf.grad


def batch(regions):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 6, generator=generator)
    target = torch.randint(0, 3, (2, 1, 6, 6), generator=generator)
    target[:, :, 2] = 7
    return logits, torch.cat([target == value for value in (0, 1, 2, 7)], 1) if regions else target


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["labels", "regions", "raters"])
def test_a_bad_logit_at_an_ignored_voxel_does_not_matter(kind, value):
    regions = kind == "regions"
    activation = torch.sigmoid if regions else softmax_helper_dim1
    dice = MemoryEfficientSoftDiceLoss(apply_nonlin=activation, batch_dice=False, do_bg=regions, ddp=False)
    loss = LossPlusDice(NACLLoss(ignore_label=7, regions=regions), dice, 7, regions)
    logits, target = batch(regions)
    if kind == "raters":
        loss, target = RaterLoss(NACLLoss(ignore_label=7), dice, 7), torch.cat([target, target], 1)
    expected = value_and_gradient(loss, logits, target)
    logits[:, :, 2] = value
    found = value_and_gradient(loss, logits, target)
    torch.testing.assert_close(found, expected)
    assert (found[1][:, :, 2] == 0).all()
