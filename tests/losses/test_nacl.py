"""The NACL loss: hand-computed values, gradients, MONAI, ignore labels, half precision, bad input."""

import math

import pytest
import torch

from nnunet_nacl.losses import NACLLoss


def random_batch(shape=(2, 3, 5, 6, 7), classes=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=dtype)
    target = torch.randint(0, classes, (shape[0], 1, *shape[2:]), generator=generator)
    return logits, target


def test_value_by_hand():
    """Two voxels of classes 0 and 1, window of 3: proportions (2/3, 1/3) and (1/3, 2/3)."""
    logits = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    cross_entropy = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    penalty = (abs(2 / 3 - 1) + 1 / 3 + 1 / 3 + 2 / 3) / 4
    assert NACLLoss(weight=0.1)(logits, torch.tensor([[0, 1]])).item() == pytest.approx(cross_entropy + 0.1 * penalty)
    squared = ((1 / 3) ** 2 + (1 / 3) ** 2 + (1 / 3) ** 2 + (2 / 3) ** 2) / 2
    loss = NACLLoss(weight=0.5, norm="l2", class_reduction="sum")(logits, torch.tensor([[0, 1]]))
    assert loss.item() == pytest.approx(cross_entropy + 0.5 * squared)


def test_weight_zero_is_cross_entropy():
    logits, target = random_batch()
    torch.testing.assert_close(
        NACLLoss(weight=0)(logits, target), torch.nn.functional.cross_entropy(logits, target[:, 0])
    )


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_confidence_ceiling(classes):
    """The documented optimum of L1 with the mean over classes: confidence 1 - weight / K in an interior."""
    logits = torch.zeros(1, classes, 3, 3, requires_grad=True, dtype=torch.float64)
    optimizer = torch.optim.SGD([logits], lr=2.0)
    for step in range(6000):
        optimizer.param_groups[0]["lr"] = 2.0 if step < 3000 else 0.02
        optimizer.zero_grad()
        NACLLoss()(logits, torch.zeros(1, 3, 3)).backward()
        optimizer.step()
    confidence = logits.softmax(1)[:, 0].mean().item()
    assert confidence == pytest.approx(1 - 0.1 / classes, abs=2e-3)


@pytest.mark.parametrize("kernel", ["mean", "gaussian", "svls"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("ignore_label", [None, 2])
def test_gradient(kernel, norm, ignore_label):
    classes = 3 if ignore_label is None else 2
    logits, target = random_batch((2, classes, 3, 4), 3)
    loss = NACLLoss(kernel=kernel, norm=norm, ignore_label=ignore_label)
    assert torch.autograd.gradcheck(lambda leaf: loss(leaf, target), logits.requires_grad_())


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_agrees_with_monai_where_the_border_is_of_no_matter(dim, distance):
    """A patch whose border is two voxels of background: there replicate and zero padding differ only in class 0."""
    losses = pytest.importorskip("monai.losses")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, *[10] * dim, generator=generator)
    target = torch.randint(0, 3, (2, *[10] * dim), generator=generator)
    monai_loss = losses.NACLLoss(classes=3, dim=dim, distance_type=distance)
    ours = NACLLoss(norm=distance)
    # Compare voxel by voxel through the gradients: a voxel's gradient holds its own terms alone.
    both = []
    for loss in (lambda x: ours(x, target[:, None]), lambda x: monai_loss(x, target)):
        leaf = logits.clone().requires_grad_()
        loss(leaf).backward()
        both.append(leaf.grad[(slice(None), slice(None), *[slice(1, -1)] * dim)])
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channel", [True, False])
def test_target_dtypes_and_shapes(dtype, channel):
    logits, target = random_batch()
    expected = NACLLoss()(logits, target)
    given = target.to(dtype) if channel else target[:, 0].to(dtype)
    torch.testing.assert_close(NACLLoss()(logits, given), expected)


def test_mean_is_over_counted_voxels_only():
    logits, _ = random_batch((1, 3, 4, 6))
    target = torch.ones(1, 1, 4, 6)  # of one class, where replicated and ignored neighbours come to the same
    whole = NACLLoss()(logits, target)
    padded_logits = torch.cat([logits, torch.randn_like(logits)], dim=3)
    padded_target = torch.cat([target, torch.full_like(target, 255)], dim=3)
    torch.testing.assert_close(NACLLoss(ignore_label=255)(padded_logits, padded_target), whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -0.1}, ">= 0, but got -0.1"),
        ({"weight": float("nan")}, ">= 0, but got nan"),
        ({"norm": "huber"}, "one of .*'l1'.*got 'huber'"),
        ({"class_reduction": "max"}, "one of .*'mean'.*got 'max'"),
        ({"kernel_size": 2}, "odd"),
        ({"kernel": "median"}, "one of"),
    ],
)
def test_refuses_bad_hyper_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        NACLLoss(**arguments)


def test_refuses_bad_tensors():
    logits, target = random_batch()
    with pytest.raises(ValueError, match=r"\(2, 1, 5, 6, 7\).*got \(2, 2, 5, 6, 7\)"):
        NACLLoss()(logits, target.expand(2, 2, 5, 6, 7))
    with pytest.raises(ValueError, match="labels 0 to 2.*got labels from 0 to 7"):
        NACLLoss()(logits, target.masked_fill(target == 1, 7))
    with pytest.raises(TypeError, match="floating point, but got dtype torch.int64"):
        NACLLoss()(logits.long(), target)
    with pytest.raises(ValueError, match="one to three spatial axes"):
        NACLLoss()(logits.reshape(2, -1), target)
