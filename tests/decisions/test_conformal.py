"""Conformal bounds: ranks by hand, and coverage in simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from nnunet_nacl.decisions.conformal import case_weights, lower_bound, smallest_number, two_sided_bounds, upper_bound

STUDIES = 1000


@given(st.integers(1, 200), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_the_bound_is_the_score_of_rank_ceil_n_plus_1_times_level(n: int, level: float) -> None:
    scores = np.random.default_rng(n).permutation(n).astype(float)
    rank = math.ceil((n + 1) * level - 1e-9)
    expected = float(rank - 1) if rank <= n else math.inf
    assert upper_bound(scores, level) == expected
    assert lower_bound(-scores, level) == -expected


@pytest.mark.parametrize(("level", "one_sided", "two_sided"), [(0.9, 9, 19), (0.8, 4, 9), (0.95, 19, 39), (0.5, 1, 3)])
def test_the_smallest_number_is_the_first_with_a_finite_bound(level: float, one_sided: int, two_sided: int) -> None:
    assert smallest_number(level, two_sided=False) == one_sided
    assert smallest_number(level) == two_sided
    for number in (one_sided, two_sided):
        scores = np.arange(number, dtype=float)
        bound = level if number == one_sided else (1 + level) / 2
        assert math.isfinite(upper_bound(scores, bound))
        assert math.isinf(upper_bound(scores[1:], bound)) if number > 1 else True


def test_patients_weigh_alike_whatever_their_number_of_cases() -> None:
    assert case_weights(4, ["a", "a", "a", "b"]).tolist() == pytest.approx([1 / 9, 1 / 9, 1 / 9, 1 / 3])
    # patient a's scores are the highest and make up 1/3 of the weight; the new patient the highest third
    assert upper_bound([3.0, 4.0, 5.0, 1.0], 1 / 3, ["a", "a", "a", "b"]) == 1.0
    assert upper_bound([3.0, 4.0, 5.0, 1.0], 2 / 3, ["a", "a", "a", "b"]) == 5.0
    assert upper_bound([3.0, 4.0, 5.0, 1.0], 0.7, ["a", "a", "a", "b"]) == math.inf


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_a_patient_a_case_is_the_same_as_no_patients(scores: list[float]) -> None:
    assert upper_bound(scores, 0.8) == upper_bound(scores, 0.8, np.arange(len(scores)))


@pytest.mark.parametrize("n_cases", [20, 40, 100])
@pytest.mark.parametrize("heavy", [False, True])
def test_coverage_of_new_cases(n_cases: int, heavy: bool) -> None:
    random = np.random.default_rng(n_cases)
    covered = 0
    for _ in range(STUDIES):
        scores = random.standard_t(1.5, n_cases + 1) if heavy else random.lognormal(0, 1, n_cases + 1)
        low, high = two_sided_bounds(scores[:-1], 0.9)
        covered += low <= scores[-1] <= high
    at_least = 1 - 2 * math.floor((n_cases + 1) * 0.05 + 1e-9) / (n_cases + 1)  # exact for scores without ties
    assert at_least >= 0.9
    assert binomtest(covered, STUDIES, at_least).pvalue > 1e-3


def test_coverage_with_patients_of_several_cases_where_cases_as_units_fail() -> None:
    random = np.random.default_rng(5)
    covered = as_cases = 0
    for _ in range(STUDIES):
        # 20 patients; one of them has 100 cases, so that cases as units see little else
        sizes = np.where(np.arange(20) == random.integers(20), 100, 1)
        patients = np.repeat(np.arange(20), sizes)
        scores = random.normal(0, 1, 20)[patients] + random.normal(0, 0.1, patients.size)
        new = random.normal(0, 1) + random.normal(0, 0.1)
        low, high = two_sided_bounds(scores, 0.9, patients)
        covered += low <= new <= high
        low, high = two_sided_bounds(scores, 0.9)
        as_cases += low <= new <= high
    assert binomtest(covered, STUDIES, 0.9, alternative="less").pvalue > 1e-3
    assert as_cases / STUDIES < 0.8


def test_unusable_input_is_named() -> None:
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match="level"):
            upper_bound([1.0], level)
        with pytest.raises(ValueError, match="level"):
            smallest_number(level)
    with pytest.raises(ValueError, match="scores"):
        upper_bound([], 0.9)
    with pytest.raises(ValueError, match="scores"):
        upper_bound([1.0, math.nan], 0.9)
    with pytest.raises(ValueError, match="groups"):
        upper_bound([1.0, 2.0], 0.9, ["a"])
