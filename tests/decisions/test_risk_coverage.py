"""Risk-coverage curves: by hand, against thresholds tried one by one, and against all orders of equal confidences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_nacl.decisions import excess_augrc, excess_aurc, oracle, risk_coverage

CASES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 10)), min_size=1, max_size=40)


def over_all_orders(confidence: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Return AURC and AUGRC, mean over all orders of the cases in which no confidence rises: equal ones in each of their orders."""
    areas = []
    for order in itertools.permutations(range(risk.size)):
        if (np.diff(confidence[list(order)]) > 0).any():
            continue
        summed, accepted = np.cumsum(risk[list(order)]), np.arange(1, risk.size + 1)
        selective, coverage = summed / accepted, np.append(0.0, accepted / risk.size)
        areas.append(
            (
                np.trapezoid(np.append(selective[0], selective), coverage),
                np.trapezoid(np.append(0.0, summed / risk.size), coverage),
            )
        )
    return np.mean(areas, 0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10)), min_size=1, max_size=5))
def test_areas_are_the_mean_over_the_orders_of_equal_confidences(cases: list[tuple[int, int]]) -> None:
    confidence, risk = (np.array(column) / 10 for column in zip(*cases, strict=True))
    curve = risk_coverage(confidence, risk)
    assert (curve.aurc, curve.augrc) == pytest.approx(over_all_orders(confidence, risk), abs=1e-12)


@given(CASES)
def test_at_each_threshold_the_risks_are_those_of_the_cases_above_it(cases: list[tuple[int, int]]) -> None:
    confidence, risk = (np.array(column) / 10 for column in zip(*cases, strict=True))
    curve = risk_coverage(confidence, risk)
    for threshold in set(confidence.tolist()):
        accepted = confidence >= threshold
        assert curve.coverage[accepted.sum()] == accepted.mean()
        assert curve.selective_risk[accepted.sum()] == pytest.approx(risk[accepted].mean())
        assert curve.generalized_risk[accepted.sum()] == pytest.approx(risk[accepted].sum() / risk.size)


def test_by_hand() -> None:
    # accepted one by one: risks 0, 0.2, 0.4 of three
    curve = risk_coverage([3, 2, 1], [0.0, 0.2, 0.4])
    assert curve.coverage == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert curve.selective_risk == pytest.approx([0, 0, 0.1, 0.2])
    assert curve.generalized_risk == pytest.approx([0, 0, 0.2 / 3, 0.2])
    assert curve.aurc == pytest.approx((0 + 0.05 + 0.15) / 3)
    assert curve.augrc == pytest.approx((0 + 0.1 / 3 + 0.4 / 3) / 3)


def test_by_hand_with_ties() -> None:
    # the two tied cases count 0.3 each, their mean, whichever comes first
    curve = risk_coverage([2, 1, 1], [0.9, 0.0, 0.6])
    assert curve.coverage == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert curve.selective_risk == pytest.approx([0.9, 0.9, 0.6, 0.5])
    assert curve.generalized_risk == pytest.approx([0, 0.3, 0.4, 0.5])
    assert curve.aurc == pytest.approx((0.9 + 0.75 + 0.55) / 3)
    assert curve.augrc == pytest.approx((0.15 + 0.35 + 0.45) / 3)


def test_a_case_drawn_twice_leaves_the_best_order_the_best() -> None:
    # as in a bootstrap; a straight line from 2/4 to 1 had an AURC of 0.2125, below that of the best order, 0.226
    risk = np.array([0.1, 0.2, 0.8, 0.8])
    assert excess_aurc([3, 2, 1, 1], risk) == pytest.approx(0, abs=1e-15)
    assert excess_augrc([3, 2, 1, 1], risk) == pytest.approx(0, abs=1e-15)


@given(CASES)
def test_a_confidence_that_knows_nothing_has_half_the_mean_risk(cases: list[tuple[int, int]]) -> None:
    risk = np.array([each[1] for each in cases]) / 10
    curve = risk_coverage(np.zeros(risk.size), risk)
    assert curve.augrc == pytest.approx(risk.mean() / 2)
    assert curve.aurc == pytest.approx(risk.mean())


@given(CASES)
def test_no_order_beats_the_oracle(cases: list[tuple[int, int]]) -> None:
    confidence, risk = (np.array(column) / 10 for column in zip(*cases, strict=True))
    for order in (confidence, np.arange(risk.size)):  # with equal confidences, and without
        assert excess_augrc(order, risk) >= -1e-12
        assert excess_aurc(order, risk) >= -1e-12
    assert excess_augrc(-np.argsort(np.argsort(risk, kind="stable")), risk) == pytest.approx(0, abs=1e-12)
    assert oracle(risk).coverage[-1] == 1


@given(CASES)
def test_only_the_order_of_confidences_counts(cases: list[tuple[int, int]]) -> None:
    confidence, risk = (np.array(column, float) for column in zip(*cases, strict=True))
    assert risk_coverage(confidence, risk).augrc == pytest.approx(risk_coverage(np.exp(confidence), risk).augrc)


def test_unusable_input_is_named() -> None:
    for confidence, risk in (
        ([], []),
        ([1.0], [0.0, 1.0]),
        ([[1.0, 2.0]], [[0.0, 1.0]]),
        ([np.nan, 1.0], [0.0, 1.0]),
        ([0.0, 1.0], [1.0, np.inf]),
    ):
        with pytest.raises(ValueError, match="confidence"):
            risk_coverage(confidence, risk)
