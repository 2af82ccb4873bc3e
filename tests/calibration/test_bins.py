"""Which bin a probability belongs to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.kernels import class_cell
from nnunet_nacl.calibration.sums import GRID_CELLS


def top_bin(confidence, n_bins, dtype=np.float64):
    """The number of the only filled bin of the predicted class, for one voxel of two classes."""
    statistics = CalibrationStatistics.empty(2, n_bins)
    statistics.update(np.array([[confidence], [0]], dtype) + np.array([[0], [1 - confidence]], dtype), np.array([0]))
    return int(np.flatnonzero(statistics.top_label_bins("all")[0])[0])


def test_edges_belong_to_the_lower_bin():
    cells = [class_cell(np.float64(p), 10) for p in (0.0, 0.001, 0.0011, 0.1, 0.1 + 1e-9, 0.5, 0.95, 1.0)]
    assert cells == [0, 0, 1, 1, 2, 5, 10, 10]  # cell 0 and 1 are the first bin, up to and above the threshold
    assert [top_bin(c, 10) for c in (0.5, 0.5 + 1e-9, 0.6, 0.9, 1.0)] == [4, 5, 5, 8, 9]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_belongs_to_the_last_bin(dtype):
    assert top_bin(1, 15, dtype) == 14


@given(st.floats(0, 1, width=32), st.integers(1, 100))
def test_each_probability_lies_within_its_bin(probability, n_bins):
    """Exact for float32: the comparison is in integers."""
    numerator, denominator = np.float32(probability).as_integer_ratio()
    cell = int(class_cell(np.float64(probability), n_bins))
    assert (cell == 0) == (probability <= 1e-3)
    index = max(cell - 1, 0)
    assert numerator * n_bins <= (index + 1) * denominator
    assert index == 0 or numerator * n_bins > index * denominator


def test_the_grid_is_ordered_and_fine():
    """Cells rise with the confidence and none is wider than 1/128, nor than 1/64 of the distance to 1."""
    confidences = np.concatenate([np.linspace(0.34, 1, 2000), 1 - np.logspace(-7, -1, 500)])
    cells = []
    for confidence in np.sort(confidences):
        statistics = CalibrationStatistics.empty(3)
        rest = (1 - confidence) / 2
        statistics.update(np.array([[confidence], [rest], [rest]]), np.array([0]))
        cells.append(int(np.flatnonzero(statistics.grid_cells("all")[0])[0]))
    confidences = np.sort(confidences)
    assert (np.diff(cells) >= 0).all()
    same = np.diff(cells) == 0
    assert (np.diff(confidences)[same] <= np.minimum(1 / 128, (1 - confidences[:-1][same]) / 32)).all()
    assert cells[-1] == GRID_CELLS - 1
