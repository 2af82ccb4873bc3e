"""Channels that come one after another give what the whole array gives."""

from dataclasses import fields

import numpy as np
import pytest
from channels import Channels
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_nacl.calibration import CalibrationStatistics


def softmax_and_labels(seed, num_classes, shape, sharpness, dtype):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(num_classes, *shape))
    probabilities = np.exp(logits - logits.max(0)) / np.exp(logits - logits.max(0)).sum(0)
    return probabilities.astype(dtype), rng.integers(0, num_classes + 1, shape)


def assert_equal(first, second):
    for field in fields(CalibrationStatistics):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if one.dtype == np.int64:
            np.testing.assert_array_equal(one, other, err_msg=field.name)
        else:
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-300, err_msg=field.name)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    num_classes=st.integers(2, 9),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)),
    sharpness=st.sampled_from([0.0, 0.3, 2.0, 8.0, 200.0]),
    size=st.integers(1, 250),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_equals_the_whole_array(seed, num_classes, shape, sharpness, size, dtype):
    probabilities, labels = softmax_and_labels(seed, num_classes, shape, sharpness, dtype)
    whole, streamed = CalibrationStatistics.empty(num_classes, 12), CalibrationStatistics.empty(num_classes, 12)
    whole.update(probabilities, labels, ignore_label=num_classes, spacing=(3, 1, 1))
    channels = Channels(probabilities, size)
    streamed.update_channels(channels, labels, ignore_label=num_classes, spacing=(3, 1, 1))
    assert_equal(whole, streamed)


@pytest.mark.parametrize(("sharpness", "passes"), [(0.0, 2), (30.0, 1)])
def test_reads_again_only_where_many_voxels_are_open(sharpness, passes):
    probabilities, labels = softmax_and_labels(0, 6, (10, 10, 10), sharpness, np.float32)
    channels = Channels(probabilities, 64)
    CalibrationStatistics.empty(6).update_channels(channels, labels, ignore_label=6)
    assert channels.passes == passes


@pytest.mark.parametrize(("num_classes", "dtype"), [(5, np.float32), (2, np.float64)])
def test_few_channels_are_held_and_read_once(num_classes, dtype):
    probabilities, labels = softmax_and_labels(0, num_classes, (10, 10, 10), 0.0, dtype)
    channels = Channels(probabilities, 64)
    statistics = CalibrationStatistics.empty(num_classes)
    prediction = statistics.update_channels(channels, labels, ignore_label=num_classes)
    assert channels.passes == 1
    np.testing.assert_array_equal(prediction, probabilities.argmax(0))


@pytest.mark.parametrize("num_classes", [3, 7])
@pytest.mark.parametrize("sharpness", [0.0, 30.0])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda p: p.__setitem__((2, 1, 1, 1), np.nan), "NaN in 1 places"),
        (lambda p: p.__setitem__((0, 1, 1, 1), -0.5), "from 0 to 1"),
        (lambda p: p.__imul__(0.5), "sum to 1"),
    ],
)
def test_bad_values_are_refused_and_add_nothing(num_classes, sharpness, fault, message):
    probabilities, labels = softmax_and_labels(1, num_classes, (4, 4, 4), sharpness, np.float32)
    fault(probabilities)
    statistics = CalibrationStatistics.empty(num_classes)
    with pytest.raises(ValueError, match=message):
        statistics.update_channels(Channels(probabilities, 10), labels, ignore_label=num_classes)
    assert_equal(statistics, CalibrationStatistics.empty(num_classes))


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("kept", [slice(0, 0), slice(0, -1), slice(1, None), slice(0, None, 2)])
def test_a_missing_block_is_noticed(held, kept, monkeypatch):
    """What it should have filled is whatever memory held."""
    if not held:
        monkeypatch.setattr("nnunet_nacl.calibration.channel_stream.HELD_BYTES", 0)
    probabilities, labels = softmax_and_labels(0, 3, (4, 4, 4), 2.0, np.float32)
    blocks = list(Channels(probabilities, 32)())[kept]
    with pytest.raises(ValueError, match="^Expected "):
        CalibrationStatistics.empty(3).update_channels(lambda: blocks, labels, ignore_label=3)
