"""The band around label interfaces, against a distance transform per label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.boundary import boundary_band


def by_distance_transform(labels, spacing, distance, ignored):
    band = np.zeros(labels.shape, bool)
    for label in set(np.unique(labels)) - {ignored}:
        other = (labels != label) & (labels != ignored)
        if other.any():
            band |= (labels == label) & (distance_transform_edt(~other, sampling=spacing) <= distance * (1 + 1e-9))
    return band


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    steps=st.lists(st.sampled_from([0.5, 0.8, 1.0, 2.5, 5.0]), min_size=3, max_size=3),
    distance=st.sampled_from([0.0, 0.9, 1.0, 3.0, 100.0]),
    ignored=st.sampled_from([None, 3]),
    density=st.sampled_from([0.02, 0.2, 0.8]),
)
def test_equals_the_distance_transform(seed, shape, steps, distance, ignored, density):
    rng = np.random.default_rng(seed)
    labels = (rng.integers(1, 4, shape) * (rng.random(shape) < density)).astype(np.int16)
    band = boundary_band(labels, steps[: len(shape)], distance, ignored)
    np.testing.assert_array_equal(band, by_distance_transform(labels, steps[: len(shape)], distance, ignored))


@pytest.mark.parametrize("ignored", [None, 0, 299])
@pytest.mark.parametrize(
    ("shape", "spacing", "distance"), [((3, 4, 1100), (100.0, 90.0, 1.0), 320.0), ((2, 40, 45), (3.0, 0.25, 0.2), 3.0)]
)
def test_many_labels_and_long_rows(shape, spacing, distance, ignored):
    """More labels than a byte holds, more steps than a byte holds, and balls of many rows."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(shape) < 0.0005, rng.integers(0, 300, shape), 7).astype(np.int16)
    labels[..., shape[-1] // 2 :] = 7
    labels[0, 0, :5] = 299
    band = boundary_band(labels, spacing, distance, ignored)
    assert 0 < band.mean() < 1
    np.testing.assert_array_equal(band, by_distance_transform(labels, spacing, distance, ignored))


def test_by_hand():
    """1 mm voxels in a row, label change between the third and the fourth: 2 mm reach two voxels to each side."""
    labels = np.array([0, 0, 0, 1, 1, 1], np.int16)
    assert boundary_band(labels, [1.0], 2.0).tolist() == [False, True, True, True, True, False]
    assert not boundary_band(labels, [5.0], 3.0).any()


def test_the_voxel_set_is_the_band():
    rng = np.random.default_rng(0)
    labels = (rng.random((6, 7, 8)) < 0.05).astype(np.uint8)
    labels[0, 0] = 2
    first = rng.random(labels.shape)
    statistics = CalibrationStatistics.empty(2)
    statistics.update(np.stack([first, 1 - first]), labels, 2, spacing=(2.0, 1.0, 0.7), boundary_mm=1.5)
    band = boundary_band(labels.astype(np.int16), (2.0, 1.0, 0.7), 1.5, ignored=2)
    scores = statistics.scores("boundary")
    assert scores.n_voxels == band.sum() > 0
    assert scores.accuracy == ((first < 0.5) == (labels == 1))[band].mean()


@pytest.mark.parametrize(
    ("spacing", "distance", "message"),
    [((1.0,), 3, "each of 2 axes"), ((1, 0), 3, "above 0"), ((1, 1), -1, "at least 0"), ((1, 1), np.inf, "at least 0")],
)
def test_nonsense_is_refused(spacing, distance, message):
    with pytest.raises(ValueError, match=message):
        CalibrationStatistics.empty(2).update(
            np.full((2, 3, 3), 0.5), np.zeros((3, 3)), spacing=spacing, boundary_mm=distance
        )
