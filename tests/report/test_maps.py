"""The numbers of the maps, against plain NumPy and a loop over all pairs of voxels."""

import numpy as np
import pytest
from scipy.special import xlogy

from nnunet_nacl.report.maps import CUT_OFF, Reference, prepare_class_maps, prepare_region_maps

SHAPE = (5, 8, 7)
SPACING = (2.5, 0.8, 1.1)


def softmax(num_classes, seed=0, scale=3.0):
    logits = np.random.default_rng(seed).normal(scale=scale, size=(num_classes, *SHAPE))
    probabilities = np.exp(logits - logits.max(0))
    return (probabilities / probabilities.sum(0)).astype(np.float32)


def local_mean(differences, known, spacing, sigma_mm):
    """The weighted mean around each voxel, one pair of voxels after the other."""
    reach = [int(CUT_OFF * sigma_mm / extent + 0.5) for extent in spacing]
    result = np.zeros(differences.shape)
    for voxel in np.ndindex(differences.shape):
        weights = total = 0.0
        for other in np.ndindex(differences.shape):
            steps = np.subtract(voxel, other)
            if known[other] and np.all(np.abs(steps) <= reach):
                weight = np.exp(-0.5 * np.sum(np.square(steps * spacing)) / sigma_mm**2)
                weights += weight
                total += weight * differences[other]
        result[voxel] = total / weights if weights else 0.0
    return result


@pytest.mark.parametrize("num_classes", [2, 3, 14])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_confidence_and_entropy(num_classes, dtype):
    probabilities = softmax(num_classes).astype(dtype)
    maps = prepare_class_maps(iter(probabilities), num_classes)
    exact = probabilities.astype(float)
    np.testing.assert_allclose(maps.confidence, exact.max(0), rtol=1e-6)
    np.testing.assert_allclose(maps.entropy, -xlogy(exact, exact).sum(0) / np.log(num_classes), atol=2e-6)
    assert maps.gap is None


def test_certain_and_undecided_voxels():
    certain = np.zeros((3, 2, 2, 2), np.float32)
    certain[1] = 1
    maps = prepare_class_maps(certain, 3)
    assert (maps.confidence == 1).all()
    assert (maps.entropy == 0).all()
    undecided = np.full((4, 2, 2, 2), 0.25, np.float32)
    maps = prepare_class_maps(undecided, 4, Reference(np.zeros((2, 2, 2)), (1, 1, 1)))
    np.testing.assert_allclose(maps.entropy, 1)
    # of equal probabilities the first wins, as in nnU-Net, and that is the label here
    np.testing.assert_allclose(maps.gap, 0.25 - 1, rtol=1e-6)


def test_local_gap_equals_a_loop_over_pairs():
    probabilities = softmax(3)
    labels = np.random.default_rng(1).integers(0, 4, SHAPE)
    labels[0, :4] = 3
    maps = prepare_class_maps(probabilities, 3, Reference(labels, SPACING, ignore_label=3, sigma_mm=1.3))
    differences = probabilities.max(0) - (probabilities.argmax(0) == labels)
    np.testing.assert_allclose(maps.gap, local_mean(differences, labels != 3, SPACING, 1.3), atol=1e-5)
    assert np.abs(maps.gap).max() > 0.3


def test_nothing_is_padded_at_the_border():
    """All wrong at 0.9: the gap is 0.9 in the corner as well."""
    probabilities = np.stack([np.full(SHAPE, 0.9), np.full(SHAPE, 0.1)])
    maps = prepare_class_maps(probabilities, 2, Reference(np.ones(SHAPE), SPACING))
    np.testing.assert_allclose(maps.gap, 0.9, rtol=1e-5)


def test_a_slice_is_flat_whatever_its_thickness():
    probabilities = softmax(2)[:, :1]
    labels = np.random.default_rng(2).integers(0, 2, (1, *SHAPE[1:]))
    thick, thin = (
        prepare_class_maps(probabilities, 2, Reference(labels, (depth, 1, 1), sigma_mm=2)).gap for depth in (999, 0.1)
    )
    np.testing.assert_array_equal(thick, thin)


def test_voxels_far_from_any_label():
    labels = np.full((1, 1, 60), 5)
    labels[..., 0] = 0
    maps = prepare_class_maps(np.full((2, 1, 1, 60), 0.5), 2, Reference(labels, (1, 1, 1), ignore_label=5, sigma_mm=1))
    assert maps.gap[0, 0, 0] == pytest.approx(-0.5)
    assert maps.gap[0, 0, 59] == 0


def test_regions():
    rng = np.random.default_rng(3)
    probabilities = rng.random((2, *SHAPE)).astype(np.float32)
    labels = rng.integers(0, 3, SHAPE)
    regions = {"whole": (1, 2), "core": (2,)}
    reference = Reference(labels, SPACING, sigma_mm=1.3)
    found = list(prepare_region_maps(probabilities, regions, reference))
    assert [maps.region for maps in found] == ["whole", "core"]
    for maps, p, values in zip(found, probabilities.astype(float), regions.values(), strict=True):
        np.testing.assert_array_equal(maps.confidence, p.astype(np.float32))
        np.testing.assert_allclose(maps.entropy, -(p * np.log2(p) + (1 - p) * np.log2(1 - p)), atol=2e-6)
        differences = np.maximum(p, 1 - p) - ((p > 0.5) == np.isin(labels, values))
        expected = local_mean(differences, np.ones(SHAPE, bool), SPACING, 1.3)
        np.testing.assert_allclose(maps.gap, expected, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
def test_no_probabilities(value):
    probabilities = softmax(2)
    probabilities[1, 2, 3, 4] = value
    with pytest.raises(ValueError, match="Expected probabilities between 0 and 1"):
        prepare_class_maps(probabilities, 2)
    with pytest.raises(ValueError, match="Expected probabilities between 0 and 1"):
        list(prepare_region_maps(probabilities, {"a": (1,), "b": (2,)}))
