"""The CORP reliability curve: the isotonic fit of the pooled voxels, and a band that other cases would give."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.report.prepare_isotonic import POINTS, prepare_isotonic
from nnunet_nacl.report.prepare_reliability import prepare_reliability_over_cases
from nnunet_nacl.report.svg import reliability_svg


def case_of(seed, n=3000):
    rng = np.random.default_rng(seed)
    confidence = 1 - rng.random(n) ** 2 / 2
    right = rng.random(n) < 0.2 + 0.6 * confidence + rng.normal(0, 0.05)
    statistics = CalibrationStatistics.empty(2)
    statistics.update(np.stack([1 - confidence, confidence]), right.astype(int))
    return statistics, confidence, right


def test_is_the_isotonic_fit_of_the_voxels():
    cases = [case_of(seed) for seed in range(6)]
    curve = prepare_isotonic([statistics.grid_cells("all") for statistics, _, _ in cases])
    confidence, right = (np.concatenate([case[part] for case in cases]) for part in (1, 2))
    expected = IsotonicRegression().fit(confidence, right * 1.0).predict(curve.confidence)
    # at the ends a block is a few voxels
    assert curve.share[1:-1] == pytest.approx(expected[1:-1], abs=0.05)
    assert np.abs(curve.share - expected).mean() < 0.01
    assert 10 < curve.confidence.size <= POINTS and (np.diff(curve.confidence) > 0).all()
    assert (curve.band[0] <= curve.share + 0.03).all() and (curve.band[1] >= curve.share - 0.03).all()
    assert (np.diff(curve.band) >= -1e-12).all()


def test_of_few_cases_without_a_band_and_of_none_without_a_curve():
    assert prepare_isotonic([case_of(0)[0].grid_cells("all")]).band is None
    assert prepare_isotonic([CalibrationStatistics.empty(2).grid_cells("all")]) is None


def test_the_band_is_that_of_the_cases_with_voxels():
    """Of four cases with one prediction, a third of the resamples would have no voxel at all."""
    empty = CalibrationStatistics.empty(2).grid_cells("all")
    full = [case_of(seed)[0].grid_cells("all") for seed in range(4)]
    assert prepare_isotonic([full[0], empty, empty, empty]).band is None
    curve = prepare_isotonic([empty, *full, empty])
    np.testing.assert_array_equal(curve.band, prepare_isotonic(full).band)


def test_is_drawn_for_the_predicted_class_alone():
    cases = [case_of(seed, 200)[0] for seed in range(5)]
    drawn = reliability_svg(prepare_reliability_over_cases(cases, "all"), "of the predicted class")
    assert 'class="isotonic"' in drawn and 'class="isotonic-band"' in drawn
    assert "isotonic" not in reliability_svg(prepare_reliability_over_cases(cases, "all", label=1), "of a class")
