"""What a fit says of patients with several cases, of small results, of cases that are all alike, and of its price; counts made by hand."""

import numpy as np
import pytest

from nnunet_nacl.calibration.overlap import BOTH, LABELLED, PREDICTED
from nnunet_nacl.calibration.threshold_counts import N_THRESHOLDS, thresholds
from nnunet_nacl.decisions import across, threshold_across
from nnunet_nacl.decisions.threshold_cases import StructureCases, _structure
from nnunet_nacl.decisions.threshold_fit import _warnings, fit_structure
from nnunet_nacl.decisions.threshold_trade import trade_of
from nnunet_nacl.decisions.volume_bias import biases
from nnunet_nacl.decisions.volumes import Volumes


def structure(inside, voxel_ml=None, argmax=(15, 1), outside=100) -> StructureCases:
    """Cases of as many voxels as each names cells of, and five outside; of the label map 15 voxels are inside and one is not."""
    counts = np.zeros((len(inside), 2, N_THRESHOLDS), np.uint32)
    for case, cells in enumerate(inside):
        np.add.at(counts[case, 1], cells, 1)
        counts[case, 0, outside] += 5
    overlap = np.zeros((len(inside), 3), np.int64)
    overlap[:, LABELLED] = [len(cells) for cells in inside]
    overlap[:, BOTH] = np.where(overlap[:, LABELLED] > 0, argmax[0], 0)
    overlap[:, PREDICTED] = overlap[:, BOTH] + argmax[1]
    return _structure(counts, overlap, np.full(len(inside), 0.001) if voxel_ml is None else np.asarray(voxel_ml))


def drawn(rng, number, low=150, high=300):
    return [rng.integers(low, high, 20) for _ in range(number)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_gain_is_that_of_the_means_over_patients(rng):
    """One patient has as many cases as all others together."""
    cases = structure(drawn(rng, 10, 100, 200) + drawn(rng, 10))
    groups = ["many"] * 10 + [f"p{number}" for number in range(10)]
    found = trade_of(cases, ["fold"] * 20, groups)
    assert found["difference"] == pytest.approx(found["cross_fitted_Dice"] - found["argmax_Dice"])
    low, high = found["difference_interval"]
    assert low < found["difference"] < high and found["cross_fitted_units"] == 11


@pytest.mark.filterwarnings("error")
def test_patients_in_every_result_have_no_gain_and_others_do(rng):
    cases = structure(drawn(rng, 16))
    names = [f"p{number}" for number in range(8)] * 2
    found = trade_of(cases, ["a"] * 8 + ["b"] * 8, names)
    assert found["difference"] is None and found["difference_interval"] == [None, None]
    assert found["cross_fitted_Dice"] is None and found["best_threshold"] in thresholds()
    names[8:11] = ["x", "y", "z"]
    assert trade_of(cases, ["a"] * 8 + ["b"] * 8, names)["cross_fitted_units"] == 11


def test_a_result_that_cannot_be_measured_does_not_hide_the_others(rng):
    cases = structure(drawn(rng, 60, 250, 300) + drawn(rng, 8, 100, 200))
    found = fit_structure(cases, 0.1, ["big"] * 60 + ["bad"] * 8, None)["across_results"]
    assert found["above_the_level"] == ["bad"] and found["of_each"].keys() == {"bad"}
    assert found["not_checked"] == {"big": "8 cases have it that are only in other results, 9 are needed"}


def test_two_cases_that_agree_are_no_evidence_and_eight_that_miss_all_are(rng):
    most = drawn(rng, 40, 200, 300)
    for few, above in (([np.array([105] * 4 + [300] * 16)] * 2, []), ([np.array([100] * 20)] * 8, ["few"])):
        parts = ["a"] * 20 + ["b"] * 20 + ["few"] * len(few)
        found = fit_structure(structure(most + few), 0.1, parts, None)["across_results"]
        assert found["above_the_level"] == above and found["of_each"]["few"] > 0.1
        assert ("few" in found["not_checked"]) == (not above)


def test_exchangeable_small_results_raise_few_false_alarms():
    rng, alarms, number = np.random.default_rng(3), 0, 150
    for _ in range(number):
        inside = [np.where(rng.random(20) < rng.beta(0.5, 4), 105, 300) for _ in range(46)]
        parts = ["a"] * 20 + ["b"] * 20 + ["c"] * 6
        found = fit_structure(structure(inside), 0.15, parts, None)["across_results"]
        alarms += "c" in found["above_the_level"]
    assert alarms <= 0.05 * number


def test_equal_cases_have_no_interval():
    cases = structure([np.full(20, 200)] * 12)
    left_out = fit_structure(cases, 0.1, ["a"] * 12, None)["left_out"]
    assert left_out == {"miss_rate": 0.0, "miss_rate_interval": [None, None]}
    assert trade_of(cases, ["a"] * 12, None)["difference_interval"] == [None, None]
    bias = biases(np.full(9, 2.0), Volumes(np.full(9, 2.2), np.full(9, 0.001)))["hard"]
    assert np.isnan([bias.low, bias.high, bias.share_low, bias.share_high]).all()
    assert "95 %" not in bias.in_words("liver") and "too large" in bias.in_words("liver")


def test_the_ratio_is_that_of_the_volumes_shown(rng):
    voxel_ml = np.where(np.arange(20) < 10, 0.001, 0.02)
    inside = drawn(rng, 10, 100, 200) + drawn(rng, 10, 280, 300)
    price = fit_structure(structure(inside, voxel_ml), 0.3, ["a"] * 20, None)["price"]
    shown = price["volume_ml"]
    assert price["volume_ratio"] == pytest.approx(shown["threshold"] / shown["argmax"])
    flat = fit_structure(structure(inside, np.full(20, np.nan)), 0.3, ["a"] * 20, None)["price"]
    assert flat["volume_ml"] == {"argmax": None, "threshold": None} and flat["volume_ratio"] > 0


def test_cases_without_it_are_measured_at_the_threshold_of_the_other_patients():
    """The threshold is lower for the patient that is left out of its own fit, and so for that patient's case without the structure."""
    inside = [np.array([250] * 20) for _ in range(20)] + [np.array([50] * 4 + [250] * 16), np.array([], int)]
    patients = [f"p{number}" for number in range(20)] + ["bad", "bad"]
    with_it, alone = (
        fit_structure(structure(inside, outside=outside), 0.05, ["a"] * 22, patients)["price"]["false_positive_ml"]
        for outside in (60, 40)
    )
    # at the threshold without the bad patient, cell 250, nothing outside is marked; at the one with it, cell 50, all of cell 60 is
    assert with_it["threshold"] != alone["threshold"]
    own = fit_structure(structure(inside, outside=60), 0.05, ["a"] * 22, patients)
    assert own["threshold"] == thresholds()[50]
    assert own["price"]["false_positive_ml"]["threshold"] == pytest.approx(0.005 * 20 / 21)


def test_only_results_above_the_level_are_named_and_smaller_masks_are_said(rng):
    inside = drawn(rng, 40, 250, 300) + drawn(rng, 20, 100, 240)
    entry = {"name": "liver"} | fit_structure(
        structure(inside, argmax=(19, 1)), 0.2, ["a"] * 20 + ["b"] * 20 + ["c"] * 20, None
    )
    said = _warnings({"1": entry}, 0.2, False)
    differ = [line for line in said if "these networks differ" in line]
    assert entry["across_results"]["above_the_level"] == ["c"] and len(differ) == 1
    assert " of c" in differ[0] and " of a" not in differ[0].split("was missed")[0]
    assert any("smaller and miss more" in line for line in said)


def test_masks_are_called_smaller_only_where_they_are(rng):
    """Of regions that overlap, nnU-Net's label map can hold less than a mask that misses more."""
    entry = {"name": "region"} | fit_structure(
        structure(drawn(rng, 12), argmax=(19, 0), outside=400), 0.3, ["fold"] * 12, None
    )
    assert entry["miss_rate"] > entry["argmax_miss_rate"] and entry["price"]["volume_ratio"] > 1
    (said,) = (line for line in _warnings({"1": entry}, 0.3, False) if "misses" in line)
    assert said.endswith(f"masks at {entry['threshold']:.3g} miss more than it does")


def test_volumes_and_triage_measure_a_small_result_too():
    parts = ["big"] * 60 + ["small"] * 8
    found = across.across_results(parts, None, 0.9, lambda known, own: np.zeros(own.sum(), bool))
    assert found["below_the_level"] == ["small"] and found["of_each"] == {"small": 0.0} and found["coverage"] == 0.0
    (below, unknown) = across.in_words("liver", "the intervals", found, 0.9)
    assert "0.00 of small" in below and "big (8 cases are only in other results, 19 are needed)" in unknown


def test_that_the_threshold_of_a_fit_misses_more_by_chance_is_no_warning():
    """8 of 100 are missed in the fit. 17 of 100 others exceed the level by their own interval alone, and so do more than 5 % of such results."""

    def warned(n_missed: int) -> list[str]:
        missed = np.r_[np.arange(100) < 8, np.arange(100) < n_missed].astype(float)
        rates = np.stack([np.zeros(200), missed], 1)
        found = threshold_across.across_results(rates, 0.1, ["fit"] * 100 + ["new"] * 100, None)
        assert found["of_each"]["new"] == n_missed / 100
        return found["above_the_level"]

    assert warned(9) == warned(17) == []
    assert warned(25) == ["new"]
