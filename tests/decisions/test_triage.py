"""Confidences of whole cases, and how well they are judged, on tables small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from nnunet_nacl.decisions.case_table import CaseTable
from nnunet_nacl.decisions.conformal import two_sided_bounds, upper_bound
from nnunet_nacl.decisions.coverage import binomial_interval, chance_of_so_few, coverage
from nnunet_nacl.decisions.triage import case_confidences, case_dice, class_confidences, judge, n_to_check


def table(predicted, soft, inside, entropy=0.0) -> CaseTable:
    sums = np.stack([np.asarray(inside, float), np.full(np.shape(inside), entropy)], -1)
    soft = np.asarray(soft, float)
    return CaseTable(("a", "b")[: len(soft)], np.ones(len(soft)), np.asarray(predicted, float), soft, soft / 2, sums)


def test_an_empty_mask_counts_only_of_a_structure_that_is_always_there() -> None:
    one = table([[10, 0]], [[10, 2]], [[8, 0]])
    assert case_confidences(one, [True, False])["soft_Dice"] == pytest.approx([0.8])
    assert case_confidences(one, [True, True])["soft_Dice"] == pytest.approx([0.4])
    assert case_confidences(one, [True, True])["mean_probability"] == pytest.approx([0.8])


def test_a_confident_miss_has_no_confidence_in_it() -> None:
    """Soft sum exactly 0: of a structure that is always there it is the least confidence, as with a soft sum of 1e-9."""
    for soft in (0.0, 1e-9):
        missed = table([[10, 0]], [[10, soft]], [[8, 0]])
        assert case_confidences(missed, [True, True])["soft_Dice"] == pytest.approx([0.4])
        assert class_confidences(missed, [True, True])["soft_Dice"].tolist() == [[0.8, 0]]
        # a structure that some cases lack may be rightly empty, which no sum tells
        assert case_confidences(missed, [True, False])["soft_Dice"] == pytest.approx([0.8])
        assert np.isnan(class_confidences(missed, [True, False])["soft_Dice"][0, 1])
    nobody = case_confidences(table([[10, 0]], [[10, 0]], [[8, 0]]), [True, True], np.array([[0.9, np.nan]]))
    assert nobody["agreement"] == pytest.approx([0.45])


def test_a_case_without_any_mask_has_no_confidence() -> None:
    nothing = table([[0, 0]], [[1, 2]], [[0, 0]])
    found = case_confidences(nothing, [False, False])
    assert found.pop("volume") == [0]
    for values in found.values():
        assert np.isnan(values).all()
    assert case_confidences(nothing, [True, False])["soft_Dice"] == [0]
    certain = table([[0, 0]], [[0, 0]], [[0, 0]])
    assert case_confidences(certain, [True, False])["soft_Dice"] == [0]


def test_means_are_over_voxels_and_dice_over_structures() -> None:
    found = case_confidences(table([[10, 30]], [[10, 30]], [[9, 15]], entropy=4.0), [True, True])
    assert found["mean_probability"] == pytest.approx([24 / 40])
    assert found["mean_entropy"] == pytest.approx([-8 / 40])
    assert found["volume"] == [40]
    dice = case_dice(np.array([[0.8, np.nan], [0.6, 0.4], [np.nan, np.nan]]))
    assert dice == pytest.approx([0.8, 0.5, np.nan], nan_ok=True)


def test_a_judged_confidence() -> None:
    dice = np.array([0.9, 0.8, 0.5, np.nan])
    found = judge(np.array([3.0, 2.0, 1.0, 0.0]), dice)
    assert (found["n_cases"], found["n_left_out"]) == (3, 1)
    assert found["AURC"] == pytest.approx(((0.1 + 0.1) / 2 + (0.1 + 0.15) / 2 + (0.15 + 0.8 / 3) / 2) / 3)
    assert found["excess_AURC"] == pytest.approx(0)
    assert found["found_of_worst_tenth"] == 1
    assert judge(-np.array([3.0, 2.0, 1.0, 0.0]), dice)["found_of_worst_tenth"] == 0
    assert judge(np.array([1.0, 2.0]), np.array([0.5, np.nan])) is None


def test_draws_that_agree_give_no_interval() -> None:
    """With the same Dice everywhere no area differs, which is not an interval of no width; otherwise there is one."""
    sure, dice = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([0.9, 0.8, 0.5, 0.7, 0.2])
    assert judge(sure, np.full(5, 0.9))["AUGRC_interval"] == [None, None]
    low, high = judge(sure, dice)["AUGRC_interval"]
    assert low < high


def test_fewer_than_five_patients_give_no_interval() -> None:
    """A bootstrap of two cases has four draws; `compare` gives none either."""
    sure, dice = np.arange(8.0), np.linspace(0.2, 0.9, 8)
    assert judge(sure[:4], dice[:4])["AUGRC_interval"] == [None, None]
    assert judge(sure, dice, np.arange(8) // 2)["excess_AUGRC_interval"] == [None, None]
    assert None not in judge(sure[:5], dice[:5])["AUGRC_interval"]


def test_a_case_without_a_confidence_is_judged_as_the_least_confident() -> None:
    dice, sure = np.array([0.9, 0.0, 0.7, np.nan]), np.array([0.8, np.nan, 0.7, np.nan])
    found, lowest = judge(sure, dice), judge(np.array([0.8, -5.0, 0.7, 0.0]), dice)
    assert (found["n_cases"], found["n_left_out"], found["n_without"]) == (3, 1, 1)
    assert found["curve"] == lowest["curve"] and found["mean_risk"] == pytest.approx(1.4 / 3)
    assert found["found_of_worst_tenth"] == 1


def test_the_bootstrap_draws_patients_whole() -> None:
    random = np.random.default_rng(0)
    of_patients, patients = random.random(12), np.repeat(np.arange(12), 5)
    dice = np.repeat(of_patients, 5)
    confidence = dice + random.normal(0, 0.3, 60)
    width = {}
    for name, groups in (("cases", None), ("patients", patients)):
        low, high = judge(confidence, dice, groups)["AUGRC_interval"]
        width[name] = high - low
    assert width["patients"] > 1.5 * width["cases"]


@pytest.mark.parametrize(
    ("n_cases", "budget", "expected"), [(40, 0.1, 4), (41, 0.1, 5), (3, 0.01, 1), (3, 0, 0), (3, 1, 3), (10, 0.3, 3)]
)
def test_a_budget_is_rounded_up(n_cases: int, budget: float, expected: int) -> None:
    assert n_to_check(n_cases, budget) == expected


def test_coverage_weighs_patients_alike() -> None:
    assert coverage([True, True, False]) == pytest.approx(2 / 3)
    assert coverage([True, True, False], ["a", "a", "b"]) == pytest.approx(0.5)
    assert binomial_interval(0.9, 10) == pytest.approx((beta.ppf(0.025, 9, 2), beta.ppf(0.975, 10, 1)))
    assert binomial_interval(1.0, 10) == pytest.approx((0.025 ** (1 / 10), 1.0))
    assert binomial_interval(0.0, 10)[0] == 0
    for hits in range(11):
        expected = binomtest(hits, 10).proportion_ci(0.8, method="exact")
        assert binomial_interval(hits / 10, 10, 0.8) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(("n_fitted", "two_sided", "gaps"), [(9, False, 1), (19, False, 2), (19, True, 2), (29, True, 2), (29, False, 3), (39, True, 4)])  # fmt: skip
def test_one_new_patient_is_outside_by_the_gaps_outside(n_fitted: int, two_sided: bool, gaps: int) -> None:
    """Ranks of exchangeable errors are equally likely: of n + 1 gaps, floor(0.1 (n + 1)) are outside, as many on each of two sides."""
    found = chance_of_so_few(0.0, 1, n_fitted, 0.9, two_sided=two_sided)
    assert found == pytest.approx(gaps / (n_fitted + 1))


def test_the_chance_of_so_few_is_that_of_simulated_studies() -> None:
    random, n_studies = np.random.default_rng(0), 2000
    few = 0
    for _ in range(n_studies):
        low, high = two_sided_bounds(random.normal(size=40), 0.9)
        few += np.mean((low <= (new := random.normal(size=20))) & (new <= high)) <= 0.8
    assert binomtest(few, n_studies, chance_of_so_few(0.8, 20, 40, 0.9)).pvalue > 1e-3
    assert chance_of_so_few(0.0, 20, 18, 0.9) == 1  # too few to be finite
    few = sum(
        np.mean(random.normal(size=20) <= upper_bound(random.normal(size=40), 0.9)) <= 0.8 for _ in range(n_studies)
    )
    assert binomtest(few, n_studies, chance_of_so_few(0.8, 20, 40, 0.9, two_sided=False)).pvalue > 1e-3
