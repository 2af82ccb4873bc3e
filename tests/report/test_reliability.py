"""The numbers and files of reliability diagrams."""

import numpy as np
import pytest

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.report.reliability import prepare_reliability, write_reliability_of_sets


@pytest.fixture
def statistics():
    """Ten voxels at 0.9, seven right; ten at 0.6, six right; all labelled or predicted as class 1."""
    confidence = np.repeat([0.9, 0.6], 10)
    labels = np.array([1] * 7 + [0] * 3 + [1] * 6 + [0] * 4)
    statistics = CalibrationStatistics.empty(2, n_bins=10)
    statistics.update(np.stack([1 - confidence, confidence]), labels)
    return statistics


def test_numbers(statistics):
    diagram = prepare_reliability(statistics, "all")
    assert diagram.accuracy[8] == pytest.approx(0.7)
    assert diagram.confidence[8] == pytest.approx(0.9)
    assert diagram.accuracy[5] == pytest.approx(0.6)
    assert diagram.share[[5, 8]] == pytest.approx([0.5, 0.5])
    assert np.isnan(np.delete(diagram.accuracy, [5, 8])).all()
    assert diagram.ece == pytest.approx(0.1)


def test_one_picture_per_voxel_set(statistics, tmp_path):
    paths = write_reliability_of_sets(statistics, tmp_path)
    assert [path.stem for path in paths] == [f"reliability_{name}" for name in VOXEL_SETS]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert len(list(tmp_path.iterdir())) == len(VOXEL_SETS)


def test_empty_set_can_be_drawn(tmp_path):
    write_reliability_of_sets(CalibrationStatistics.empty(2), tmp_path)
