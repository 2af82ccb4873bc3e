"""Soft class proportions against a slow reference, hand-computed cases and MONAI."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_nacl.losses import soft_class_proportions
from nnunet_nacl.losses.neighborhood import Window

KERNELS = ("mean", "gaussian", "svls")


def slow_proportions(labels, num_classes, side, kernel, sigma, ignore_label=None):
    """The definition, one voxel and one neighbour at a time; labels (*spatial)."""
    half = side // 2
    offsets = list(itertools.product(range(-half, half + 1), repeat=labels.ndim))
    weights = {o: 1.0 if kernel == "mean" else math.exp(-sum(x * x for x in o) / (2 * sigma**2)) for o in offsets}
    if kernel == "svls":
        centre = (0,) * labels.ndim
        weights[centre] = sum(weight for offset, weight in weights.items() if offset != centre)
    result = np.zeros((num_classes, *labels.shape))
    for voxel in np.ndindex(labels.shape):
        total = 0.0
        for offset, weight in weights.items():
            neighbour = tuple(np.clip(np.add(voxel, offset), 0, np.array(labels.shape) - 1))
            if labels[neighbour] == ignore_label:
                continue
            result[(labels[neighbour], *voxel)] += weight
            total += weight
        if total:
            result[(slice(None), *voxel)] /= total
    return result


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    kernel=st.sampled_from(KERNELS),
    side=st.sampled_from([3, 5]),
    sigma=st.floats(0.3, 3),
    ignore=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_equals_the_definition(shape, kernel, side, sigma, ignore, seed):
    labels = np.random.default_rng(seed).integers(0, 4, shape)
    ignore_label = 3 if ignore else None
    num_classes = 3 if ignore else 4
    computed = soft_class_proportions(
        torch.from_numpy(labels)[None, None], num_classes, side, kernel, sigma, ignore_label, torch.float64
    )
    expected = slow_proportions(labels, num_classes, side, kernel, sigma, ignore_label)
    np.testing.assert_allclose(computed[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(2, 1, 6, 7), (2, 1, 5, 6, 7), (1, 1, 1, 4, 4)])
def test_sums_to_one_everywhere(kernel, shape):
    labels = torch.randint(0, 3, shape, generator=torch.Generator().manual_seed(0))
    sums = soft_class_proportions(labels, 3, 5, kernel).sum(1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_patch_corner_is_replicated_not_zero_padded():
    """A 3D corner of one class: the public implementations give 8/27 there."""
    assert soft_class_proportions(torch.ones(1, 1, 4, 4, 4), 2)[0, 1, 0, 0, 0] == pytest.approx(1.0)


def test_svls_is_half_the_label_itself():
    labels = torch.zeros(1, 1, 5, 5)
    labels[0, 0, 2, 2] = 1
    assert soft_class_proportions(labels, 2, kernel="svls")[0, 1, 2, 2] == pytest.approx(0.5)


def test_svls_is_exact_at_the_smallest_sigma_it_takes():
    """Its neighbours hold a thousandth of the Gaussian; at a sigma of 0.15 float32 would leave an interior 0 of class 0."""
    labels = torch.zeros(1, 1, 6)
    labels[..., 3:] = 1
    proportions = soft_class_proportions(labels, 2, kernel="svls", sigma=0.26)[0, 1]
    torch.testing.assert_close(proportions, torch.tensor([0, 0, 0.25, 0.75, 1, 1]), rtol=0, atol=1e-4)


def test_window_per_axis_stays_in_plane():
    labels = torch.zeros(1, 1, 3, 3, 3)
    labels[:, :, 1] = 1
    proportions = soft_class_proportions(labels, 2, kernel_size=(1, 3, 3))
    torch.testing.assert_close(proportions[:, 1:], labels)


def test_ignored_neighbours_have_no_weight():
    labels = torch.tensor([1, 1, 9, 0, 0]).reshape(1, 1, 5)
    proportions = soft_class_proportions(labels, 2, ignore_label=9)
    torch.testing.assert_close(proportions[0, 1], torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]))


def test_all_ignored_is_zero():
    assert soft_class_proportions(torch.full((1, 1, 3, 3), 9), 2, ignore_label=9).abs().sum() == 0


@pytest.mark.parametrize("dim", [2, 3])
def test_agrees_with_monai_inside_the_patch(dim):
    losses = pytest.importorskip("monai.losses")
    labels = torch.randint(0, 3, (2, *[8] * dim), generator=torch.Generator().manual_seed(1))
    theirs = losses.NACLLoss(classes=3, dim=dim).get_constr_target(labels)
    inside = (slice(None), slice(None), *[slice(1, -1)] * dim)
    torch.testing.assert_close(soft_class_proportions(labels[:, None], 3)[inside], theirs[inside])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "odd number of voxels.*got 4"),
        ({"kernel_size": (3, 3, 3)}, "one value or 2 for the 2 spatial axes, but got"),
        ({"kernel": "box"}, "one of .*'mean'.*got 'box'"),
        ({"kernel": "gaussian", "sigma": 0.0}, "positive number of voxels, but got 0.0"),
        ({"kernel": "svls", "kernel_size": 1}, "1 has no neighbours"),
        ({"kernel": "svls", "sigma": 0.25}, "at least 0.26 voxels for the svls kernel, but got 0.25"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        soft_class_proportions(torch.zeros(1, 1, 4, 4), 2, **arguments)


def test_refuses_labels_without_channel_axis():
    with pytest.raises(ValueError, match=r"\(B, 1, \*spatial\).*got \(2, 3, 4, 4\)"):
        soft_class_proportions(torch.zeros(2, 3, 4, 4), 2)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("channels", [(0, 3), (1, 2)])
def test_raters_are_counted_together_several_classes_at_a_time(kernel, channels):
    """On a GPU the losses ask for more than one class at once."""
    raters = torch.randint(0, 3, (2, 4, 5, 6), generator=torch.Generator().manual_seed(0))
    together = Window(3, kernel, 1.0).over(raters.to(torch.uint8), None, torch.float64).proportions(*channels)
    each = [soft_class_proportions(rater, 3, kernel=kernel, dtype=torch.float64) for rater in raters.split(1, 1)]
    torch.testing.assert_close(together, torch.stack(each).mean(0)[:, slice(*channels)])
