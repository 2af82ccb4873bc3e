"""Logits that are NaN or infinite: the loss is NaN, which GradScaler skips, and at ignored voxels they do not matter."""

import pytest
import torch
import torch.nn.functional as F
from every_loss import IGNORE, LOSSES, each_loss, labels_and_regions, random_batch, value_and_gradient

from nnunet_nacl.losses import CRaCLoss

INFINITE = float("inf")
each_value = pytest.mark.parametrize("value", [float("nan"), INFINITE, -INFINITE])


def with_bad_logit(value, regions, place, ignored=()):
    logits, target = random_batch(regions, ignored)
    logits[(1, 0, *place)] = value
    return logits, target


@each_loss
@labels_and_regions
@pytest.mark.parametrize("value", [float("nan"), INFINITE])
def test_leaves_no_finite_loss(make, regions, value):
    found, gradient = value_and_gradient(
        make(ignore_label=IGNORE, regions=regions), *with_bad_logit(value, regions, (0, 1, 2))
    )
    if regions and value == INFINITE:  # a region that is sure and wrong, as for PyTorch's binary cross-entropy
        assert not found.isfinite()
    else:
        assert found.isnan()
        assert not gradient.isfinite().all(), "GradScaler looks at the gradients"


@each_loss
@labels_and_regions
def test_impossible_label_gives_no_finite_loss(make, regions):
    """Minus infinity says that the class is out of the question; where it is the label, cross-entropy is infinite."""
    logits, target = with_bad_logit(-INFINITE, regions, (0, 1, 2))
    target[1, 0, 0, 1, 2] = 1 if regions else 0
    assert not make(ignore_label=IGNORE, regions=regions)(logits, target).isfinite()


@each_loss
@labels_and_regions
@each_value
def test_does_not_matter_at_an_ignored_voxel(make, regions, value):
    loss = make(ignore_label=IGNORE, regions=regions)
    expected = value_and_gradient(loss, *random_batch(regions, ignored=[2]))
    logits, target = with_bad_logit(value, regions, (2, 1, 2), ignored=[2])
    logits[0, :, 2] = value
    found = value_and_gradient(loss, logits, target)
    torch.testing.assert_close(found, expected)
    assert (found[1][:, :, 2] == 0).all()


def test_cross_entropy_of_pytorch_agrees_at_an_ignored_voxel():
    """Losses that are cross-entropy with this hyper-parameter, against PyTorch's own ignore_index."""
    logits, target = with_bad_logit(INFINITE, False, (2, 1, 2), ignored=[2])
    theirs = F.cross_entropy(logits, target[:, 0], ignore_index=IGNORE)
    assert theirs.isfinite()
    plain = {"NACL": {"weight": 0.0}, "MbLS": {"weight": 0.0}, "LS": {}, "Focal": {}, "ECP": {}, "L1ACE, hard": {}}
    for name, options in plain.items():
        make = LOSSES[name].func
        first = {
            "LS": {"smoothing": 0.0},
            "Focal": {"gamma": 0.0},
            "ECP": {"weight": 0.0},
            "L1ACE, hard": {"weight": 0.0},
        }
        torch.testing.assert_close(make(ignore_label=IGNORE, **first.get(name, options))(logits, target), theirs)


@labels_and_regions
def test_constraints_of_crac_leave_out_an_ignored_voxel(regions):
    loss = CRaCLoss(ignore_label=IGNORE, regions=regions)
    expected = loss.constraint_sums(*random_batch(regions, ignored=[2]))
    found = loss.constraint_sums(*with_bad_logit(INFINITE, regions, (2, 1, 2), ignored=[2]))
    torch.testing.assert_close(found.total, expected.total)
