"""Sums over the masks of regions in the label map equal their definition, with the channels read once wherever that can be."""

import numpy as np
import pytest
import scipy.special
from channels import Channels
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_nacl.calibration import region_masks
from nnunet_nacl.calibration.regions import evaluate_regions

NESTED = ((1, 2, 3), (2, 3), (3,))


def assert_sums_of_the_label_map(found, probabilities, labels, regions, ignore_label):
    counted = labels != ignore_label
    for row, region in enumerate(regions):
        p = probabilities[row][counted & np.isin(found.segmentation, region)].astype(float)
        entropy = -(scipy.special.xlogy(p, p) + scipy.special.xlog1py(1 - p, -p)).sum()
        np.testing.assert_allclose(found.mask_sums[row], [p.sum(), entropy], rtol=1e-6, atol=1e-6)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    num_regions=st.integers(1, 11),
    nested=st.booleans(),
    size=st.sampled_from([7, 64, 1000]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_equal_their_definition(seed, num_regions, nested, size, dtype):
    rng = np.random.default_rng(seed)
    if nested:
        regions = [tuple(range(first, num_regions + 1)) for first in range(1, num_regions + 1)]
        region_labels = tuple(range(1, num_regions + 1))
    else:
        regions = [tuple(1 + rng.choice(4, rng.integers(1, 5), replace=False)) for _ in range(num_regions)]
        region_labels = tuple(rng.integers(0, 5, num_regions))
    highest = max(max(region) for region in regions)
    probabilities = rng.choice([0, 0.01, 0.3, 0.5, 0.7, 0.999, 1], (num_regions, 6, 7, 8)).astype(dtype)
    labels = rng.integers(0, highest + 2, (6, 7, 8))
    found = evaluate_regions(Channels(probabilities, size), labels, regions, region_labels, ignore_label=highest + 1)
    assert_sums_of_the_label_map(found, probabilities, labels, regions, highest + 1)


def nested_case(least):
    """The inner region's channel is above 0.5 in voxels where the outer ones' may be as low as ``least``."""
    rng = np.random.default_rng(0)
    outer = np.where(rng.random((8, 9, 10)) < 0.5, 0.9, least)
    probabilities = np.stack([outer, outer, np.where(rng.random(outer.shape) < 0.2, 0.8, 1e-6)]).astype(np.float32)
    return probabilities, rng.integers(0, 4, outer.shape)


@pytest.mark.parametrize(("least", "passes"), [(0.3, 1), (1e-4, 2)])
def test_channels_are_read_again_only_for_a_probability_next_to_nothing(least, passes):
    probabilities, labels = nested_case(least)
    channels = Channels(probabilities, 100)
    found = evaluate_regions(channels, labels, NESTED, (1, 2, 3))
    assert channels.passes == passes
    assert_sums_of_the_label_map(found, probabilities, labels, NESTED, None)


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    probabilities, labels = nested_case(0.3)
    monkeypatch.setattr(region_masks, "HELD_BYTES", 1)
    channels = Channels(probabilities, 100)
    found = evaluate_regions(channels, labels, NESTED, (1, 2, 3))
    assert channels.passes == 2
    assert_sums_of_the_label_map(found, probabilities, labels, NESTED, None)
