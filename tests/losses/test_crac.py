"""The CRaC loss and its multipliers: by hand, gradients, ignored voxels, half precision, bad input."""

import math

import plain
import pytest
import torch

from nnunet_nacl.losses import CRaCLoss
from nnunet_nacl.losses.crac_multipliers import ConstraintSums, Multipliers
from nnunet_nacl.losses.neighborhood import Window

LINE = torch.tensor([[[0, 0, 0, 1, 1, 1, 1]]])  # voxels 2 and 3 are boundary
DOUBLE = {"dtype": torch.float64}


def with_multipliers(loss, lambdas, rhos):
    loss.restore({"lambdas": lambdas, "rhos": rhos, "constraint": rhos, "updates": 0})
    return loss


def random_batch(shape=(2, 3, 5, 6, 7), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*shape, generator=generator, dtype=dtype)
    target = torch.randint(0, shape[1], (shape[0], 1, *shape[2:]), generator=generator)
    target[..., 3:] = 1
    return logits, target


def mixed(labels, num_classes=2, ignore_label=None, kernel_size=3):
    valid = None if ignore_label is None else labels != ignore_label
    classes = labels.to(torch.uint8) if valid is None else labels.masked_fill(~valid, num_classes).to(torch.uint8)
    return Window(kernel_size, "mean", 1.0).is_mixed(classes, valid)


def test_boundary_is_where_the_window_holds_several_classes():
    assert mixed(LINE).int().tolist() == [[[0, 0, 1, 1, 0, 0, 0]]]
    assert mixed(LINE, kernel_size=5).int().tolist() == [[[0, 1, 1, 1, 1, 0, 0]]]
    assert mixed(LINE, kernel_size=1).int().tolist() == [[[0] * 7]]
    assert not mixed(torch.ones_like(LINE)).any(), "the edge of the patch is no boundary"


def test_classes_that_average_to_the_centre_are_a_boundary():
    """Labels 0, 1, 2: their mean is that of 1, 1, 1."""
    assert mixed(torch.tensor([[[0, 1, 2]]]), 3).all()


def test_ignored_voxels_make_no_boundary():
    labels = torch.tensor([[[0, 0, 9, 1, 1, 9, 1]]])
    assert mixed(labels, ignore_label=9).int().tolist() == [[[0, 0, 1, 0, 0, 0, 0]]]


def test_each_region_has_its_own_boundary():
    masks = torch.tensor([[[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]]).bool()
    window = Window(3, "mean", 1.0)
    assert window.is_mixed(masks, None).int().tolist() == [[[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0]]]
    valid = torch.tensor([[[1, 0, 1, 1, 0, 1]]]).bool()
    counted = window.is_mixed(masks & valid, valid) & valid
    assert not counted.any(), "inside and outside have an ignored voxel between them"


def test_by_hand():
    """Seven voxels of zero logits, two classes: h is m at five inner voxels, and 1/3 and 2/3 at two boundary ones."""
    loss = with_multipliers(CRaCLoss(margin=4.0), [[0.1, 0.2], [0.3, 0.4]], [[1.0, 2.0], [3.0, 4.0]])
    boundary = 0.0
    for tau in (2 / 3, 1 / 3):  # of class 0 at voxels 2 and 3; of class 1 it is the rest
        boundary += 0.1 * tau + 1.0 * tau**2 / 2 + 0.2 * (1 - tau) + 2.0 * (1 - tau) ** 2 / 2
    inner = 2 * (0.3 * 4 + 3.0 * 8) + 3 * (0.4 * 4 + 4.0 * 8)
    value = loss(torch.zeros(1, 2, 7, **DOUBLE), LINE)
    assert value.item() == pytest.approx(math.log(2) + (boundary + inner) / (2 * 2 * 7))


def test_no_penalty_where_the_constraints_hold():
    tau = torch.tensor([[[1, 1, 2 / 3, 1 / 3, 0, 0, 0]]], **DOUBLE)
    factor = torch.tensor([5, 5, 1, 1, 5, 5, 5.0], **DOUBLE)
    logits = torch.cat([tau, 1 - tau], 1) * factor
    loss = with_multipliers(CRaCLoss(margin=5.0), [[1e3] * 2] * 2, [[10.0] * 2] * 2)
    cross_entropy = torch.nn.functional.cross_entropy(logits, LINE[:, 0])
    torch.testing.assert_close(loss(logits, LINE), cross_entropy)


@pytest.mark.parametrize("regions", [False, True])
def test_gradient(regions):
    logits, target = random_batch((1, 2, 3, 3, 4))
    if regions:
        target = torch.cat([target == 0, target == 1, target == 7], 1)
    loss = with_multipliers(CRaCLoss(1.5, regions=regions), [[0.5, 1.0], [0.2, 2.0]], [[1.0, 0.3], [0.7, 5.0]])
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())


def test_ignored_voxels_change_no_multiplier():
    logits, target = random_batch()
    target[:, :, 2] = 7
    loss = CRaCLoss(ignore_label=7)
    changed = logits.clone()
    changed[:, :, 2] = 100.0
    sums, others = loss.constraint_sums(logits, target), loss.constraint_sums(changed, target)
    torch.testing.assert_close(sums.total, others.total)
    assert sums.n_voxels == (target != 7).sum()
    multipliers = loss.update(loss.constraint_sums(logits, torch.full_like(target, 7)))
    assert (multipliers.lambdas == 1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_constraint_sums_in_half_precision(dtype):
    logits, target = random_batch(dtype=torch.float32)
    half, loss = (logits * 300).to(dtype), CRaCLoss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = loss.constraint_sums(half, target)
    torch.testing.assert_close(sums.total, loss.constraint_sums(half.float(), target).total)


@pytest.mark.parametrize("regions", [False, True])
def test_constraint_sums(regions):
    """Against the derivative by lambda of the plain loss, which is the mean constraint over 2K."""
    logits, target = random_batch()
    valid = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.8
    lambdas = torch.ones(2, 3, **DOUBLE, requires_grad=True)
    options = {"margin": 2.0, "lambdas": lambdas, "rhos": torch.ones(2, 3, **DOUBLE)}
    if regions:
        masks = torch.cat([target <= 1, target == 1, target == 2], 1) & valid
        target = torch.cat([masks, ~valid], 1)
        plain.crac_regions(logits, masks, valid, **options).backward()
    else:
        target = target.masked_fill(~valid, 7)
        plain.crac(logits, target, **options, ignore_label=7).backward()
    loss = CRaCLoss(2.0, ignore_label=7, regions=regions)
    torch.testing.assert_close(loss.constraint_sums(logits, target).mean(), 6 * lambdas.grad)


def test_sums_of_batches_add_up():
    logits, target = random_batch()
    loss = CRaCLoss()
    halves = [loss.constraint_sums(logits[[i]], target[[i]]) for i in range(2)]
    both, whole = halves[0] + halves[1], loss.constraint_sums(logits, target)
    torch.testing.assert_close(both.total, whole.total)
    assert both.n_voxels == whole.n_voxels == target.numel()


def sums(mean, n_voxels=4):
    return ConstraintSums(torch.tensor(mean, **DOUBLE) * n_voxels, torch.tensor(n_voxels))


def test_lambda_becomes_the_mean_derivative_of_the_penalty():
    """Over all voxels, those of the other kind with h = 0."""
    logits, target = random_batch()
    loss = CRaCLoss(2.0, rho=0.5)
    first = loss.update(loss.constraint_sums(logits, target)).lambdas.clone()
    expected = 1e-6 + 0.5 * loss.constraint_sums(logits, target).mean()
    torch.testing.assert_close(first, expected)
    difference = torch.zeros(6, requires_grad=True, **DOUBLE)
    # the derivative of the PHR penalty at the mean, per class and kind: the penalty is quadratic, so means can be taken first
    h = loss.constraint_sums(logits, target).mean().flatten()
    plain.phr(h + difference, first.flatten(), torch.full((6,), 0.5)).sum().backward()
    torch.testing.assert_close(loss.update(loss.constraint_sums(logits, target)).lambdas.flatten(), difference.grad)


def test_lambda_stays_within_its_bounds():
    multipliers = Multipliers(1, rho=1.0, largest=2.0)
    multipliers.update(sums([[5.0], [0.0]]))
    assert multipliers.lambdas.tolist() == [[2.0], [1e-6]]


def test_rho_grows_each_tenth_time_where_there_is_no_progress():
    """Channel 0 at the boundary stays, channel 1 falls below 0.9 of the last; the inner ones the other way round."""
    multipliers = Multipliers(2, rho=1.0, largest=1e6)
    for _ in range(9):
        multipliers.update(sums([[1.0, 1.0], [1.0, 1.0]]))
    assert (multipliers.rhos == 1).all()
    multipliers.update(sums([[0.91, 0.89], [0.89, 0.91]]))
    torch.testing.assert_close(multipliers.rhos, torch.tensor([[1.2, 1.0], [1.0, 1.2]], **DOUBLE))
    for _ in range(9):
        multipliers.update(sums([[0.5, 0.5], [0.5, 0.5]]))
    torch.testing.assert_close(multipliers.rhos, torch.tensor([[1.2, 1.0], [1.0, 1.2]], **DOUBLE))


def test_rho_is_at_most_ten():
    multipliers = Multipliers(1, rho=9.0, largest=1e6)
    for _ in range(20):
        multipliers.update(sums([[1.0], [1.0]]))
    assert multipliers.rhos.tolist() == [[10.0], [10.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_diverged_network_leaves_the_multipliers_alone(value):
    multipliers = Multipliers(1, rho=1.0, largest=1e6)
    for _ in range(9):
        multipliers.update(sums([[1.0], [1.0]]))
    multipliers.update(sums([[value], [1.0]]))
    assert multipliers.lambdas[0].item() == pytest.approx(9)
    assert multipliers.lambdas[1].item() == pytest.approx(10)
    assert multipliers.rhos.tolist() == [[1.0], [1.2]]
    assert multipliers.constraint.tolist() == [[1.0], [1.0]]


def test_follows_its_multipliers_however_they_change():
    """What is kept on a device is not older than they are."""
    logits, target = random_batch()
    loss = CRaCLoss()
    values = [loss(logits, target)]
    loss.multipliers.lambdas[:] = 1.0
    values.append(loss(logits, target))
    for lambdas in (2.0, 3.0):
        loss.multipliers.lambdas = torch.full((2, 3), lambdas, **DOUBLE)
    values.append(loss(logits, target))
    loss.update(loss.constraint_sums(logits, target))
    values.append(loss(logits, target))
    assert values == sorted(set(values))
    assert loss(logits, target) == values[-1]
    kept = loss.multipliers.on(logits.device, logits.dtype)
    assert kept is loss.multipliers.on(logits.device, logits.dtype)


def test_state_dict_carries_the_multipliers():
    logits, target = random_batch()
    loss = CRaCLoss()
    for _ in range(3):
        loss.update(loss.constraint_sums(logits, target))
    other = CRaCLoss()
    other.load_state_dict(loss.state_dict())
    assert other.multipliers.state() == loss.multipliers.state()
    assert other.multipliers.updates == 3
    torch.testing.assert_close(other(logits, target), loss(logits, target), rtol=0, atol=0)
    assert CRaCLoss().load_state_dict(CRaCLoss().state_dict()) is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": -1.0}, "`margin` to be a finite number >= 0, but got -1.0"),
        ({"rho": 0.0}, "`rho` to be above 0 and at most 10.0, but got 0.0"),
        ({"rho": 11.0}, "`rho` to be above 0 and at most 10.0, but got 11.0"),
        ({"max_lambda": 0.0}, "`max_lambda` to be at least 1e-06, but got 0.0"),
        ({"kernel_size": 2}, "odd"),
    ],
)
def test_refuses_bad_hyper_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        CRaCLoss(**arguments)


def test_refuses_another_number_of_channels():
    loss = CRaCLoss()
    loss(*random_batch())
    with pytest.raises(ValueError, match="Expected 3 channels, as in the first batch, but got 2"):
        loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"rhos of shape \(2, 3\), but got \(2, 1\)"):
        loss.restore({"lambdas": [[1.0] * 3] * 2, "rhos": [[1.0]] * 2, "constraint": [[1.0] * 3] * 2, "updates": 0})
