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


# in 1D, with 3 neighbours, the kernel is 1/4, 1/2, 1/4 whatever sigma is
LOGITS_1D = torch.tensor([[[0.3, -1.0, 2.0], [1.0, 0.5, -0.2]]], dtype=torch.float64)


def cross_entropy_of_two(share_of_second, voxels):
    """The mean over some voxels of the cross-entropy against the second class's share."""
    log_p = LOGITS_1D.log_softmax(1)[0]
    terms = [-((1 - s) * log_p[0, v] + s * log_p[1, v]) for s, v in zip(share_of_second, voxels, strict=True)]
    return torch.stack(terms).mean()


def test_three_raters_by_hand():
    """The second class has the shares 0, 2/3, 2/3 before the filter."""
    raters = torch.tensor([[[0, 0, 1], [0, 1, 1], [0, 1, 0]]])
    torch.testing.assert_close(
        SVLSLoss(raters=3)(LOGITS_1D, raters), cross_entropy_of_two([1 / 6, 1 / 2, 2 / 3], [0, 1, 2])
    )


def test_ignored_raters_by_hand():
    """Opinions per voxel 2, 1, 0, votes for the second class 0, 1, 0: shares 0.25 / 1.75 and 0.5 / 1; the last is out."""
    raters = torch.tensor([[[0, 1, 9], [0, 9, 9]]])
    torch.testing.assert_close(
        SVLSLoss(ignore_label=9, raters=2)(LOGITS_1D, raters), cross_entropy_of_two([1 / 7, 1 / 2], [0, 1])
    )


def random_raters(raters, shape=(2, 3, 5, 6, 7), dtype=torch.float64):
    logits, _ = random_batch(shape, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    return logits, torch.randint(0, shape[1], (shape[0], raters, *shape[2:]), generator=generator)


def test_targets_are_the_mean_of_the_raters_proportions():
    logits, target = random_raters(3)
    each = [soft_class_proportions(rater, 3, kernel="svls", dtype=torch.float64) for rater in target.split(1, 1)]
    expected = -(torch.stack(each).mean(0) * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(SVLSLoss(raters=3)(logits, target), expected)


@pytest.mark.parametrize("ignore_label", [None, 2])
def test_equal_raters_are_one(ignore_label):
    logits, target = random_batch()
    logits = logits[:, :2] if ignore_label else logits
    one, several = SVLSLoss(ignore_label=ignore_label), SVLSLoss(ignore_label=ignore_label, raters=4)
    torch.testing.assert_close(several(logits, target.expand(-1, 4, -1, -1, -1)), one(logits, target))


def test_a_rater_without_opinion_does_not_matter():
    logits, target = random_raters(3)
    target[:, 1] = 7
    torch.testing.assert_close(
        SVLSLoss(ignore_label=7, raters=3)(logits, target), SVLSLoss(raters=2)(logits, target[:, [0, 2]])
    )


@pytest.mark.parametrize("ignored", [0.0, 0.4, 1.0])
def test_gradient_of_several_raters(ignored):
    logits, target = random_raters(3, (2, 3, 3, 4))
    target[torch.rand(target.shape, generator=torch.Generator().manual_seed(2)) < ignored] = 7
    loss = SVLSLoss(ignore_label=7, raters=3)
    assert torch.autograd.gradcheck(lambda leaf: loss(leaf, target), logits.requires_grad_())


def test_raters_in_half_precision_stay_finite():
    logits, target = random_raters(3, dtype=torch.float32)
    half = (logits * 2000).half().requires_grad_()
    value = SVLSLoss(raters=3)(half, target.to(torch.int16))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(half.grad).all()


@pytest.mark.parametrize(("raters", "channels"), [(1, 3), (3, 1), (3, 2)])
def test_refuses_another_number_of_raters(raters, channels):
    logits, target = random_raters(channels)
    with pytest.raises(ValueError, match=rf"shape \(2, {raters}, 5, 6, 7\).*but got \(2, {channels}, 5, 6, 7\)"):
        SVLSLoss(raters=raters)(logits, target)


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
    with pytest.raises(ValueError, match="`raters` to be a whole number >= 1, but got 0"):
        SVLSLoss(raters=0)
    with pytest.raises(ValueError, match="`raters` to be 1 with regions, but got 2"):
        SVLSLoss(raters=2, regions=True)
