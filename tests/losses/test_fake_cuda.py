"""The losses on a CUDA device that is not there: everything stays on it, and nothing waits for it."""

import pytest
import torch
from every_loss import IGNORE, each_loss
from fake_cuda import CUDA, backward, fake_cuda
from torch._subclasses.fake_tensor import FakeTensorMode

from nnunet_nacl.losses import CRaCLoss, NACLLoss, SVLSLoss

pytestmark = pytest.mark.skipif(
    not hasattr(FakeTensorMode, "avoid_device_init"), reason="needs PyTorch whose fake tensors do without a driver"
)
KINDS = {
    "labels": (False, None),
    "labels, ignore": (False, IGNORE),
    "regions": (True, None),
    "regions, ignore": (True, IGNORE),
}
each_kind = pytest.mark.parametrize(("regions", "ignore"), KINDS.values(), ids=KINDS)


def batch(shape, regions=False, ignore=None, classes=9, raters=1):
    """Half precision logits as a network gives them under autocast, and the target as nnU-Net sends it."""
    logits = torch.empty(2, classes, *shape, dtype=torch.float16, device=CUDA, requires_grad=True)
    if regions:
        return logits, torch.empty(2, classes + (ignore is not None), *shape, dtype=torch.bool, device=CUDA)
    return logits, torch.empty(2, raters, *shape, device=CUDA)


def assert_stays(loss, logits, target):
    with torch.autocast("cuda", torch.float16):
        value = loss(logits, target)
    assert value.device == CUDA
    assert value.dtype == torch.float32
    (gradient,) = backward(value).values()
    assert gradient.device == CUDA
    assert gradient.dtype == logits.dtype
    assert gradient.shape == logits.shape


@each_loss
@each_kind
def test_stays_on_the_device(make, regions, ignore):
    loss = make(ignore_label=ignore, regions=regions)
    with fake_cuda() as said:
        if isinstance(loss, CRaCLoss):
            # sends its multipliers once
            loss(*batch((4, 5, 6), regions, ignore))
            assert [line.split(":")[0] for line in said] == ["to the device, crac_multipliers.py"] * 2
            said.clear()
        assert_stays(loss, *batch((4, 5, 6), regions, ignore))
    assert said == []


OTHERS = {
    "NACL, svls kernel": (NACLLoss(kernel="svls", sigma=0.5, ignore_label=IGNORE), 1),
    "NACL, 343 voxels": (NACLLoss(kernel_size=7), 1),
    "NACL, one slice": (NACLLoss(kernel_size=(1, 3, 3)), 1),
    "SVLS, raters": (SVLSLoss(raters=3), 3),
    "SVLS, raters, ignore": (SVLSLoss(raters=3, ignore_label=IGNORE), 3),
}


@pytest.mark.parametrize(("loss", "raters"), OTHERS.values(), ids=OTHERS)
def test_other_windows_and_raters(loss, raters):
    with fake_cuda() as said:
        assert_stays(loss, *batch((5, 6, 7), raters=raters))
    assert said == []


@each_loss
def test_2d(make):
    with fake_cuda() as said:
        loss, of_batch = make(), batch((5, 6), classes=2)
        loss(*of_batch)
        said.clear()
        assert_stays(loss, *of_batch)
    assert said == []


def test_more_classes_than_a_byte_holds():
    with fake_cuda() as said:
        assert_stays(SVLSLoss(ignore_label=1000), *batch((5, 6), classes=257))
    assert said == []


@each_kind
def test_constraints_of_validation_are_summed_on_the_device(regions, ignore):
    loss = CRaCLoss(ignore_label=ignore, regions=regions)
    with fake_cuda() as said:
        sums = loss.constraint_sums(*batch((4, 5, 6), regions, ignore))
        sums += loss.constraint_sums(*batch((4, 5, 6), regions, ignore))
        assert said == []
        assert sums.total.device == sums.n_voxels.device == CUDA
        loss.update(sums)
    # once an epoch: the multipliers are on the CPU, in nnU-Net's log
    assert said == ["from the device, crac_multipliers.py: mean"] * 2


def test_a_loss_of_another_device_is_an_error():
    with fake_cuda():
        logits, target = batch((4, 5), regions=True)
        with pytest.raises(RuntimeError, match="same device"):
            NACLLoss(regions=True)(logits, target.cpu())


WAITS = {
    "value": lambda values: values.sum().item(),
    "nonzero": lambda values: values[values > 0],
    "bincount": lambda values: torch.bincount(values.flatten().long(), minlength=3),
    "to the device": lambda values: values + torch.tensor(3.0, device=CUDA),
    "from the device": lambda values: values.cpu(),
}


@pytest.mark.parametrize("what", WAITS)
def test_what_waits_is_noted(what):
    """What this file rests on."""
    with fake_cuda() as said:
        WAITS[what](torch.empty(2, 3, device=CUDA))
    assert said == [f"{what}, not of ours"]


def test_a_gradient_is_that_of_pytorch():
    """Likewise: shapes and dtypes of a backward without PyTorch's engine, in a graph with branches, casts and a function of our own."""
    with fake_cuda():
        weight = torch.empty(3, 4, device=CUDA, requires_grad=True)
        logits = (torch.empty(2, 4, dtype=torch.float16, device=CUDA) @ weight.half().T)[..., None]
        value = NACLLoss()(logits, torch.empty(2, 1, 1, device=CUDA)) + weight.square().mean() * weight.mean()
        assert set(backward(value)) == {id(weight)}
        assert backward(value)[id(weight)].shape == weight.shape
