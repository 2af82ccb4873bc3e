"""Which bin a probability belongs to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.calibration.bins import bin_index


def test_edges_belong_to_the_lower_bin():
    probabilities = np.array([0.0, 0.05, 0.1, 0.1 + 1e-9, 0.5, 0.95, 1.0])
    np.testing.assert_array_equal(bin_index(probabilities, 10), [0, 0, 0, 1, 4, 9, 9])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_zero_and_one_belong_to_the_first_and_last_bin(dtype):
    np.testing.assert_array_equal(bin_index(np.array([0, 1], dtype), 15), [0, 14])


@given(st.floats(0, 1, width=32), st.integers(1, 100))
def test_each_probability_lies_within_its_bin(probability, n_bins):
    """Exact for float32: the comparison is in integers."""
    numerator, denominator = np.float32(probability).as_integer_ratio()
    index = int(bin_index(np.array([probability], np.float32), n_bins)[0])
    assert numerator * n_bins <= (index + 1) * denominator
    assert index == 0 or numerator * n_bins > index * denominator
