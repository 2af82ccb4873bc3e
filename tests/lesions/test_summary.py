"""FROC, average precision, shares over patients and the summary: by hand, against scikit-learn, and by simulation."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, norm, sem, t
from sklearn.metrics import average_precision_score

from nnunet_nacl.lesions import Rules, find_lesions, summarize
from nnunet_nacl.lesions.extremes import extremes
from nnunet_nacl.lesions.froc import RATES, average_precision, froc, froc_score, sensitivity_at
from nnunet_nacl.lesions.matching import NONE, match_in_order
from nnunet_nacl.lesions.proportions import share_over_patients, wilson
from nnunet_nacl.lesions.rates import rate_over_patients
from nnunet_nacl.lesions.reliability import reliability
from nnunet_nacl.lesions.table import ClassTable


def table(confidence, is_true, n_missed=0, finding_patient=None, n_patients=1, sizes=None):
    is_true = np.array(is_true, bool)
    n = int(is_true.sum()) + n_missed
    patients = np.zeros(len(is_true), int) if finding_patient is None else np.array(finding_patient)
    confidence = np.array(confidence, float)
    return ClassTable(
        n_patients, patients, is_true, confidence, confidence / 2, np.zeros(n, int), np.arange(n) >= n_missed,
        np.ones(n) if sizes is None else np.array(sizes),
    )  # fmt: skip


def test_a_curve_by_hand():
    """Five findings in two patients, three of four lesions found; the two of 0.8 count together."""
    known = table([0.9, 0.8, 0.8, 0.6, 0.3], [1, 1, 0, 0, 1], n_missed=1, n_patients=2)
    curve = froc(known, "largest")
    assert curve.threshold.tolist() == [0.9, 0.8, 0.6, 0.3]
    assert curve.false_per_patient.tolist() == [0, 0.5, 1, 1]
    assert curve.sensitivity.tolist() == [0.25, 0.5, 0.5, 0.75]
    assert sensitivity_at(curve, 4, (0.25, 0.5, 0.99, 1, 8)).tolist() == [0.25, 0.5, 0.5, 0.75, 0.75]
    assert average_precision(known, "largest").value == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)
    assert RATES == (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # LUNA16's
    assert froc_score(known, "largest").value == pytest.approx((0.25 + 0.25 + 0.5 + 4 * 0.75) / 7)


def test_before_the_first_point_nothing_is_found():
    curve = froc(table([0.9, 0.8], [0, 1]), "largest")
    assert sensitivity_at(curve, 1, (0.5, 1)).tolist() == [0, 1]


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.booleans()), min_size=1, max_size=12),
    st.integers(0, 3),
)
def test_average_precision_is_that_of_scikit_learn(findings, n_missed):
    confidence, is_true = map(np.array, zip(*findings, strict=True))
    n_lesions = is_true.sum() + n_missed
    ours = average_precision(table(confidence, is_true, n_missed), "largest").value
    if not n_lesions:
        assert np.isnan(ours)
    elif not is_true.any():
        assert ours == 0
    else:
        theirs = average_precision_score(is_true, confidence)
        assert ours == pytest.approx(theirs * is_true.sum() / n_lesions)


@given(st.integers(0, 10**6))
def test_the_curve_is_that_of_matching_anew_at_each_threshold(seed):
    rng = np.random.default_rng(seed)
    n, n_lesions = 6, 4
    candidates = [np.flatnonzero(rng.random(n_lesions) < 0.4).tolist() for _ in range(n)]
    confidence = rng.choice([0.2, 0.5, 0.8], n)
    order = np.argsort(-confidence, kind="stable")
    is_true = match_in_order(candidates, order.tolist(), n_lesions) != NONE
    curve = froc(table(confidence, is_true, n_lesions - is_true.sum()), "largest")
    for threshold, false, sensitivity in zip(curve.threshold, curve.false_per_patient, curve.sensitivity, strict=True):
        kept = [row for row in order if confidence[row] >= threshold]
        anew = match_in_order([candidates[row] for row in kept], range(len(kept)), n_lesions) != NONE
        assert (sensitivity, false) == (anew.sum() / n_lesions, (~anew).sum())


def test_without_findings_or_lesions():
    nothing = table([], [])
    assert np.isnan(average_precision(nothing, "largest").value) and np.isnan(froc_score(nothing, "largest").value)
    assert average_precision(table([], [], n_missed=2), "largest").value == 0
    assert froc_score(table([], [], n_missed=2), "largest").value == 0


def test_reliability_by_hand():
    known = table([0.55, 0.6, 0.95, 1.0], [0, 1, 1, 1], finding_patient=[0, 1, 0, 1], n_patients=2)
    found = reliability(known, "largest")
    filled = {round(each.low, 1): each for each in found.bins if each.true.n}
    assert list(filled) == [0.5, 0.9]
    assert (filled[0.5].confidence, filled[0.5].true.value) == (pytest.approx(0.575), 0.5)
    assert found.gap.value == pytest.approx((0.55 + 0.6 + 0.95 + 1) / 4 - 0.75)
    assert found.ece == pytest.approx((2 * abs(0.575 - 0.5) + 2 * abs(0.975 - 1)) / 4)


def test_with_one_finding_a_patient_it_is_wilsons_interval():
    """Wilson 1927 for 8 of 20, with the variance taken from the patients: N - 1 in the place of N, and Student's t on both sides."""
    share = share_over_patients([1] * 8 + [0] * 12, [1] * 20)
    assert (share.low, share.high) == pytest.approx(wilson(0.4, 19))
    assert wilson(0.4, 20) == pytest.approx((0.2188, 0.6134), abs=1e-4)


def wilson_by_hand(share, n):
    """The two roots in q of (share - q)^2 = z^2 q (1 - q) / n."""
    z = norm.ppf(0.975)
    return tuple(sorted(np.roots([1 + z**2 / n, -2 * share - z**2 / n, share**2])))


def test_the_effective_number_by_hand():
    """Patients with 1 of 1, 0 of 1, 2 of 2 and 1 of 2 findings true: without each of them 3/5, 4/5, 2/4 and 3/4 are (the jackknife)."""
    variance = 3 * np.var([3 / 5, 4 / 5, 2 / 4, 3 / 4])
    number = (2 / 9) / variance * (t.ppf(0.975, 5) / t.ppf(0.975, 3)) ** 2
    share = share_over_patients([1, 0, 2, 1], [1, 1, 2, 2])
    assert number < 4 and (share.low, share.high) == pytest.approx(wilson_by_hand(2 / 3, number))
    # of two patients, 1 of 1 and 0 of 2: without each of them 0 and 1
    number = (2 / 9) / np.var([0, 1]) * (t.ppf(0.975, 2) / t.ppf(0.975, 1)) ** 2
    share = share_over_patients([1, 0], [1, 2])
    assert (share.low, share.high) == pytest.approx(wilson_by_hand(1 / 3, number))
    # no more than there are findings, however alike the patients are
    share = share_over_patients([1, 2, 1, 1], [2, 3, 2, 2])
    assert (share.low, share.high) == pytest.approx(wilson_by_hand(5 / 9, 9))


def test_the_intervals_of_curves_are_of_patients_left_out_one_after_another():
    """Efron and Stein's jackknife, by scikit-learn's average precision and a curve read threshold by threshold, and the effective number."""
    rng = np.random.default_rng(2)
    patient = np.repeat(np.arange(8), rng.integers(2, 6, 8))
    confidence, is_true = rng.uniform(0, 1, patient.size), rng.random(patient.size) < np.linspace(0.1, 0.95, 8)[patient]
    lesion_patient, missed = (
        np.r_[patient[is_true], np.arange(8)],
        np.r_[np.zeros(is_true.sum(), bool), np.ones(8, bool)],
    )
    known = ClassTable(8, patient, is_true, confidence, confidence / 2, lesion_patient, ~missed, np.ones(missed.size))

    def precision_of(kept, n_lesions, _):
        share = is_true[kept].sum() / n_lesions
        return average_precision_score(is_true[kept], confidence[kept]) * share

    def score_of(kept, n_lesions, n_patients):
        at = np.zeros(7)
        for threshold in confidence[kept]:
            above = kept & (confidence >= threshold)
            reached = (above & ~is_true).sum() / n_patients <= np.array([0.125, 0.25, 0.5, 1, 2, 4, 8])
            at = np.maximum(at, reached * (above & is_true).sum() / n_lesions)
        return at.mean()

    for ours, by_hand in ((average_precision, precision_of), (froc_score, score_of)):
        value = by_hand(patient >= 0, missed.size, 8)
        without = [by_hand(patient != left, (lesion_patient != left).sum(), 7) for left in range(8)]
        variance = 7 / 8 * ((without - np.mean(without)) ** 2).sum()
        number = value * (1 - value) / variance * (t.ppf(0.975, missed.size - 1) / t.ppf(0.975, 7)) ** 2
        found = ours(known, "largest")
        assert number < missed.size
        assert tuple(found) == pytest.approx((value, *wilson_by_hand(value, number)))


def test_the_gaps_interval_by_hand():
    """With one finding a patient: the t interval of the mean confidence, Wilson's of the share, and Pearson's correlation (MOVER)."""
    rng = np.random.default_rng(5)
    confidence, is_true = rng.uniform(0.4, 0.95, 14), rng.random(14) < 0.6
    gap = reliability(table(confidence, is_true, finding_patient=range(14), n_patients=14), "largest").gap
    mean, share = confidence.mean(), is_true.mean()
    low, high = t.interval(0.95, 13, mean, sem(confidence))
    least, most = wilson_by_hand(share, 13)
    both = 2 * np.corrcoef(confidence, is_true)[0, 1]
    below = np.sqrt((mean - low) ** 2 + (most - share) ** 2 - both * (mean - low) * (most - share))
    above = np.sqrt((high - mean) ** 2 + (share - least) ** 2 - both * (high - mean) * (share - least))
    assert (gap.value, gap.low, gap.high) == pytest.approx((mean - share, mean - share - below, mean - share + above))


def test_a_rate_that_varies_more_than_a_poisson_count_by_hand():
    """Fay and Feuer's limits, as their paper has them with chi-squared quantiles, of counts of mean 3 and variance 14."""
    mean, weight = 3.0, 1 / 5
    variance = 14 / 5 * (t.ppf(0.975, 4) / norm.ppf(0.975)) ** 2
    low = variance / (2 * mean) * chi2.ppf(0.025, 2 * mean**2 / variance)
    raised, more = mean + weight, variance + weight**2
    high = more / (2 * raised) * chi2.ppf(0.975, 2 * raised**2 / more)
    assert rate_over_patients([0, 0, 9, 2, 4]) == pytest.approx((mean, low, high))


def test_a_share_of_none_or_all_is_inside_its_interval():
    assert [wilson(0.0, n)[0] for n in range(1, 200)] == [0.0] * 199
    assert [wilson(1.0, n)[1] for n in range(1, 200)] == [1.0] * 199


def test_classes_of_one_name_are_refused():
    p = np.full((3, 4, 4), 1 / 3)
    case = find_lesions(p, labels=np.zeros((4, 4), int), names=["background", "cyst", "cyst"])
    with pytest.raises(ValueError, match="different names, but got cyst, cyst"):
        summarize([case])


def test_findings_that_always_agree_count_as_patients():
    each, several = share_over_patients([1, 0, 1, 0], [1] * 4), share_over_patients([9, 0, 9, 0], [9] * 4)
    assert several.n == 36 and several.high - several.low > 0.9 * (each.high - each.low)
    assert share_over_patients([9] * 4, [9] * 4)[1:3] == wilson(1, 4)
    assert share_over_patients([0] * 4, [9] * 4)[1:3] == wilson(0, 4)
    assert np.isnan(share_over_patients([3], [4]).low)


def test_the_interval_holds_for_findings_that_depend_on_each_other():
    """Beta-binomial findings of 20 patients: the interval over patients holds, that over findings does not."""
    rng = np.random.default_rng(0)
    over_patients, over_findings = [], []
    for _ in range(400):
        sizes = rng.integers(1, 12, 20)
        hits = rng.binomial(sizes, rng.beta(1.4, 0.6, 20))
        share = share_over_patients(hits, sizes)
        over_patients.append(share.low <= 0.7 <= share.high)
        low, high = wilson(hits.sum() / sizes.sum(), sizes.sum())
        over_findings.append(low <= 0.7 <= high)
    assert 0.92 <= np.mean(over_patients) <= 0.98
    assert np.mean(over_findings) < 0.8


def test_the_gap_has_a_narrow_interval_where_confidence_follows_the_truth():
    """Both means vary with the share of hard patients, and their difference does not: a correlation of the wrong sign would add them."""
    patients, hard = np.repeat(np.arange(20), 10), np.repeat(np.arange(20) % 2, 10) > 0
    is_true = np.tile(np.arange(10) < 5, 20) | ~hard & (np.tile(np.arange(10), 20) < 9)
    confidence = np.where(hard, 0.5, 0.9)
    drawn = ClassTable(20, patients, is_true, confidence, confidence, patients, is_true, np.ones(200))
    gap, share = (
        reliability(drawn, "largest").gap,
        share_over_patients(drawn.of_patients(patients, is_true), np.full(20, 10)),
    )
    assert gap.value == pytest.approx(0)
    assert gap.high - gap.low < 0.1 * (share.high - share.low)


@pytest.mark.parametrize(("n_patients", "of_first"), [(10, 60), (20, 60), (20, 1)])
def test_the_interval_holds_where_one_patient_has_most_findings(n_patients, of_first):
    """60 of 69 and 79 findings: the linearised variance held in 31 and 42 % of studies, since the share is nearly this patient's own."""
    rng, held = np.random.default_rng(n_patients), []
    sizes = np.r_[of_first, np.ones(n_patients - 1, int)]
    for _ in range(400):
        share = share_over_patients(rng.binomial(sizes, rng.beta(7 / 6, 7 / 6, n_patients)), sizes)
        held.append(share.low <= 0.5 <= share.high)
    assert np.mean(held) > 0.85


def cases(n=6, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        p = np.where(rng.random((2, 8, 8)) < 0.12, rng.uniform(0.55, 1, (2, 8, 8)), 0.1)
        labels = ((p > 0.5) & (rng.random(p.shape) < 0.5)) | (rng.random(p.shape) < 0.02)
        found.append(find_lesions(np.stack([1 - p, p]), labels.astype(int), spacing=(2, 2, 2), case=f"c{number}"))
    return found


def test_summary_adds_up():
    found = cases()
    (of_class,) = summarize(found).values()
    assert of_class["n_findings"] == sum(len(case.findings.number) for case in found)
    assert of_class["n_findings"] == of_class["n_true"] + of_class["n_duplicate"] + of_class["n_false"]
    assert of_class["n_lesions"] == of_class["n_found"] + of_class["n_merged"] + of_class["n_missed"]
    assert of_class["n_true"] == of_class["n_found"]
    assert sum(each["sensitivity"]["n"] for each in of_class["sensitivity_by_size"]) == of_class["n_lesions"]
    for which in ("largest", "mean"):
        assert sum(each["true"]["n"] for each in of_class["reliability"][which]["bins"]) == of_class["n_findings"]
    # the curve ends at the segmentation's own operating point
    last = {name: column[-1] for name, column in of_class["froc"].items()}
    assert last["sensitivity"] == of_class["sensitivity"]["value"]
    assert last["false_per_patient"] == pytest.approx(of_class["false_findings_per_patient"]["value"])
    assert last["precision"] == of_class["precision"]["value"]
    json.dumps(of_class, allow_nan=False)


def test_cases_of_one_patient_are_one_unit():
    found = cases()
    (alone,), (grouped,) = summarize(found).values(), summarize(found, list("aabbcc")).values()
    assert (alone["n_patients"], grouped["n_patients"]) == (6, 3)
    assert grouped["sensitivity"]["value"] == alone["sensitivity"]["value"]
    assert grouped["sensitivity"]["n_patients"] == 3
    assert grouped["false_findings_per_patient"]["value"] == pytest.approx(
        2 * alone["false_findings_per_patient"]["value"]
    )


def test_duplicates_may_be_ignored():
    labels = np.zeros((1, 4, 9), int)
    labels[0, 1] = 1
    p = np.zeros(labels.shape)
    p[0, 1, ::4] = 0.9
    found = [find_lesions(np.stack([1 - p, p]), labels)]
    strict, lenient = (summarize(found, rules=Rules(duplicates=kind))["1"] for kind in ("false", "ignored"))
    assert (strict["n_duplicate"], strict["false_findings_per_patient"]["value"]) == (2, 2)
    assert (lenient["n_duplicate"], lenient["false_findings_per_patient"]["value"]) == (2, 0)
    assert lenient["precision"]["value"] == 1 and strict["precision"]["value"] == pytest.approx(1 / 3)


def test_extremes_by_hand():
    """Of the false findings the most confident, of equal ones the largest; of the missed lesions the largest; nothing that was found."""
    rows, labels = np.full((2, 24), 0.1), np.zeros((2, 24), int)
    rows[0, 0] = rows[0, 2:4] = 0.9
    rows[0, 5:8] = 0.95, 0.6, 0.6
    labels[0, 14:16] = labels[1, 14:17] = labels[1, 0:5] = labels[1, 22] = 1
    rows[1, 0:5] = 0.99
    cases = [
        find_lesions(np.stack([1 - p, p])[:, None, None], label[None, None], spacing=(1, 1, 2), case=case)
        for case, p, label in zip("ab", rows, labels, strict=True)
    ]
    for confidence, largest, mean, size in (("largest", 0.95, 2.15 / 3, 6), ("mean", 0.9, 0.9, 4)):
        finding, lesion = extremes(cases, Rules(confidence=confidence))
        assert (finding["kind"], finding["outcome"], finding["case"], finding["size"]) == (
            "finding",
            "false",
            "a",
            size,
        )
        assert (finding["largest_p"], finding["mean_p"]) == (pytest.approx(largest), pytest.approx(mean))
        assert (lesion["kind"], lesion["outcome"], lesion["case"], lesion["size"]) == ("lesion", "missed", "b", 6)
        assert cases[0].findings.number[cases[0].sizes(cases[0].findings) == size].tolist() == [finding["number"]]
    assert [entry["kind"] for entry in extremes(cases[1:], Rules())] == ["lesion"]


def test_wrong_cases():
    with pytest.raises(ValueError, match="at least one case"):
        summarize([])
    with pytest.raises(ValueError, match="groups"):
        summarize(cases(2), ["a"])


def test_without_lesions_there_is_no_sensitivity_at_any_rate():
    """A class without lesions: null at every rate, below the first false finding as above it, and every point of the curve is kept."""
    labels = np.zeros((4, 9, 9), int)
    p = np.zeros(labels.shape)
    p[1, 1, 1], p[1, 5, 5] = 0.9, 0.8
    none = find_lesions(np.stack([np.ones_like(p), np.zeros_like(p)]), labels)
    of_class = summarize([find_lesions(np.stack([1 - p, p]), labels), none])["1"]
    assert [each["sensitivity"] for each in of_class["sensitivity_at"]] == [None] * 7
    assert of_class["froc"]["false_per_patient"] == [0.5, 1] and of_class["froc"]["sensitivity"] == [None, None]
    assert [each["sensitivity"] for each in summarize([none])["1"]["sensitivity_at"]] == [None] * 7


def test_patients_who_agree_have_an_interval():
    """Three patients with a true finding of 0.8 each: nothing differs, and three patients say little."""
    confidence, patients = np.full(3, 0.8), np.arange(3)
    known = ClassTable(3, patients, np.ones(3, bool), confidence, confidence, patients, np.ones(3, bool), np.ones(3))
    low = wilson(1, 3)[0]
    assert average_precision(known, "largest") == froc_score(known, "largest") == (1, pytest.approx(low), 1)
    assert reliability(known, "largest").gap == pytest.approx((-0.2, -0.2, 0.8 - low))


def test_false_findings_per_patient_have_the_exact_interval_of_a_poisson_count():
    """Garwood 1936: chi2(0.025, 2 x) / 2 to chi2(0.975, 2 x + 2) / 2 for x in all, without more variance than that."""
    for counts in ([0] * 10, [1, 0, 0, 1, 0] * 20, [1] * 3):
        x, n = sum(counts), len(counts)
        rate = rate_over_patients(counts)
        assert rate.value == x / n
        assert rate[1:] == pytest.approx(
            (chi2.ppf(0.025, 2 * x) / 2 / n if x else 0, chi2.ppf(0.975, 2 * x + 2) / 2 / n)
        )
    assert np.isnan(rate_over_patients([3]).low)
    alike, apart = rate_over_patients([2] * 10), rate_over_patients([10, 10] + [0] * 8)
    assert apart.low < 0.5 * alike.low and apart.high > 1.9 * alike.high


def test_the_intervals_of_a_good_network_hold():
    """Few errors in ten patients: where every patient agrees the interval must not shrink to a point (70 % of such intervals held)."""
    rng, held = np.random.default_rng(0), []
    for _ in range(300):
        n_lesions, n_false = rng.poisson(3, 10), rng.poisson(0.15, 10)
        lesions = np.repeat(np.arange(10), n_lesions)
        found = rng.random(len(lesions)) < 0.95
        patients = np.concatenate([lesions[found], np.repeat(np.arange(10), n_false)])
        is_true = np.arange(len(patients)) < found.sum()
        confidence = np.full(len(patients), 0.9)
        drawn = ClassTable(10, patients, is_true, confidence, confidence, lesions, found, np.ones(len(found)))
        rate = rate_over_patients(n_false)
        precision, score = average_precision(drawn, "largest"), reliability(drawn, "largest").gap
        truth = 0.95 * 2.85 / 3, 0.9 - 2.85 / 3
        held.append(
            (
                rate.low <= 0.15 <= rate.high,
                precision.low <= truth[0] <= precision.high,
                score.low <= truth[1] <= score.high,
            )
        )
    assert (np.mean(held, 0) > 0.92).all()
