"""Smooth ECE: against the integral of its definition, the authors' own program, and cells against single voxels."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.confidence_grid import grid_ends
from nnunet_nacl.calibration.smooth_ece import _integral_of_absolute, error_of_cells, smooth_ece, smooth_ece_of_width


def voxels(n=400, sharpness=1.0, seed=0):
    """Confidences of two classes and whether they are right; with a sharpness of 1 they are calibrated."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, n)
    right = 1 / (1 + np.exp(-np.abs(logit)))
    return 1 / (1 + np.exp(-sharpness * np.abs(logit))), rng.random(n) < right


def by_definition(confidence, correct, width, steps=2000):
    """The integral, by the plain sum over voxels and mirror images of the Gaussian."""
    t = np.linspace(0, 1, steps + 1)
    residual = (confidence - correct) / confidence.size
    smoothed = np.zeros(t.size)
    for mirrored in [sign * confidence + 2 * period for sign in (1, -1) for period in range(-3, 4)]:
        smoothed += np.exp(-((t[:, None] - mirrored) ** 2) / (2 * width**2)) @ residual
    absolute = np.abs(smoothed) / (width * np.sqrt(2 * np.pi))
    return (absolute[1:] + absolute[:-1]).sum() / (2 * steps)


def singly(confidence, correct):
    order = np.argsort(confidence)
    return np.ones(order.size), confidence[order], correct[order].astype(float)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 1.3, 3.0])
@pytest.mark.parametrize("width", [0.02, 0.1, 0.7])
def test_is_the_integral_of_its_definition(sharpness, width):
    confidence, correct = voxels(sharpness=sharpness)
    expected = by_definition(confidence, correct, width)
    assert smooth_ece_of_width(*singly(confidence, correct), width) == pytest.approx(expected, rel=3e-4, abs=1e-7)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 1.3, 3.0])
def test_is_its_own_width(sharpness):
    confidence, correct = voxels(sharpness=sharpness)
    found = float(smooth_ece(*singly(confidence, correct)))
    assert by_definition(confidence, correct, found) == pytest.approx(found, rel=5e-4)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_agrees_with_the_authors_program(sharpness):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        relplot = pytest.importorskip("relplot")
    confidence, correct = voxels(4000, sharpness)
    # away from the ends, at which relplot counts less than there is
    confidence = 0.3 + 0.6 * (confidence - 0.5)
    correct = np.random.default_rng(1).random(confidence.size) < confidence**1.2
    sums = singly(confidence, correct)
    assert smooth_ece_of_width(*sums, 0.03) == pytest.approx(
        relplot.metrics.smECE_sigma(confidence, correct * 1.0, 0.03), rel=0.01
    )
    # its search halves ten times
    assert float(smooth_ece(*sums)) == pytest.approx(relplot.smECE(confidence, correct * 1.0), abs=2**-9)


@pytest.mark.parametrize("sharpness", [0.3, 0.9, 1.0, 1.1, 3.0])
def test_cells_move_it_by_no_more_than_their_bound(sharpness):
    confidence, correct = voxels(sharpness=sharpness, n=4000)
    statistics = CalibrationStatistics.empty(2)
    event = correct.astype(np.int16)
    statistics.update(np.stack([1 - confidence, confidence]), event)
    cells = statistics.grid_cells("all")
    found, exact = statistics.scores("all").smooth_ece, float(smooth_ece(*singly(confidence, correct)))
    bound = error_of_cells(cells[0], cells[2], *grid_ends(), found)
    assert abs(found - exact) <= bound + 2e-4 * exact
    assert abs(found - exact) <= 0.01 * exact


@pytest.mark.parametrize("mass", [[3.0, -1.0], [2.0, 1.0, 0.0, -3.0], [-1.0, 4.0, -2.0, -2.0, 5.0], [0.0, 0.0]])
def test_the_integral_of_what_crosses_zero_between_steps(mass):
    """By 10000 points between any two; 3 to -1 are two triangles, 9 / 8 and 1 / 8."""
    steps = len(mass) - 1
    fine = np.abs(np.interp(np.linspace(0, steps, 10000 * steps + 1), np.arange(steps + 1), mass))
    expected = (fine[1:] + fine[:-1]).sum() / 2 / 10000
    assert _integral_of_absolute(np.array(mass)) == pytest.approx(expected, rel=1e-6)
    assert _integral_of_absolute(np.array([3.0, -1.0])) == 1.25


def test_the_bound_is_what_a_kernel_differs_by_from_itself_moved_to_the_other_end():
    """A wrong voxel at the upper end of a cell and a right one at the lower end of another, by the integral itself."""
    width, lower, upper = 0.05, np.array([0.3, 0.6]), np.array([0.302, 0.601])
    t = np.linspace(-1, 2, 30001)
    kernels = [norm.pdf(t[:, None], end, width) for end in (lower, upper)]
    moved = np.abs(kernels[0] - kernels[1]).sum(0) * 1e-4
    expected = (0.302 * moved[0] + (1 - 0.6) * moved[1]) / 2
    assert error_of_cells([1, 1], [0, 1], lower, upper, width) == pytest.approx(expected, rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=40))
def test_lies_between_the_gap_and_the_summed_residuals(drawn):
    confidence = np.array([value for value, _ in drawn])
    correct = np.array([event for _, event in drawn])
    found = float(smooth_ece(*singly(confidence, correct)))
    residual = confidence - correct
    assert abs(residual.mean()) - 1e-9 <= found <= np.abs(residual).mean() + 1e-9


def test_rows_are_independent_and_none_without_voxels():
    rows = [singly(*voxels(n=50, seed=seed)) for seed in range(3)]
    stacked = [np.stack([row[part] for row in rows] + [np.zeros(50)]).reshape(2, 2, 50) for part in range(3)]
    found = smooth_ece(*stacked)
    assert found.shape == (2, 2) and np.isnan(found[1, 1])
    assert found.ravel()[:3].tolist() == [float(smooth_ece(*row)) for row in rows]


def test_ends_of_the_grid_hold_what_is_counted_there():
    confidence = np.concatenate([np.linspace(0.5, 1, 300), 1 - 2.0 ** -np.arange(2, 30)])
    lower, upper = grid_ends()
    for value in confidence:
        statistics = CalibrationStatistics.empty(2)
        statistics.update(np.array([[1 - value], [value]]), np.array([1]))
        (cell,) = np.flatnonzero(statistics.grid_cells("all")[0])
        assert lower[cell] <= value <= upper[cell]
        assert upper[cell] - lower[cell] <= (1 - lower[cell]) / 64 + 2.0**-24
