"""What every loss keeps to: ignored voxels, half precision, autocast, no gradient where none is wanted, and how it prints."""

import sys

import pytest
import torch
from every_loss import IGNORE, each_loss, labels_and_regions, random_batch, value_and_gradient
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_nacl.losses import (  # noqa: F401 (a printed loss is evaluated)
    CRaCLoss,
    ECPLoss,
    FocalLoss,
    L1ACELoss,
    LabelSmoothingLoss,
    MbLSLoss,
    NACLLoss,
    SVLSLoss,
    targets,
)


@each_loss
@labels_and_regions
def test_ignored_voxels_do_not_matter(make, regions):
    logits, target = random_batch(regions, ignored=[2], dtype=torch.float64)
    loss = make(ignore_label=IGNORE, regions=regions)
    value, gradient = value_and_gradient(loss, logits, target)
    assert value > 0
    assert (gradient[:, :, 2] == 0).all()
    assert (gradient[:, :, [0, 1, 3]] != 0).any()
    changed = logits.clone()
    changed[:, :, 2] = 100.0
    torch.testing.assert_close(loss(changed, target), value)


@each_loss
@labels_and_regions
def test_nothing_but_ignored_voxels_gives_zero_and_a_zero_gradient(make, regions):
    logits, target = random_batch(regions, ignored=range(4))
    value, gradient = value_and_gradient(make(ignore_label=IGNORE, regions=regions), logits, target)
    assert value == 0
    assert (gradient == 0).all()


@each_loss
@labels_and_regions
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(make, regions, dtype):
    """Also where a square, 600 ** 2, or a sum is above the largest float16."""
    logits, target = random_batch(regions)
    half, loss = (300 * logits).to(dtype), make(ignore_label=IGNORE, regions=regions)
    value, gradient = value_and_gradient(loss, half, target)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(value, loss(half.float(), target))


@each_loss
@labels_and_regions
def test_autocast_changes_nothing(make, regions):
    logits, target = random_batch(regions)
    loss = make(ignore_label=IGNORE, regions=regions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = value_and_gradient(loss, logits, target)
    torch.testing.assert_close(inside, value_and_gradient(loss, logits, target))


@each_loss
@labels_and_regions
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0), (2, 0, 4, 5)])
def test_batch_without_a_voxel_or_a_class_is_an_error(make, regions, shape):
    """nnU-Net's own loss gives NaN, with which a training goes on for hours."""
    logits, target = torch.zeros(shape), torch.zeros(shape[0], shape[1] if regions else 1, *shape[2:])
    with pytest.raises(ValueError, match=r"`logits` to hold at least one voxel and one class, but got shape \("):
        make(regions=regions)(logits, target)


@each_loss
@pytest.mark.parametrize("ignore", [None, 1000])
@pytest.mark.parametrize(
    ("classes", "label"),
    [(3, 3), (3, 255), (3, 256), (3, -1), (3, -100), (3, 2**32 + 1), (255, 256), (256, 256), (300, -100), (300, 2**32)],
)
def test_label_that_is_not_looked_at_is_never_another_class(make, classes, label, ignore, monkeypatch):
    """As on a GPU, where an index that is none ends the program in place of an exception; -100 is what PyTorch's cross-entropy ignores."""
    monkeypatch.setattr(targets, "is_compiling", lambda: True)
    logits, target = torch.zeros(1, classes, 3, 3), torch.ones(1, 1, 3, 3, dtype=torch.int64)
    if ignore is not None:
        target[..., 0] = ignore
    loss = make(ignore_label=ignore)
    assert torch.isfinite(loss(logits, target))
    target[..., 1, 1] = label
    try:
        value, gradient = value_and_gradient(loss, logits, target)
    except (IndexError, RuntimeError) as error:
        assert "out of" in str(error)
    else:
        assert value.isnan()
        assert gradient[:, 0].isnan().any()


@each_loss
def test_no_gradient_wanted(make):
    logits, target = random_batch(regions=False)
    loss = make()
    with torch.no_grad():
        value = loss(logits, target)
    assert not value.requires_grad
    torch.testing.assert_close(value, value_and_gradient(loss, logits, target)[0])


@each_loss
def test_repr_makes_the_same_loss_again(make):
    loss = make(ignore_label=4, regions=True)
    printed = repr(loss)
    assert all(f"{name}={value!r}" in printed for name, value in make.keywords.items())
    assert printed.endswith("ignore_label=4, regions=True)") or "raters=1" in printed
    assert repr(eval(printed)) == printed


class NoFloat64(TorchDispatchMode):
    """Refuse float64, as Apple's GPUs do."""

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        result = operator(*arguments, **(keywords or {}))
        for held in result if isinstance(result, (tuple, list)) else [result]:
            assert not isinstance(held, torch.Tensor) or held.dtype != torch.float64, operator
        return result


@each_loss
@labels_and_regions
def test_does_without_float64_where_there_is_none(make, regions, monkeypatch):
    """There is no such device here: what decides on the dtype is told that there is."""
    logits, target = random_batch(regions, ignored=[2])
    loss = make(ignore_label=IGNORE, regions=regions)
    expected = value_and_gradient(loss, logits, target)
    for name, module in list(sys.modules.items()):
        if name.startswith("nnunet_nacl.losses.") and hasattr(module, "sum_dtype"):
            monkeypatch.setattr(module, "sum_dtype", lambda values: torch.float32)
    with NoFloat64():
        found = value_and_gradient(loss, logits, target)
    torch.testing.assert_close(found, expected)
