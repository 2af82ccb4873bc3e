"""MbLS, label smoothing, focal loss and confidence penalty: by hand, against PyTorch and MONAI, labels and regions."""

import math

import pytest
import torch
import torch.nn.functional as F

from nnunet_nacl.losses import ECPLoss, FocalLoss, LabelSmoothingLoss, MbLSLoss

LOSSES = [MbLSLoss(margin=1.0), LabelSmoothingLoss(), FocalLoss(), ECPLoss()]


def random_batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 3, 4, 5, 6, generator=generator, dtype=dtype)
    return logits, torch.randint(0, 3, (2, 1, 4, 5, 6), generator=generator)


def named(loss):
    return type(loss).__name__


def test_mbls_by_hand():
    logits, target = torch.tensor([[[12.0], [0.0], [1.0]]]), torch.tensor([[0]])
    expected = math.log(1 + math.exp(-12) + math.exp(-11)) + 0.1 * ((12 - 10) + (11 - 10)) / 3
    assert MbLSLoss()(logits, target).item() == pytest.approx(expected)


def test_label_smoothing_equals_pytorch():
    logits, target = random_batch()
    torch.testing.assert_close(
        LabelSmoothingLoss(0.2)(logits, target), F.cross_entropy(logits, target[:, 0], label_smoothing=0.2)
    )


def test_focal_equals_its_formula_and_gamma_zero_is_cross_entropy():
    logits, target = random_batch()
    cross_entropy = F.cross_entropy(logits, target[:, 0], reduction="none")
    torch.testing.assert_close(
        FocalLoss()(logits, target), ((1 - torch.exp(-cross_entropy)) ** 3 * cross_entropy).mean()
    )
    torch.testing.assert_close(FocalLoss(0)(logits, target), cross_entropy.mean())


def test_focal_equals_monai():
    losses = pytest.importorskip("monai.losses")
    logits, target = random_batch(torch.float32)
    theirs = losses.FocalLoss(gamma=3.0, use_softmax=True, to_onehot_y=True, include_background=True, reduction="none")
    torch.testing.assert_close(FocalLoss()(logits, target), theirs(logits, target).sum(1).mean())


def test_ecp_equals_its_formula():
    logits, target = random_batch()
    entropy = torch.distributions.Categorical(logits=logits.movedim(1, -1)).entropy().mean()
    torch.testing.assert_close(ECPLoss()(logits, target), F.cross_entropy(logits, target[:, 0]) - 0.1 * entropy)


@pytest.mark.parametrize("loss", LOSSES, ids=named)
def test_gradient(loss):
    logits, target = random_batch()
    logits, target = logits[:1, :, :2, :2, :2], target[:1, :, :2, :2, :2]
    assert torch.autograd.gradcheck(lambda leaf: loss(leaf, target), logits.requires_grad_())


@pytest.mark.parametrize("loss", LOSSES, ids=named)
def test_ignored_voxels_might_as_well_not_be_there(loss):
    logits, target = random_batch()
    target[:, :, 2] = 7
    kept = [0, 1, 3]
    torch.testing.assert_close(
        type(loss)(ignore_label=7)(logits, target), type(loss)()(logits[:, :, kept], target[:, :, kept])
    )


@pytest.mark.parametrize("loss", LOSSES, ids=named)
def test_a_region_is_a_softmax_over_zero_and_its_logit(loss):
    logits, target = random_batch()
    logits, masks = logits[:, :1], (target > 0).float()
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(type(loss)(regions=True)(logits, masks), type(loss)()(two, masks))


def test_regions_are_averaged_and_the_last_channel_ignores():
    logits, target = random_batch()
    masks = torch.cat([target == 1, target > 0, target == 2], 1)
    expected = F.binary_cross_entropy_with_logits(logits, masks.double())
    torch.testing.assert_close(FocalLoss(0, regions=True)(logits, masks), expected)
    ignored = torch.zeros_like(target, dtype=torch.bool)
    ignored[:, :, 1:] = True
    with_ignored = FocalLoss(0, regions=True)(logits, torch.cat([masks, ignored], 1))
    torch.testing.assert_close(
        with_ignored, F.binary_cross_entropy_with_logits(logits[:, :, :1], masks[:, :, :1].double())
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MbLSLoss(weight=-1), "`weight` to be a finite number >= 0, but got -1"),
        (lambda: MbLSLoss(margin=float("nan")), "`margin`"),
        (lambda: LabelSmoothingLoss(1.5), "from 0 to 1, but got 1.5"),
        (lambda: FocalLoss(-1), "`gamma`"),
        (lambda: ECPLoss(-1), "`weight`"),
    ],
)
def test_refuses_bad_hyper_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_refuses_region_targets_of_another_shape():
    logits, _ = random_batch()
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 5, 6\).*one more channel.*got \(2, 5, 4, 5, 6\)"):
        FocalLoss(regions=True)(logits, torch.zeros(2, 5, 4, 5, 6))
