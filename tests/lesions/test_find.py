"""Cases computed by hand: what is found, what is true, what is missed."""

import numpy as np
import pytest

from nnunet_nacl.lesions import Rules, find_lesions


def volume(*boxes, shape=(1, 8, 12), value=1, dtype=float):
    """Return an array with a value in boxes ``(y, x)`` of slices, 0 elsewhere."""
    made = np.zeros(shape, dtype)
    for box in boxes:
        made[(slice(None), *box)] = value
    return made


def two_channels(foreground):
    return np.stack([1 - foreground, foreground])


def box(y, x, height=2, width=2):
    return slice(y, y + height), slice(x, x + width)


def outcomes(found):
    return found.findings.outcome.tolist(), found.lesions.outcome.tolist()


def test_sizes_places_and_confidences():
    p = volume(box(1, 2), value=0.9)
    p[0, 1, 2] = 0.7
    labels = volume(box(1, 3), dtype=int)
    found = find_lesions(two_channels(p), labels, spacing=(5, 2, 3))
    (finding,) = found.findings.number
    assert (finding, found.findings.voxels[0], found.findings.partner[0]) == (1, 4, 1)
    assert found.sizes(found.findings).tolist() == [120.0] == found.sizes(found.lesions).tolist()
    assert found.findings.centroid_mm[0].tolist() == [2.5 * 3, 1.5 * 2, 0]  # x, y, z
    assert found.findings.largest_p[0] == pytest.approx(0.9)
    assert found.findings.mean_p[0] == pytest.approx((3 * 0.9 + 0.7) / 4)
    assert (found.findings.overlap_voxels[0], found.lesions.overlap_voxels[0]) == (2, 2)
    assert found.findings.iou[0] == found.lesions.iou[0] == pytest.approx(2 / 6)
    # within the lesion: two voxels of the finding, two of background
    assert found.lesions.largest_p[0] == pytest.approx(0.9)
    assert found.lesions.mean_p[0] == pytest.approx(0.45)


def test_world_coordinates():
    affine = np.array([[0, -2, 0, 10], [3, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1.0]])
    p = volume(box(1, 2), value=0.9)
    found = find_lesions(two_channels(p), volume(dtype=int), affine=affine)
    assert found.findings.centroid_mm[0].tolist() == [10 - 2 * 1.5, 20 + 3 * 2.5, 30]
    assert found.findings.centroid[0].tolist() == [2.5, 1.5, 0]
    assert found.sizes(found.findings).tolist() == [4 * 2 * 3 * 4]  # the affine's voxel, without a spacing beside it


@pytest.mark.parametrize("shift", range(4))
def test_the_centroid_half_way_between_two_voxels_is_the_same_wherever_the_image_begins(shift):
    p = volume((1, slice(shift, shift + 2)), value=0.9)
    for lesion, outcome in ((shift, "false"), (shift + 1, "true")):
        labels = volume((1, lesion), dtype=int)
        assert outcomes(find_lesions(two_channels(p), labels, rules=Rules("centroid")))[0] == [outcome]


def test_an_iou_that_is_not_used_is_refused():
    with pytest.raises(ValueError, match="`overlap` to be 'iou'"):
        Rules(iou=0.5)


def test_without_world_there_are_no_centroids_in_mm():
    p = volume(box(1, 2), value=0.9)
    flat = find_lesions(two_channels(p)[:, 0], volume(dtype=int)[0])
    assert (flat.unit, flat.findings.centroid[0].tolist()) == ("pixels", [2.5, 1.5, 0])
    assert np.isnan(flat.findings.centroid_mm).all() and np.isnan(flat.voxel_volume_mm3)
    assert find_lesions(two_channels(p), volume(dtype=int), spacing=None).unit == "voxels"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spacing": (-1, 1, 1)}, "three numbers above 0"),
        ({"spacing": (float("nan"), 1, 1)}, "three numbers above 0"),
        ({"spacing": (1, 1)}, "three numbers above 0"),
        ({"affine": np.eye(3)}, r"shape \(4, 4\)"),
        ({"affine": np.zeros((4, 4))}, "three axes"),
        ({"affine": np.diag([2, 2, 2, 1]), "spacing": (1, 1, 1)}, "to agree"),
        ({"names": ["x"]}, "name 2 channels, but got 1"),
        ({"regions": [(1,), (2,)]}, "`region_labels` beside"),
        ({"regions": [(1,), (2,)], "region_labels": [1]}, "each of 2 channels, but got 2 and 1"),
        ({"regions": [(1,)], "region_labels": [1]}, "each of 2 channels, but got 1 and 1"),
        ({"regions": [(1,), ()], "region_labels": [1, 2]}, "at least one label"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_words(given, message):
    with pytest.raises(ValueError, match=message):
        find_lesions(two_channels(volume(box(1, 2), value=0.9)), volume(dtype=int), **given)


def test_arrays_as_names_and_region_labels():
    p, labels = two_channels(volume(box(1, 2), value=0.9)), volume(dtype=int)
    assert find_lesions(p, labels, names=np.array(["background", "spot"])).structures == ("background", "spot")
    by_regions = find_lesions(p, labels, regions=[(1, 2), (2,)], region_labels=np.array([1, 2]))
    assert by_regions.foreground == (0, 1)


def test_touching_lesions_are_one_component():
    """Two labelled boxes that share an edge alone are one lesion with 26 neighbours and two with 6."""
    labels = volume(box(0, 0), box(2, 2), dtype=int)
    p = volume(box(0, 0), value=0.9)
    assert outcomes(find_lesions(two_channels(p), labels)) == (["true"], ["found"])
    by_faces = find_lesions(two_channels(p), labels, rules=Rules(connectivity=6))
    assert outcomes(by_faces) == (["true"], ["found", "missed"])


def test_one_finding_over_two_lesions():
    labels = volume(box(1, 0), box(1, 5, width=3), dtype=int)
    p = volume((slice(1, 3), slice(0, 8)), value=0.8)
    found = find_lesions(two_channels(p), labels)
    # it stands for the one with the larger intersection over union
    assert outcomes(found) == (["true"], ["merged", "found"])
    assert found.findings.partner.tolist() == [2] and found.lesions.partner.tolist() == [0, 1]


def test_two_findings_in_one_lesion():
    labels = volume((slice(1, 3), slice(0, 8)), dtype=int)
    p = volume(box(1, 0), value=0.8) + volume(box(1, 5), value=0.95)
    found = find_lesions(two_channels(p), labels)
    assert outcomes(found) == (["duplicate", "true"], ["found"])
    assert found.lesions.partner.tolist() == [2]


@pytest.mark.parametrize(("first", "second", "expected"), [(2, 3, ["duplicate", "true"]), (3, 2, ["true", "duplicate"]), (2, 2, ["true", "duplicate"])])  # fmt: skip
def test_of_findings_of_equal_confidence_the_larger_one_is_true(first, second, expected):
    """And of equal ones the first."""
    labels = volume((slice(1, 3), slice(0, 9)), dtype=int)
    p = volume(box(1, 0, width=first), box(1, 5, width=second), value=0.8)
    assert outcomes(find_lesions(two_channels(p), labels)) == (expected, ["found"])


def test_the_mean_decides_where_it_is_asked_to():
    """The first finding has the larger largest p, the second the larger mean."""
    labels = volume((slice(1, 3), slice(0, 8)), dtype=int)
    p = volume(box(1, 0), value=0.6) + volume(box(1, 5), value=0.8)
    p[0, 1, 0] = 0.95
    assert outcomes(find_lesions(two_channels(p), labels))[0] == ["true", "duplicate"]
    assert outcomes(find_lesions(two_channels(p), labels, rules=Rules(confidence="mean")))[0] == ["duplicate", "true"]


def test_a_finding_over_two_lesions_makes_room():
    """The more confident one lies over both lesions, and more over the first; the other one in the first alone."""
    labels = volume((slice(1, 4), slice(0, 6)), (slice(1, 2), slice(8, 9)), dtype=int)
    p = volume((slice(1, 2), slice(2, 9)), value=0.9) + volume((slice(3, 4), slice(0, 2)), value=0.7)
    found = find_lesions(two_channels(p), labels)
    assert outcomes(found) == (["true", "true"], ["found", "found"])
    assert found.findings.partner.tolist() == [2, 1]


def test_a_lesion_at_the_border():
    labels = volume((slice(7, 8), slice(11, 12)), dtype=int)
    found = find_lesions(two_channels(volume((slice(6, 8), slice(10, 12)), value=0.9)), labels)
    assert outcomes(found) == (["true"], ["found"])
    assert found.lesions.centroid_mm.tolist() == [[11, 7, 0]]


@pytest.mark.parametrize(
    ("p", "labels", "expected"),
    [
        (volume(), volume(dtype=int), ([], [])),
        (volume(), volume(box(1, 1), dtype=int), ([], ["missed"])),
        (volume(box(1, 1), value=0.9), volume(dtype=int), (["false"], [])),
    ],
    ids=["none at all", "empty prediction", "empty label"],
)
def test_empty(p, labels, expected):
    found = find_lesions(two_channels(p), labels)
    assert outcomes(found) == expected
    assert found.lesions.largest_p.tolist() == [0.0] * len(expected[1])


def test_the_largest_p_of_a_missed_lesion():
    p = volume(box(1, 1), value=0.2)
    p[0, 2, 2] = 0.4
    found = find_lesions(two_channels(p), volume(box(1, 1), dtype=int))
    assert outcomes(found) == ([], ["missed"])
    assert found.lesions.largest_p.tolist() == pytest.approx([0.4])
    assert found.lesions.mean_p.tolist() == pytest.approx([0.25])


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        (Rules("any"), "true"),
        (Rules("iou", 2 / 14), "true"),
        (Rules("iou", 2 / 14 + 1e-9), "false"),
        (Rules("centroid"), "false"),
    ],
)
def test_overlap_rules(rules, outcome):
    """A box of 2 x 6 whose first column is labelled, with a column that is not predicted."""
    p, labels = volume(box(2, 2, width=6), value=0.9), volume(box(2, 1), dtype=int)
    found = find_lesions(two_channels(p), labels, rules=rules)
    assert found.findings.outcome.tolist() == [outcome]
    assert found.lesions.outcome.tolist() == ["found" if outcome == "true" else "missed"]


def test_the_centroid_of_a_ring_lies_outside_of_it():
    ring = volume(box(1, 1, 5, 5), dtype=int) - volume(box(2, 2, 3, 3), dtype=int)
    p = two_channels(0.9 * ring)
    assert outcomes(find_lesions(p, ring, rules=Rules("centroid"))) == (["false"], ["missed"])
    assert outcomes(find_lesions(p, volume(box(3, 3, 1, 1), dtype=int), rules=Rules("centroid")))[0] == ["true"]


def test_a_finding_of_one_class_in_a_lesion_of_another():
    p = np.stack([1 - volume(box(1, 1), value=0.9), volume(box(1, 1), value=0.9), volume()])
    found = find_lesions(p, 2 * volume(box(1, 1), dtype=int))
    assert outcomes(found) == (["false"], ["missed"])
    assert (found.findings.structure.tolist(), found.lesions.structure.tolist()) == ([1], [2])


def test_ignored_voxels():
    """A finding of 2 x 6 that stands for no lesion: left out where seven of its voxels are ignored, kept with six."""
    p = two_channels(volume(box(2, 2, width=6), value=0.9))
    labels = volume(box(2, 6), dtype=int)
    labels[0, 2:4, 2:5] = 2
    half = find_lesions(p, labels, ignore_label=2)
    assert outcomes(half) == (["true"], ["found"]) and half.n_left_out.tolist() == [0, 0]
    assert (half.findings.voxels[0], half.findings.overlap_voxels[0], half.findings.iou[0]) == (12, 4, 4 / 6)
    labels[0, 2, 5] = 2
    true = find_lesions(p, labels, ignore_label=2)
    assert outcomes(true) == (["true"], ["found"]) and true.n_left_out.tolist() == [0, 0]
    labels[labels == 1] = 0
    assert outcomes(find_lesions(p, labels, ignore_label=2)) == ([], [])
    assert find_lesions(p, labels, ignore_label=2).n_left_out.tolist() == [0, 1]
    labels[0, 2, 5] = 0
    assert outcomes(find_lesions(p, labels, ignore_label=2)) == (["false"], [])


def test_an_image():
    p = two_channels(volume(box(1, 1), value=0.9))[:, 0]
    found = find_lesions(p, volume(box(1, 1), dtype=int)[0])
    assert outcomes(found) == (["true"], ["found"])
    assert np.isnan(found.voxel_volume_mm3) and found.sizes(found.lesions).tolist() == [4.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regions_are_those_of_the_label_map_that_nnunet_writes(dtype):
    """Channels above 0.5, later over earlier: the core's voxel outside of the whole is written as the core, and so is in both."""
    whole, core = volume(box(1, 1, 4, 4), value=0.8), volume(box(2, 3, 1, 3), value=0.9)
    labels = volume(box(1, 1, 4, 4), dtype=int)
    labels[0, 2, 3] = 2
    p = np.stack([whole, core]).astype(dtype)
    found = find_lesions(p, labels, regions=[(1, 2), (2,)], region_labels=[1, 2], names=["whole", "core"])
    assert outcomes(found) == (["true", "true"], ["found", "found"])
    assert found.findings.structure.tolist() == [0, 1] and found.findings.voxels.tolist() == [17, 3]
    assert found.findings.mean_p == pytest.approx([16 * 0.8 / 17, 0.9])
    assert found.lesions.largest_p == pytest.approx([0.8, 0.9])


def test_many_regions_are_read_twice():
    """Six channels of float32 are more than are held; the figures are those of float64, of two channels, that are."""
    rng = np.random.default_rng(0)
    p = rng.random((6, 3, 5, 5)).astype(np.float32)
    labels = rng.integers(0, 7, (3, 5, 5))
    regions, order = [(1, 2), (2, 3), (3,), (4,), (5,), (6, 1)], [1, 2, 3, 4, 5, 6]
    found = find_lesions(p, labels, regions=regions, region_labels=order)
    written = np.zeros(labels.shape, int)
    for channel, label in zip(p, order, strict=True):
        written[channel > 0.5] = label
    for structure, region in enumerate(regions):
        mask = np.isin(written, region)
        alone = find_lesions(two_channels(mask * 0.75), np.isin(labels, region).astype(int))
        its = found.findings.structure == structure
        assert sorted(found.findings.voxels[its]) == sorted(alone.findings.voxels)
        assert found.findings.voxels[its] @ found.findings.mean_p[its] == pytest.approx(p[structure][mask].sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p * 20 - 10, "Are these logits"),
        (lambda p: p * 0.5, "to sum to 1"),
        (lambda p: np.where(p > 0.5, np.nan, p), "NaN"),
        (lambda p: p[:, :, :4], "of one shape"),
        (lambda p: p.astype(int), "floating point"),
    ],
)
def test_no_probabilities(change, message):
    with pytest.raises(ValueError, match=message):
        find_lesions(change(two_channels(volume(box(1, 1), value=0.9))), volume(dtype=int))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"overlap": "some"}, "overlap"),
        ({"iou": 0}, "above 0"),
        ({"confidence": "median"}, "confidence"),
        ({"connectivity": 18}, "connectivity"),
        ({"sizes": (10, 10)}, "ascending"),
        ({"sizes": (-1,)}, "ascending"),
    ],
)
def test_rules_that_there_are_not(changed, message):
    with pytest.raises(ValueError, match=message):
        Rules(**changed)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_the_segmentation_is_that_of_the_evaluation(n_classes):
    """Of classes and of regions, ties included."""
    from nnunet_nacl.calibration import CalibrationStatistics
    from nnunet_nacl.calibration.regions import evaluate_regions
    from nnunet_nacl.evaluation.in_memory import ProbabilityArray
    from nnunet_nacl.lesions.components import components_of
    from nnunet_nacl.lesions.predicted_labels import predicted_classes, predicted_regions

    p = np.round(np.random.default_rng(n_classes).dirichlet(np.ones(n_classes), (4, 5, 6)), 1)
    p = np.moveaxis(p / p.sum(-1, keepdims=True), -1, 0)
    labels, blocks = np.zeros(p.shape[1:], np.int16), ProbabilityArray(p).blocks
    evaluated = CalibrationStatistics.empty(n_classes, 15).update_channels(blocks, labels)
    np.testing.assert_array_equal(predicted_classes(blocks(), components_of(labels)).segmentation, evaluated)
    regions, order = [(value,) for value in range(1, n_classes + 1)], list(range(n_classes, 0, -1))
    written = evaluate_regions(blocks, labels, regions, order).segmentation
    np.testing.assert_array_equal(predicted_regions(blocks(), labels.shape, order), written)
