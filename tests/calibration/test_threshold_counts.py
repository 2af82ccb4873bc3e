"""Counts of voxels by probability: a mask at each threshold holds exactly what they say."""

import numpy as np
import pytest

from nnunet_nacl.calibration.threshold_counts import INSIDE, N_THRESHOLDS, OUTSIDE, ThresholdCounts, thresholds


def counted(values, labels, structures=((1,),), first=0, ignored=None, block=70):
    counts = ThresholdCounts(labels, structures, first, ignored)
    blocks = [(channel, start, row[start : start + block]) for channel, row in enumerate(values.reshape(len(values), -1))
              for start in range(0, row.size, block)]  # fmt: skip
    assert [given[:2] for given in counts.watch(blocks)] == [given[:2] for given in blocks]
    return counts.counts


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_probability_at_a_threshold_is_above_it_and_the_next_lower_number_is_not(dtype):
    edges = thresholds()
    assert edges.size == N_THRESHOLDS and (np.diff(edges) > 0).all() and (edges.astype(np.float32) == edges).all()
    below = np.nextafter(edges[1:].astype(dtype), dtype(0))
    values = np.concatenate([edges.astype(dtype), below, np.array([1, 1.005], dtype)])[None]
    found = counted(values, np.ones(values.shape[1], int))[0, INSIDE]
    expected = np.bincount([*range(N_THRESHOLDS), *range(N_THRESHOLDS - 1), N_THRESHOLDS - 1, N_THRESHOLDS - 1])
    assert found.tolist() == expected.tolist()


def test_thresholds_are_a_sixteenth_apart():
    edges = thresholds()[1:]
    lower = edges[edges < 0.5]
    assert (np.diff(lower) / lower[:-1]).max() <= 1 / 16
    assert (np.diff(1 - edges[edges >= 0.5]) / (1 - edges[edges >= 0.5])[:-1]).min() >= -1 / 16


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ignored", [None, 3])
def test_masks_at_every_threshold(dtype, ignored):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4 if ignored else 3, (5, 9, 11))
    spread = rng.choice([1e-7, 1e-3, 0.3, 1.0], (3, *labels.shape))
    values = (spread * rng.random(spread.shape)).astype(dtype)
    for structures, first in ([((1,), (2,)), 1], [((1, 2), (2,)), 0]):
        channels = values[: first + 2]
        found = counted(channels, labels, structures, first, ignored)
        kept = labels != (-1 if ignored is None else ignored)
        for number, members in enumerate(structures):
            inside, of = np.isin(labels, members), channels[first + number]
            for place, threshold in enumerate(thresholds()):
                mask = (of >= dtype(threshold)) & kept
                assert found[number, INSIDE, place:].sum() == (mask & inside).sum()
                if place:
                    assert found[number, OUTSIDE, place:].sum() == (mask & ~inside).sum()


def test_values_that_are_no_probabilities_do_no_harm():
    values = np.array([[np.nan, -1.0, 7.0, np.inf, -np.inf]], np.float32)
    assert counted(values, np.ones(5, int)).sum() == 5
