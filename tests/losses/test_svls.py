"""The SVLS loss."""

import math

import pytest
import torch

from nnunet_nacl.losses import SVLSLoss, soft_class_proportions


def random_batch(shape=(2, 3, 5, 6, 7), classes=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=dtype)
    return logits, torch.randint(0, classes, (shape[0], 1, *shape[2:]), generator=generator)


def test_kernel_by_hand():
    """2D, sigma 1: edges exp(-1/2), corners exp(-1); the centre is their sum, and all is halved by it."""
    labels = torch.zeros(1, 1, 3, 3)
    labels[0, 0, 0, 1] = 1
    edge, corner = math.exp(-0.5), math.exp(-1)
    smoothed = soft_class_proportions(labels, 2, kernel="svls")[0, 1, 1, 1].item()
    assert smoothed == pytest.approx(edge / (2 * (4 * edge + 4 * corner)))


def test_interior_is_cross_entropy():
    logits = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    target = torch.ones(1, 1, 4, 4)
    torch.testing.assert_close(SVLSLoss()(logits, target), -logits.log_softmax(1)[:, 1].mean())


def test_equals_soft_cross_entropy():
    logits, target = random_batch()
    smoothed = soft_class_proportions(target, 3, kernel="svls", dtype=torch.float64)
    torch.testing.assert_close(SVLSLoss()(logits, target), -(smoothed * logits.log_softmax(1)).sum(1).mean())


@pytest.mark.parametrize("ignore_label", [None, 2])
def test_gradient(ignore_label):
    logits, target = random_batch((2, 3 if ignore_label is None else 2, 3, 4), 3)
    loss = SVLSLoss(ignore_label=ignore_label)
    assert torch.autograd.gradcheck(lambda leaf: loss(leaf, target), logits.requires_grad_())


def test_all_ignored_patch_gives_zero_and_a_usable_gradient():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    value = SVLSLoss(ignore_label=2)(logits, torch.full((1, 1, 4, 4), 2))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignored_voxels_do_not_matter():
    logits, target = random_batch()
    target[:, :, 2] = 7
    changed = logits.clone()
    changed[:, :, 2] = 100.0
    loss = SVLSLoss(ignore_label=7)
    torch.testing.assert_close(loss(changed, target), loss(logits, target))


def test_half_precision_stays_finite():
    logits, target = random_batch(dtype=torch.float32)
    half = (logits * 2000).half().requires_grad_()
    value = SVLSLoss()(half, target)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(half.grad).all()


def test_refuses_labels_outside_the_classes():
    """Soft targets would swallow them silently."""
    logits, target = random_batch()
    with pytest.raises(ValueError, match="labels 0 to 2.*got labels from 0 to 5.*ignore_label"):
        SVLSLoss()(logits, target.masked_fill(target == 0, 5).masked_fill_(target == 1, 0))


def test_refuses_bad_hyper_parameters():
    with pytest.raises(ValueError, match="1 has no neighbours"):
        SVLSLoss(kernel_size=1)
    with pytest.raises(ValueError, match="positive"):
        SVLSLoss(sigma=-1)
