"""mL1-ACE: by hand, against a plain form that autograd differentiates, labels and regions, ignored voxels, half precision."""

import math

import plain
import pytest
import torch
import torch.nn.functional as F

from nnunet_nacl.losses import L1ACELoss

BINNINGS = ["hard", "soft"]


def random_batch(shape=(2, 3, 4, 5, 6), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator, dtype=dtype)
    return logits, torch.randint(0, shape[1], (shape[0], 1, *shape[2:]), generator=generator)


def logits_of(*probabilities):
    """Logits of one image, two classes and one axis, whose second class has these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([(1 - p).log(), p.log()])[None]


def value_and_gradient(loss, logits):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf)
    value.backward()
    return value.detach(), leaf.grad


def test_hard_by_hand():
    """Four bins. Class 1: (0, .25] holds .1 and .2, one of them right; (.75, 1] holds .9, right; so does class 0."""
    logits, target = logits_of(0.1, 0.2, 0.9), torch.tensor([[0, 1, 1]])
    error = (abs(0.15 - 0.5) + abs(0.9 - 1)) / 2  # the same for class 0: .9 and .8, one right; .1, wrong
    cross_entropy = -(math.log(0.9) + math.log(0.2) + math.log(0.9)) / 3
    assert L1ACELoss(bins=4)(logits, target).item() == pytest.approx(cross_entropy + error)
    assert L1ACELoss(0.5, bins=4)(logits, target).item() == pytest.approx(cross_entropy + 0.5 * error)


def test_soft_by_hand():
    """Two bins, centres at .25 and .75: .1 belongs to the first, .5 half to each, .8 to the second."""
    logits, target = logits_of(0.1, 0.5, 0.8), torch.tensor([[0, 1, 1]])
    first = abs((0.1 - 0) + 0.5 * (0.5 - 1)) / 1.5
    second = abs((0.8 - 1) + 0.5 * (0.5 - 1)) / 1.5
    cross_entropy = -(math.log(0.9) + math.log(0.5) + math.log(0.8)) / 3
    loss = L1ACELoss(bins=2, binning="soft")
    assert loss(logits, target).item() == pytest.approx(cross_entropy + (first + second) / 2)


@pytest.mark.parametrize("binning", BINNINGS)
def test_one_bin_compares_the_mean_probability_with_the_share_of_the_class(binning):
    logits, target = logits_of(0.1, 0.5, 0.9, 0.7), torch.tensor([[0, 0, 1, 0]])
    error = L1ACELoss(bins=1, binning=binning)(logits, target) - F.cross_entropy(logits, target)
    assert error.item() == pytest.approx(2.2 / 4 - 1 / 4)


def test_a_probability_on_an_edge_belongs_to_the_bin_below():
    """Bins (0, .5] and (.5, 1]: .5 falls in with .25, not with .75."""
    logits, target = logits_of(0.25, 0.5, 0.75)[:, 1:], torch.tensor([[[0, 1, 1]]])
    logits = (logits.exp() / (1 - logits.exp())).log()
    error = L1ACELoss(bins=2, regions=True)(logits, target) - F.binary_cross_entropy_with_logits(
        logits, target.double()
    )
    assert error.item() == pytest.approx((abs(0.375 - 0.5) + 0.25) / 2)


@pytest.mark.parametrize("binning", BINNINGS)
def test_zero_and_one_have_a_bin(binning):
    logits = torch.tensor([[[-1e4, 1e4, 1e4]]], dtype=torch.float64)
    loss = L1ACELoss(binning=binning, regions=True)
    assert loss(logits, torch.tensor([[[0, 1, 1]]])).item() == 0


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize("bins", [1, 2, 5, 20])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (3, 2, 7, 8), (1, 4, 40)])
@pytest.mark.parametrize("ignored", [False, True])
def test_equals_the_plain_form(binning, bins, shape, ignored):
    logits, target = random_batch(shape)
    if ignored:
        target = target.masked_fill(torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.3, 9)
    ignore_label = 9 if ignored else None
    fast = L1ACELoss(0.7, bins, binning, ignore_label)
    torch.testing.assert_close(
        value_and_gradient(lambda x: fast(x, target), logits),
        value_and_gradient(lambda x: plain.l1ace(x, target, 0.7, bins, binning, ignore_label), logits),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize("ignored", [False, True])
def test_regions_equal_the_plain_form(binning, ignored):
    logits, _ = random_batch()
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand((2, 1, 4, 5, 6), generator=generator) >= (0.3 if ignored else 0)
    masks = (torch.rand(logits.shape, generator=generator) < 0.4) & valid
    masks[1, 2] = False
    target = torch.cat([masks, ~valid], 1) if ignored else masks
    fast = L1ACELoss(0.7, 5, binning, regions=True)
    torch.testing.assert_close(
        value_and_gradient(lambda x: fast(x, target), logits),
        value_and_gradient(lambda x: plain.l1ace_regions(x, masks, valid, 0.7, 5, binning), logits),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("ignored", [False, True])
def test_gradient(binning, regions, ignored):
    """No probability of this batch lies within the step of gradcheck from an edge (hard) or a centre (soft)."""
    logits, target = random_batch((2, 3, 3, 4))
    probabilities = logits.sigmoid() if regions else logits.softmax(1)
    position = probabilities * 5 - (0 if binning == "hard" else 0.5)
    assert (position - position.round()).abs().min() > 1e-4
    if regions:
        target = torch.cat([target > 0, target == 1, target == 2], 1)
        target = torch.cat([target, logits[:, :1] > 2], 1) if ignored else target
    elif ignored:
        target[:, :, 1] = 7
    loss = L1ACELoss(bins=5, binning=binning, ignore_label=7 if ignored and not regions else None, regions=regions)
    assert torch.autograd.gradcheck(lambda leaf: loss(leaf, target), logits.requires_grad_())


@pytest.mark.parametrize("binning", BINNINGS)
def test_hard_and_soft_are_zero_for_a_calibrated_prediction(binning):
    """One voxel in five is of class 1, and every voxel says one fifth: nothing is left but the cross-entropy."""
    target = torch.tensor([[0, 0, 1, 0, 0]])
    logits = logits_of(*[0.2] * 5)
    torch.testing.assert_close(L1ACELoss(binning=binning)(logits, target), F.cross_entropy(logits, target))


@pytest.mark.parametrize("binning", BINNINGS)
def test_a_batch_is_the_mean_of_its_images(binning):
    logits, target = random_batch()
    loss = L1ACELoss(binning=binning)
    apart = [loss(logits[image : image + 1], target[image : image + 1]) for image in range(2)]
    torch.testing.assert_close(loss(logits, target), torch.stack(apart).mean())


@pytest.mark.parametrize("binning", BINNINGS)
def test_an_absent_class_contributes_nothing(binning):
    """Its bins are left out, but it counts in the mean over the classes."""
    logits, target = random_batch((1, 2, 4, 5))
    third = torch.full_like(logits[:, :1], -1e4)
    target = target.masked_fill(target == 1, 0).contiguous()
    target[0, 0, 0, 0] = 1
    two, three = (L1ACELoss(binning=binning)(x, target) for x in (logits, torch.cat([logits, third], 1)))
    cross_entropy = F.cross_entropy(logits, target[:, 0])
    torch.testing.assert_close((two - cross_entropy) * 2, (three - cross_entropy) * 3)


@pytest.mark.parametrize("binning", BINNINGS)
def test_ignored_voxels_might_as_well_not_be_there(binning):
    logits, target = random_batch()
    target[:, :, 2] = 7
    loss = L1ACELoss(binning=binning, ignore_label=7)
    kept = [0, 1, 3]
    torch.testing.assert_close(loss(logits, target), L1ACELoss(binning=binning)(logits[:, :, kept], target[:, :, kept]))


def test_sums_are_exact_over_many_voxels():
    """More voxels in a bin than float32 can count (2 ** 24): the plain float32 sum stops there."""
    n_rows, row = 2**14, 1280
    logits = torch.zeros(1, 1, n_rows, row)
    target = torch.zeros(1, 1, n_rows, row)
    target[:, :, :, : row // 4] = 1
    with torch.no_grad():
        value = L1ACELoss(regions=True)(logits, target)
    assert value.item() == pytest.approx(math.log(2) + 0.25, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -0.1}, "`weight` to be a finite number >= 0, but got -0.1"),
        ({"bins": 0}, "`bins` to be a whole number >= 1, but got 0"),
        ({"bins": 2.5}, "`bins` to be a whole number >= 1, but got 2.5"),
        ({"binning": "fuzzy"}, "`binning` to be one of .*'hard'.*got 'fuzzy'"),
    ],
)
def test_refuses_bad_hyper_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        L1ACELoss(**arguments)
