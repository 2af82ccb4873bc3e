"""Risk-coverage curves: by hand, and against thresholds tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.decisions import excess_augrc, excess_aurc, oracle, risk_coverage

CASES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 10)), min_size=1, max_size=40)


def by_thresholds(confidence: np.ndarray, risk: np.ndarray) -> tuple[float, float]:
    """Return AURC and AUGRC from the curve of all thresholds, each tried on all cases."""
    points = []
    for threshold in sorted(set(confidence.tolist()), reverse=True):
        accepted = confidence >= threshold
        points.append((accepted.mean(), risk[accepted].mean(), risk[accepted].sum() / risk.size))
    coverage, selective, generalized = (np.array(column) for column in zip(*points, strict=True))
    coverage = np.concatenate([[0.0], coverage])
    return (
        float(np.trapezoid(np.concatenate([selective[:1], selective]), coverage)),
        float(np.trapezoid(np.concatenate([[0.0], generalized]), coverage)),
    )


@given(CASES)
def test_areas_equal_those_of_all_thresholds(cases: list[tuple[int, int]]) -> None:
    confidence, risk = (np.array(column) / 10 for column in zip(*cases, strict=True))
    curve = risk_coverage(confidence, risk)
    assert (curve.aurc, curve.augrc) == pytest.approx(by_thresholds(confidence, risk), abs=1e-12)


def test_by_hand() -> None:
    # accepted one by one: risks 0, 0.2, 0.4 of three
    curve = risk_coverage([3, 2, 1], [0.0, 0.2, 0.4])
    assert curve.coverage == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert curve.selective_risk == pytest.approx([0, 0, 0.1, 0.2])
    assert curve.generalized_risk == pytest.approx([0, 0, 0.2 / 3, 0.2])
    assert curve.aurc == pytest.approx((0 + 0.05 + 0.15) / 3)
    assert curve.augrc == pytest.approx((0 + 0.1 / 3 + 0.4 / 3) / 3)


def test_by_hand_with_ties() -> None:
    # the two tied cases are accepted together: one step from 1/3 to 1
    curve = risk_coverage([2, 1, 1], [0.3, 0.0, 0.6])
    assert curve.coverage == pytest.approx([0, 1 / 3, 1])
    assert curve.selective_risk == pytest.approx([0.3, 0.3, 0.3])
    assert curve.aurc == pytest.approx(0.3)
    assert curve.augrc == pytest.approx((0.1 / 2) / 3 + ((0.1 + 0.3) / 2) * 2 / 3)


@given(CASES)
def test_a_confidence_that_knows_nothing_has_half_the_mean_risk(cases: list[tuple[int, int]]) -> None:
    risk = np.array([each[1] for each in cases]) / 10
    curve = risk_coverage(np.zeros(risk.size), risk)
    assert curve.augrc == pytest.approx(risk.mean() / 2)
    assert curve.aurc == pytest.approx(risk.mean())


@given(CASES)
def test_no_order_beats_the_oracle(cases: list[tuple[int, int]]) -> None:
    risk = np.array([each[1] for each in cases]) / 10
    order = np.arange(risk.size)  # without ties: a plateau's straight line may pass below the oracle's selective risk
    assert excess_augrc(order, risk) >= -1e-12
    assert excess_aurc(order, risk) >= -1e-12
    assert excess_augrc(-np.argsort(np.argsort(risk, kind="stable")), risk) == pytest.approx(0, abs=1e-12)
    assert oracle(risk).coverage[-1] == 1


@given(CASES)
def test_only_the_order_of_confidences_counts(cases: list[tuple[int, int]]) -> None:
    confidence, risk = (np.array(column, float) for column in zip(*cases, strict=True))
    assert risk_coverage(confidence, risk).augrc == pytest.approx(risk_coverage(np.exp(confidence), risk).augrc)


def test_unusable_input_is_named() -> None:
    for confidence, risk in (([], []), ([1.0], [0.0, 1.0]), ([np.nan], [0.0]), ([0.0], [np.inf])):
        with pytest.raises(ValueError, match="confidence"):
            risk_coverage(confidence, risk)
