"""Calibration statistics: against the slow reference, independent libraries, and cases worked out by hand."""

import math
from dataclasses import asdict, fields

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.calibration.mask_confidence import ENTROPY, PROBABILITY
from nnunet_nacl.calibration.mask_kernels import add_masks
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.calibration.sums import MASK_ENTROPY, STRIP


def random_voxels(seed, num_classes=3, n=200, sharpness=2.0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(num_classes, n))
    probabilities = np.exp(logits) / np.exp(logits).sum(0)
    return probabilities.astype(dtype), rng.integers(0, num_classes, n)


def statistics_of(probabilities, labels, n_bins=15, ignore_label=None):
    statistics = CalibrationStatistics.empty(len(probabilities), n_bins)
    statistics.update(probabilities, labels, ignore_label)
    return statistics


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    num_classes=st.integers(2, 5),
    n=st.integers(1, 60),
    n_bins=st.integers(1, 20),
    sharpness=st.sampled_from([0.0, 1.0, 5.0, 40.0]),
    ignore=st.booleans(),
)
def test_equals_the_slow_reference(seed, num_classes, n, n_bins, sharpness, ignore):
    probabilities, labels = random_voxels(seed, num_classes, n, sharpness)
    ignore_label = num_classes if ignore else None
    if ignore:
        labels[::3] = num_classes
    statistics = statistics_of(probabilities, labels, n_bins, ignore_label)
    for voxel_set in VOXEL_SETS:
        scores = statistics.scores(voxel_set)
        for name, expected in reference(probabilities, labels, voxel_set, n_bins, ignore_label).items():
            # the residuals of a voxel are added in the dtype of the probabilities, all else in float64
            tolerance = 1e-6 if name == "brier" else 1e-9
            np.testing.assert_allclose(
                getattr(scores, name), expected, atol=tolerance, err_msg=f"{name} of {voxel_set}"
            )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    num_classes=st.integers(2, 5),
    n=st.integers(1, 60),
    sharpness=st.sampled_from([0.0, 1.0, 40.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_spread_and_mask_sums_are_their_definitions(seed, num_classes, n, sharpness, dtype):
    probabilities, labels = random_voxels(seed, num_classes, n, sharpness, dtype)
    labels[::3] = num_classes
    statistics = statistics_of(probabilities, labels, ignore_label=num_classes)
    counted = probabilities[:, labels != num_classes].astype(float)
    prediction = counted.argmax(0)
    for label in range(1, num_classes):
        p = counted[label]
        assert statistics.spread[label - 1] == pytest.approx(math.fsum(p * (1 - p)), rel=1e-6)
        inside = p[prediction == label]
        assert statistics.mask_sums[label - 1, PROBABILITY] == pytest.approx(math.fsum(inside), rel=1e-12)
        entropy = scipy.stats.entropy([inside, np.maximum(1 - inside, 0)]).sum() if inside.size else 0
        assert statistics.mask_sums[label - 1, ENTROPY] == pytest.approx(entropy, rel=1e-6, abs=1e-7 * inside.size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entropies_are_those_of_the_formula(dtype):
    ends = [0.0, 1.0, 1.005]
    inside = np.concatenate([np.linspace(0, 1, 2001)[1:-1], np.logspace(-37, -1, 200), 1 - np.logspace(-16, -1, 100)])
    probabilities = np.concatenate([inside, ends]).astype(dtype)
    p = probabilities[: inside.size].astype(float)
    expected = -scipy.special.xlogy(p, p) - scipy.special.xlog1py(1 - p, -p)
    # each voxel is predicted as a class of its own
    classes = np.arange(probabilities.size)
    lanes = np.zeros((classes.size, 3, STRIP))
    add_masks(probabilities, classes.astype(np.int16), np.zeros(classes.size, np.uint8), 0, lanes)
    entropies = lanes[:, MASK_ENTROPY].sum(-1)
    np.testing.assert_allclose(entropies[: p.size], expected, rtol=1e-6)
    np.testing.assert_array_equal(entropies[p.size :], 0)


def test_the_same_voxels_give_the_same_sums_to_the_last_bit_wherever_they_lie_in_memory():
    """Which instructions add them up depends on how they are aligned, and must not be seen in the sums."""
    probabilities, labels = random_voxels(0, n=3000)
    expected = statistics_of(probabilities, labels)
    for offset in range(1, 17):
        room = np.empty((3, 3000 + offset), np.float32)
        room[:, offset:] = probabilities
        moved = statistics_of(np.ascontiguousarray(room)[:, offset:], labels)
        np.testing.assert_array_equal(moved.spread, expected.spread)
        np.testing.assert_array_equal(moved.mask_sums, expected.mask_sums)


def test_confidence_of_zero_and_one():
    statistics = statistics_of(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    scores = statistics.scores("all")
    assert (scores.ece, scores.mce, scores.accuracy, scores.confidence) == (0.5, 0.5, 0.5, 1.0)
    assert scores.brier == 1.0
    assert scores.nll == pytest.approx(-np.log(1e-12) / 2)
    assert statistics.floored.sum() == 1


def test_overconfidence_by_hand():
    """Ten voxels at 0.9 of which seven are right: ECE 0.2, and the gap says overconfident."""
    probabilities = np.tile(np.array([[0.1], [0.9]]), 10)
    labels = np.array([1] * 7 + [0] * 3)
    scores = statistics_of(probabilities, labels).scores("all")
    assert scores.ece == pytest.approx(0.2)
    assert scores.gap == pytest.approx(0.2)
    assert scores.class_wise_ece == pytest.approx([0.2, 0.2])


def test_one_voxel_and_none():
    one = statistics_of(np.array([[0.3], [0.7]]), np.array([1]))
    assert one.scores("all").ece == pytest.approx(0.3)
    none = statistics_of(np.array([[0.3], [0.7]]), np.array([2]), ignore_label=2)
    assert none.ignored == 1
    scores = none.scores("all")
    assert scores.n_voxels == 0
    assert np.isnan([scores.ece, scores.ace, scores.mce, scores.nll, scores.brier, scores.gap]).all()


def test_absent_class_is_not_a_number():
    probabilities, labels = random_voxels(0)
    labels[labels == 2] = 1
    statistics = statistics_of(probabilities, labels)
    scores = statistics.scores("all")
    assert np.isnan(scores.class_wise_ece[2])
    assert scores.mean_class_wise_ece == pytest.approx(scores.class_wise_ece[:2].mean())
    assert statistics.dice()[2] == 0  # predicted, though nowhere labelled, as nnU-Net has it


def test_dice_of_a_class_that_is_nowhere():
    statistics = statistics_of(np.array([[0.9, 0.8], [0.1, 0.2], [0.0, 0.0]]), np.array([0, 0]))
    np.testing.assert_array_equal(np.isnan(statistics.dice()), [False, True, True])


def test_more_than_a_float32_counter_holds():
    """20 M voxels in one bin, confidence 0.97, of which 90 % are right (the peers return an ECE of 0, or 1 / 1)."""
    n = 20_000_000
    probabilities = np.empty((2, n), np.float32)
    probabilities[1] = 0.97
    probabilities[0] = 1 - probabilities[1]
    labels = np.ones(n, np.uint8)
    labels[: n // 10] = 0
    statistics = statistics_of(probabilities, labels)
    scores = statistics.scores("all")
    assert statistics.top_count.sum() == n
    assert scores.accuracy == 0.9
    assert scores.confidence == pytest.approx(float(np.float32(0.97)), abs=1e-9)
    assert scores.ece == pytest.approx(0.07, abs=1e-7)


@given(st.permutations(range(30)))
def test_order_of_voxels_is_of_no_matter(order):
    probabilities, labels = random_voxels(3, n=30)
    first = statistics_of(probabilities, labels)
    second = statistics_of(probabilities[:, order], labels[list(order)])
    for field in fields(CalibrationStatistics):
        np.testing.assert_allclose(getattr(first, field.name), getattr(second, field.name), rtol=1e-12)


@given(cuts=st.lists(st.integers(0, 100), min_size=1, max_size=4))
def test_parts_add_up_to_the_whole(cuts):
    probabilities, labels = random_voxels(4, n=100)
    whole = statistics_of(probabilities, labels)
    parts = [
        statistics_of(p, y)
        for p, y in zip(np.split(probabilities, sorted(cuts), 1), np.split(labels, sorted(cuts)), strict=True)
    ]
    together = total(parts)
    for field in fields(CalibrationStatistics):
        expected, computed = getattr(whole, field.name), getattr(together, field.name)
        if expected.dtype == np.int64:
            np.testing.assert_array_equal(computed, expected)
        else:
            np.testing.assert_allclose(computed, expected, rtol=1e-12)


def test_update_in_place_equals_merge():
    probabilities, labels = random_voxels(5)
    statistics = CalibrationStatistics.empty(3)
    statistics.update(probabilities[:, :50], labels[:50])
    statistics.update(probabilities[:, 50:], labels[50:])
    merged = statistics_of(probabilities[:, :50], labels[:50]).merge(statistics_of(probabilities[:, 50:], labels[50:]))
    for field in fields(CalibrationStatistics):
        np.testing.assert_array_equal(getattr(statistics, field.name), getattr(merged, field.name))


@given(st.integers(0, 2**16), st.sampled_from([0.0, 1.0, 30.0]))
def test_scores_keep_their_bounds(seed, sharpness):
    probabilities, labels = random_voxels(seed, n=40, sharpness=sharpness)
    for voxel_set in VOXEL_SETS:
        scores = statistics_of(probabilities, labels).scores(voxel_set)
        if scores.n_voxels == 0:
            continue
        assert abs(scores.gap) <= scores.ece + 1e-12 <= scores.mce + 2e-12 <= 1 + 3e-12
        assert 0 <= scores.brier <= 2
        assert scores.nll >= 0


def test_spatial_shapes_and_dtypes_come_to_the_same():
    probabilities, labels = random_voxels(6, n=24, dtype=np.float64)
    flat = statistics_of(probabilities, labels).scores("all")
    shaped = statistics_of(probabilities.reshape(3, 2, 3, 4), labels.reshape(2, 3, 4).astype(np.float32)).scores("all")
    assert asdict(flat)["ece"] == asdict(shaped)["ece"]


class TestAgainstOtherLibraries:
    """Small arrays, where float32 counters do not matter yet."""

    @pytest.mark.parametrize("seed", range(3))
    def test_netcal(self, seed):
        metrics = pytest.importorskip("netcal.metrics")
        probabilities, labels = random_voxels(seed, n=500, dtype=np.float64)
        scores = statistics_of(probabilities, labels).scores("all")
        for theirs, ours in ((metrics.ECE, scores.ece), (metrics.ACE, scores.ace), (metrics.MCE, scores.mce)):
            assert ours == pytest.approx(float(theirs(15).measure(probabilities.T, labels)), abs=1e-6)

    @pytest.mark.parametrize("norm", ["l1", "max"])
    def test_torchmetrics(self, norm):
        functional = pytest.importorskip("torchmetrics.functional.classification")
        torch = pytest.importorskip("torch")
        probabilities, labels = random_voxels(7, n=500)
        theirs = functional.multiclass_calibration_error(
            torch.from_numpy(probabilities.T.copy()), torch.from_numpy(labels), num_classes=3, n_bins=15, norm=norm
        )
        scores = statistics_of(probabilities, labels).scores("all")
        assert {"l1": scores.ece, "max": scores.mce}[norm] == pytest.approx(float(theirs), abs=1e-6)

    def test_monai_class_wise(self):
        calibration = pytest.importorskip("monai.metrics.calibration")
        torch = pytest.importorskip("torch")
        probabilities, labels = random_voxels(8, n=512)
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels), 3).T.reshape(1, 3, 8, 8, 8)
        metric = calibration.CalibrationErrorMetric(num_bins=15, metric_reduction="none")
        metric(y_pred=torch.from_numpy(probabilities).reshape(1, 3, 8, 8, 8), y=one_hot)
        scores = statistics_of(probabilities, labels).scores("all")
        np.testing.assert_allclose(scores.class_wise_ece, metric.aggregate().reshape(3).numpy(), atol=1e-6)

    def test_scikit_learn(self):
        metrics = pytest.importorskip("sklearn.metrics")
        probabilities, labels = random_voxels(9, dtype=np.float64)
        scores = statistics_of(probabilities, labels).scores("all")
        assert scores.nll == pytest.approx(metrics.log_loss(labels, probabilities.T), abs=1e-9)
        brier = sum(metrics.brier_score_loss(labels == k, probabilities[k]) for k in range(3))
        assert scores.brier == pytest.approx(brier, abs=1e-9)
        prediction = probabilities.argmax(0)
        expected = metrics.f1_score(labels, prediction, average=None)  # the Dice coefficient by another name
        np.testing.assert_allclose(statistics_of(probabilities, labels).dice(), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, y: (p[:2], y), r"shape \(3, \*spatial\), but got \(2, 200\)"),
        (lambda p, y: (p, y[:10]), r"labels of shape \(200,\).*got \(10,\)"),
        (lambda p, y: (p.astype(int), y), "floating point"),
        (lambda p, y: (np.where(p == p[0, 0], np.nan, p), y), "NaN in 1 places"),
        (lambda p, y: (np.where(p == p[0, 0], np.inf, p), y), "from 0 to 1, but got .* to inf"),
        (lambda p, y: (p * 1.5, y), "from 0 to 1|sum to 1"),
        (lambda p, y: (p - 0.2, y), "from 0 to 1.*logits"),
        (lambda p, y: (p * 0.9, y), "sum to 1"),
        (lambda p, y: (p, np.where(y == 2, 7, y)), r"labels 0 to 2 \(no ignore label\), but got \[7\]"),
        (lambda p, y: (p, y - 1), r"but got \[-1\]"),
        (lambda p, y: (p, y + 0.5), "whole numbers"),
    ],
)
def test_bad_input_is_refused_and_adds_nothing(change, message):
    statistics = CalibrationStatistics.empty(3)
    with pytest.raises(ValueError, match=message):
        statistics.update(*change(*random_voxels(1)))
    assert statistics.top_count.sum() == statistics.class_count.sum() == statistics.confusion.sum() == 0


def test_merge_refuses_other_bins():
    with pytest.raises(ValueError, match="3 classes and 15 bins, but got 3 and 10"):
        CalibrationStatistics.empty(3).merge(CalibrationStatistics.empty(3, 10))


@pytest.mark.parametrize(
    ("arguments", "message"), [((1,), "2 to 32767"), ((3, 0), "1 to 999"), ((3, 1000), "1 to 999")]
)
def test_empty_refuses_nonsense(arguments, message):
    with pytest.raises(ValueError, match=message):
        CalibrationStatistics.empty(*arguments)
