"""Conformal risk control: by hand, by its definition, and in simulated studies; and that it fails under shift."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import binom

from nnunet_nacl.calibration.threshold_counts import thresholds
from nnunet_nacl.decisions.miss_rate import (
    by_patient,
    controlled,
    left_out,
    mean_over_patients,
    miss_rates,
    smallest_number,
)

LEVEL = 0.1


def test_by_hand():
    """Nine cases of ten voxels, of which one lies in each tenth: the mean miss rate has to be 0 at 0.1, and may be 1/9 at 0.2."""
    rates = miss_rates([[1] * 10] * 9)
    assert rates[0].tolist() == pytest.approx([number / 10 for number in range(10)])
    assert controlled(rates, 0.1) == 0
    assert controlled(rates, 0.2) == 1  # (9 * 0.1 + 1) / 10 = 0.19
    assert controlled(rates[:8], 0.1) is None
    assert left_out(rates, 0.1) is None
    assert left_out(rates, 0.2).tolist() == [1] * 9  # (8 * 0.1 + 1) / 9 = 0.2
    assert left_out(rates, 0.19).tolist() == [0] * 9


def test_smallest_number_is_the_first_that_can_keep_a_level():
    for level in (0.5, 0.2, 0.1, 0.05, 1 / 3):
        n = smallest_number(level)
        assert 1 / (n + 1) <= level + 1e-12 < 1 / n + 1e-9
        never_missed = miss_rates([[0, 0, 7]] * n)
        assert controlled(never_missed, level) == 2 and controlled(never_missed[1:], level) is None
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match="level"):
            smallest_number(level)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=6, max_size=6), min_size=1, max_size=30),
    st.sampled_from([0.1, 0.3, 0.5]),
)
def test_is_the_largest_threshold_that_meets_the_inequality(counts, level):
    rates, _ = by_patient(miss_rates(counts))
    n = len(rates)
    found = controlled(rates, level)
    kept = [n / (n + 1) * mean + 1 / (n + 1) <= level + 1e-9 for mean in rates.mean(0)] if n else []
    assert found == (max(np.flatnonzero(kept)) if n and n >= smallest_number(level) else None)


def test_patients_weigh_alike_and_cases_without_it_are_left_out():
    inside = np.array([[4, 0], [0, 4], [2, 2], [0, 0], [0, 0]])
    rates, patient = by_patient(miss_rates(inside), ["a", "a", "b", "b", "c"])
    assert rates[:, 1].tolist() == [0.5, 0.5] and patient.tolist() == [0, 0, 1]
    assert mean_over_patients([1.0, 0.0, np.nan, 4.0], ["a", "a", "a", "b"]) == pytest.approx(2.25)
    assert np.isnan(mean_over_patients([np.nan]))


def rates_of(rng, n, shift=0.0):
    """The miss rates of cases whose logits inside the structure are normal, around a mean that differs from case to case."""
    with np.errstate(divide="ignore"):
        logits = np.log(thresholds() / (1 - thresholds()))
    return ndtr((logits - rng.normal(1.5 - shift, 1.2, (n, 1))) / 1.5)


def studies(n, number, shift=0.0):
    """Of each study, the true miss rate at its threshold, and what one new case misses."""
    rng = np.random.default_rng(n)
    population = rates_of(np.random.default_rng(1), 4000, shift)
    places = np.array([controlled(rates_of(rng, n), LEVEL) for _ in range(number)])
    return population.mean(0)[places], population[rng.integers(0, 4000, number), places]


@pytest.mark.parametrize("n", [20, 50, 200])
def test_new_cases_miss_no_more_and_not_much_less(n):
    number = 300
    true, new = studies(n, number)
    off = 3 * true.std() / np.sqrt(number)
    assert LEVEL - 2 / (n + 1) - off <= true.mean() <= LEVEL + off
    # each study and its new case: a voxel of the case is missed with that probability
    missed = np.random.default_rng(2).random(number) < new
    low, high = binom.interval(0.999, number, LEVEL)
    assert missed.sum() <= high and missed.sum() >= (low if n == 200 else 0)


def test_it_fails_under_shift():
    true, _ = studies(50, 100, shift=1.0)
    assert true.mean() > 1.5 * LEVEL


def test_the_mean_over_patients_is_kept_and_not_that_over_cases():
    """Patients with five cases are harder than those with one, so the mean over cases is higher than the mean that is kept."""
    rng, of_patients, of_cases = np.random.default_rng(4), [], []

    def drawn(n):
        many = rng.random(n) < 0.3
        groups = np.repeat(np.arange(n), np.where(many, 5, 1))
        with np.errstate(divide="ignore"):
            logits = np.log(thresholds() / (1 - thresholds()))
        harder = np.where(many, 1.5, 0.0)[groups]
        return ndtr((logits - rng.normal(2 - harder, 0.5)[:, None]) / 1.5), groups

    new, groups = drawn(3000)
    patients, _ = by_patient(new, groups)
    for _ in range(100):
        place = controlled(by_patient(*drawn(50))[0], LEVEL)
        of_patients.append(patients[:, place].mean())
        of_cases.append(new[:, place].mean())
    assert np.mean(of_patients) <= LEVEL + 3 * np.std(of_patients) / 10
    assert np.mean(of_cases) > 1.3 * LEVEL
