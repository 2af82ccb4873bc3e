"""The isotonic decomposition: against scikit-learn's isotonic fit of single voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import brier_score_loss, log_loss

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.isotonic import PARTS, corp, isotonic_fit


def parts(confidence, correct):
    """Both decompositions of single voxels with scikit-learn."""
    order = np.argsort(confidence, kind="stable")
    stated, event = confidence[order], correct[order].astype(float)
    # voxels of one confidence are one cell
    _, place, size = np.unique(stated, return_inverse=True, return_counts=True)
    share = np.bincount(place, event) / size
    best = isotonic_regression(share, sample_weight=size, y_min=0, y_max=1)[place]
    same = np.full(event.size, event.mean())
    found = {}
    scores = {
        "corp_brier": brier_score_loss,
        "corp_nll": lambda y, p: log_loss(y, np.clip(p, 1e-12, 1 - 1e-12), labels=[0, 1]),
    }
    for name, score in scores.items():
        whole, of_best, of_same = (score(event, each) for each in (stated, best, same))
        for part, value in zip(PARTS, (whole, whole - of_best, of_same - of_best, of_same), strict=True):
            found[name + part] = value
    return found


def voxels(n, sharpness, seed=0):
    rng = np.random.default_rng(seed)
    logit = np.abs(rng.normal(0, 2, n))
    return 1 / (1 + np.exp(-sharpness * logit)), rng.random(n) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_single_voxels_as_scikit_learn(sharpness):
    confidence, correct = voxels(800, sharpness)
    order = np.argsort(confidence)
    found = corp(np.ones(order.size), confidence[order], correct[order])
    for name, value in parts(confidence, correct).items():
        assert float(found[name]) == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_cells_of_the_grid_to_their_width(sharpness):
    confidence, correct = voxels(20000, sharpness)
    statistics = CalibrationStatistics.empty(2)
    statistics.update(np.stack([1 - confidence, confidence]), correct.astype(np.int16))
    scores = statistics.scores("all")
    for name, value in parts(confidence, correct).items():
        # cells are within 1/64 of 1 - confidence; first order terms cancel, but for voxels of cells that hold few
        assert getattr(scores, name) == pytest.approx(value, abs=2e-3 if "nll" in name else 5e-4), name
    assert scores.corp_brier * 2 == pytest.approx(scores.brier, abs=2e-4)
    assert scores.corp_nll == pytest.approx(scores.nll, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25))
def test_fit_as_scikit_learn(drawn):
    count = np.array([one + other for one, other in drawn], float)
    correct = np.array([one for one, _ in drawn], float)
    fitted = isotonic_fit(count, correct)
    held = count > 0
    assert np.isnan(fitted[~held]).all()
    if held.any():
        expected = isotonic_regression(correct[held] / count[held], sample_weight=count[held])
        assert fitted[held] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25))
def test_adds_up_and_no_part_is_negative(drawn):
    drawn = sorted(drawn)
    stated = np.array([value for value, _, _ in drawn])
    correct, count = np.array([[one, one + other] for _, one, other in drawn], float).T
    found = corp(count, stated * count, correct)
    for name in ("corp_brier", "corp_nll"):
        whole, miscalibration, discrimination, uncertainty = (float(found[name + part]) for part in PARTS)
        if not count.any():
            assert np.isnan(whole)
            continue
        assert whole == pytest.approx(miscalibration - discrimination + uncertainty, abs=1e-9)
        assert min(miscalibration, discrimination, uncertainty) >= 0


def test_a_calibrated_grid_has_no_miscalibration():
    count = np.array([100.0, 0.0, 50.0, 10.0])
    correct = np.array([60.0, 0.0, 40.0, 9.0])
    found = corp(count, correct, correct)
    assert found["corp_brier_miscalibration"] == 0 and found["corp_nll_miscalibration"] == 0
    assert found["corp_brier_discrimination"] > 0


def test_merged_is_whole():
    confidence, correct = voxels(3000, 1.5)
    whole, first, second = (CalibrationStatistics.empty(2) for _ in range(3))
    probabilities, event = np.stack([1 - confidence, confidence]), correct.astype(np.int16)
    whole.update(probabilities, event)
    first.update(probabilities[:, :1000], event[:1000])
    second.update(probabilities[:, 1000:], event[1000:])
    ours, theirs = first.merge(second).scores("all"), whole.scores("all")
    for name in ("smooth_ece", "corp_brier_miscalibration", "corp_nll_discrimination"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9)
