"""The fast forms against the plain ones, values and gradients, over random shapes, windows and ignore patterns."""

import plain
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_nacl.losses import CRaCLoss, NACLLoss, SVLSLoss

windows = st.fixed_dictionaries(
    {"kernel_size": st.sampled_from([3, 5]), "sigma": st.floats(0.4, 2)},
)
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3)
TOLERANCE = {torch.float64: {"rtol": 1e-12, "atol": 1e-13}, torch.float32: {"rtol": 1e-6, "atol": 1e-6}}


def assert_same(fast, slow, logits):
    results = []
    for loss in (fast, slow):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf)
        (3 * value).backward()
        results.append((value.detach(), leaf.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE[logits.dtype])


def random_batch(shape, channels, ignored, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, channels, *shape, generator=generator, dtype=dtype)
    valid = torch.rand(2, 1, *shape, generator=generator) >= ignored
    labels = torch.randint(0, channels, (2, 1, *shape), generator=generator)
    masks = torch.rand(2, channels, *shape, generator=generator) < 0.4
    return logits, labels, masks & valid, valid


@settings(max_examples=60)
@given(
    shape=shapes,
    channels=st.integers(2, 4),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    window=windows,
    kernel=st.sampled_from(["mean", "gaussian", "svls"]),
    norm=st.sampled_from(["l1", "l2"]),
    class_reduction=st.sampled_from(["mean", "sum"]),
    regions=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_nacl(shape, channels, ignored, dtype, window, kernel, norm, class_reduction, regions, seed):
    logits, labels, masks, valid = random_batch(shape, channels, ignored, dtype, seed)
    window = window | {"kernel": kernel}
    options = {"weight": 0.3, "norm": norm, "class_reduction": class_reduction}
    if regions:
        fast = NACLLoss(**options, **window, regions=True)
        target = torch.cat([masks, ~valid], 1) if ignored else masks
        assert_same(
            lambda x: fast(x, target), lambda x: plain.nacl_regions(x, masks, valid, **options, **window), logits
        )
    else:
        ignore_label = 9 if ignored else None
        target = labels.masked_fill(~valid, 9)
        fast = NACLLoss(**options, **window, ignore_label=ignore_label)
        slow = lambda x: plain.nacl(x, target, **options, **window, ignore_label=ignore_label)  # noqa: E731
        assert_same(lambda x: fast(x, target), slow, logits)


@settings(max_examples=40)
@given(
    shape=shapes,
    channels=st.integers(2, 4),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    window=windows,
    regions=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_svls(shape, channels, ignored, dtype, window, regions, seed):
    logits, labels, masks, valid = random_batch(shape, channels, ignored, dtype, seed)
    if regions:
        fast = SVLSLoss(**window, regions=True)
        target = torch.cat([masks, ~valid], 1) if ignored else masks
        assert_same(lambda x: fast(x, target), lambda x: plain.svls_regions(x, masks, valid, **window), logits)
    else:
        ignore_label = 9 if ignored else None
        target = labels.masked_fill(~valid, 9)
        fast = SVLSLoss(**window, ignore_label=ignore_label)
        assert_same(lambda x: fast(x, target), lambda x: plain.svls(x, target, ignore_label, **window), logits)


@settings(max_examples=40, deadline=None)
@given(
    shape=shapes,
    channels=st.integers(2, 4),
    raters=st.integers(2, 4),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    window=windows,
    seed=st.integers(0, 2**16),
)
def test_svls_of_several_raters(shape, channels, raters, ignored, dtype, window, seed):
    logits, _, _, _ = random_batch(shape, channels, 0.0, dtype, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    target = torch.randint(0, channels, (2, raters, *shape), generator=generator)
    target.masked_fill_(torch.rand(target.shape, generator=generator) < ignored, 9)
    ignore_label = 9 if ignored else None
    fast = SVLSLoss(**window, ignore_label=ignore_label, raters=raters)
    slow = lambda x: plain.svls_raters(x, target, ignore_label, **window)  # noqa: E731
    assert_same(lambda x: fast(x, target), slow, logits)


@settings(max_examples=60)
@given(
    shape=shapes,
    channels=st.integers(2, 4),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    kernel_size=st.sampled_from([1, 3, 5]),
    margin=st.floats(0, 5),
    blocks=st.booleans(),
    regions=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_crac(shape, channels, ignored, dtype, kernel_size, margin, blocks, regions, seed):
    logits, labels, masks, valid = random_batch(shape, channels, ignored, dtype, seed)
    if blocks:  # half of the patch of one class, so that there are inner voxels too
        labels[..., shape[-1] // 2 :], masks[..., shape[-1] // 2 :] = 1, valid[..., shape[-1] // 2 :]
    generator = torch.Generator().manual_seed(seed + 1)
    lambdas, rhos = torch.rand(2, 2, channels, generator=generator, dtype=torch.float64) + 0.01
    options = {"margin": margin, "lambdas": lambdas, "rhos": rhos, "kernel_size": kernel_size}
    ignore_label = 9 if ignored else None
    fast = CRaCLoss(margin, kernel_size=kernel_size, ignore_label=ignore_label, regions=regions)
    fast.restore({"lambdas": lambdas.tolist(), "rhos": rhos.tolist(), "constraint": rhos.tolist(), "updates": 1})
    if regions:
        target = torch.cat([masks, ~valid], 1) if ignored else masks
        slow = lambda x: plain.crac_regions(x, masks, valid, **options)  # noqa: E731
    else:
        target = labels.masked_fill(~valid, 9)
        slow = lambda x: plain.crac(x, target, **options, ignore_label=ignore_label)  # noqa: E731
    assert_same(lambda x: fast(x, target), slow, logits)


def test_many_classes_and_large_windows():
    """Above 255 classes and 255 voxels of window, the small integers are wider."""
    logits, labels, _, _ = random_batch((7, 7, 7), 300, 0.0, torch.float64, 0)
    options = {"weight": 0.1, "norm": "l1", "class_reduction": "mean", "kernel_size": 7}
    fast = NACLLoss(**options)
    assert_same(lambda x: fast(x, labels), lambda x: plain.nacl(x, labels, **options), logits)


def test_gradient_can_be_asked_for_twice():
    logits, labels, _, _ = random_batch((4, 4), 3, 0.0, torch.float32, 0)
    leaf = logits.requires_grad_()
    value = NACLLoss()(leaf, labels)
    first, second = (torch.autograd.grad(value, leaf, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)
