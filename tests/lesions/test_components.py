"""Components and their sums, against scipy.ndimage on random volumes."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nnunet_nacl.lesions.components import components_of, count_within, overlaps, sums_within

SHAPES = st.tuples(*[st.integers(1, 6)] * 3)


def label_maps(shape, highest=2):
    return arrays.arrays(np.int16, shape, elements=st.integers(0, highest))


def neighbours(connectivity):
    return scipy.ndimage.generate_binary_structure(3, 3 if connectivity == 26 else 1)


def by_scipy(label_map, connectivity):
    """Return the voxels of each component, with its value: a set of (value, frozenset of flat indices)."""
    found = set()
    for value in np.unique(label_map[label_map > 0]):
        numbers, n = scipy.ndimage.label(label_map == value, neighbours(connectivity))
        found |= {(int(value), frozenset(np.flatnonzero(numbers == number).tolist())) for number in range(1, n + 1)}
    return found


@given(data=st.data(), shape=SHAPES, connectivity=st.sampled_from([6, 26]))
def test_components_are_those_of_scipy(data, shape, connectivity):
    label_map = data.draw(label_maps(shape))
    found = components_of(label_map, connectivity)
    masks = [found.numbers == number for number in range(1, found.n + 1)]
    ours = {
        (int(value), frozenset(np.flatnonzero(mask).tolist()))
        for value, mask in zip(found.structures, masks, strict=True)
    }
    assert ours == by_scipy(label_map, connectivity) and len(ours) == found.n
    assert found.voxels.tolist() == [mask.sum() for mask in masks]
    centres = [scipy.ndimage.center_of_mass(mask) for mask in masks]
    np.testing.assert_allclose(found.centroids, np.reshape(centres, (-1, 3)), atol=1e-12)


@given(data=st.data(), shape=SHAPES)
def test_sums_and_overlaps_are_those_of_scipy(data, shape):
    first, second = (data.draw(label_maps(shape)) for _ in range(2))
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    one, other = components_of(first), components_of(second)
    index = np.arange(1, one.n + 1)
    total, largest = sums_within(one.numbers, values, one.n)
    np.testing.assert_allclose(total, scipy.ndimage.sum_labels(values.astype(np.float64), one.numbers, index))
    assert largest.tolist() == ([] if not one.n else list(scipy.ndimage.maximum(values, one.numbers, index)))
    assert count_within(one.numbers, second > 0, one.n).tolist() == [
        ((one.numbers == n) & (second > 0)).sum() for n in index
    ]
    expected = {
        (a, b): shared
        for a in range(one.n)
        for b in range(other.n)
        if (shared := int(((one.numbers == a + 1) & (other.numbers == b + 1)).sum()))
        and one.structures[a] == other.structures[b]
    }
    assert {
        (a, b): shared for a, b, shared in zip(*(column.tolist() for column in overlaps(one, other)), strict=True)
    } == expected


def test_a_mask_of_an_image():
    mask = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 0]]], bool)
    assert components_of(mask).n == 1 and components_of(mask, 6).n == 2


def test_wrong_arguments():
    with pytest.raises(ValueError, match="three axes"):
        components_of(np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="6 or 26"):
        components_of(np.zeros((2, 2, 2), int), 18)
