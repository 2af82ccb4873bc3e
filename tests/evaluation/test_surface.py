"""HD95 against MONAI, against ITK's contours and distance maps, against all pairs of voxels, and where masks are odd."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.metrics import compute_hausdorff_distance
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from nnunet_nacl.evaluation.surface import flat_classes, hd95, hd95_per_class

SPACING = (2.5, 0.7, 0.9)


def blobs(seed, shape=(14, 22, 18), share=0.3):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return noise > np.quantile(noise, 1 - share)


def by_monai(reference, prediction, spacing):
    as_batch = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    return float(
        compute_hausdorff_distance(*as_batch, include_background=True, percentile=95, spacing=list(map(float, spacing)))
    )


def by_itk(reference, prediction, spacing):
    """Contours and distance maps of ITK, around which it needs a margin of background."""
    contours, distances = [], []
    for mask in (reference, prediction):
        image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        contour = sitk.LabelContour(image, fullyConnected=False)
        contours.append(sitk.GetArrayFromImage(contour) == 1)
        map_ = sitk.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
        # it is 0 on the contour
        distances.append(np.abs(sitk.GetArrayFromImage(map_)))
    return max(np.percentile(distances[1][contours[0]], 95), np.percentile(distances[0][contours[1]], 95))


def by_all_pairs(reference, prediction, spacing):
    points = []
    for mask in (reference, prediction):
        inside = np.pad(mask, 1)
        surrounded = np.ones_like(mask)
        for axis in range(mask.ndim):
            for step in (-1, 1):
                neighbour = np.roll(inside, step, axis)
                surrounded &= neighbour[(slice(1, -1),) * mask.ndim]
        points.append(np.argwhere(mask & ~surrounded) * spacing)
    pairs = cdist(*points)
    return max(np.percentile(pairs.min(1), 95), np.percentile(pairs.min(0), 95))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("oracle", [by_monai, by_itk, by_all_pairs])
def test_equals_oracle(seed, oracle):
    reference, prediction = blobs(seed), blobs(seed + 100, share=0.2)
    found = hd95(reference, prediction, SPACING)
    assert found == pytest.approx(oracle(reference, prediction, SPACING), rel=1e-6)
    assert hd95(prediction, reference, SPACING) == found


@pytest.mark.parametrize("oracle", [by_monai, by_all_pairs])
def test_two_dimensional(oracle):
    reference, prediction = blobs(1, (30, 24)), blobs(2, (30, 24))
    expected = oracle(reference, prediction, SPACING[1:])
    assert hd95(reference, prediction, SPACING[1:]) == pytest.approx(expected)
    # as nnU-Net's readers give it
    assert hd95(reference[None], prediction[None], (999.0, *SPACING[1:])) == pytest.approx(expected)


def test_shifted_box_in_mm():
    reference, prediction = np.zeros((2, 9, 12, 30), bool)
    reference[2:7, 3:9, 5:15] = True
    prediction[2:7, 3:9, 9:19] = True
    # more than a twentieth of each surface is the face that lies 4 voxels of 0.9 mm away
    assert hd95(reference, prediction, SPACING) == pytest.approx(3.6)


def test_one_voxel_objects():
    reference, prediction = np.zeros((2, 5, 6, 7), bool)
    reference[1, 2, 3] = prediction[4, 2, 5] = True
    assert hd95(reference, prediction, SPACING) == pytest.approx(np.hypot(3 * 2.5, 2 * 0.9))
    assert hd95(reference, reference, SPACING) == 0


def test_objects_at_the_edge_of_the_volume():
    reference, prediction = np.zeros((2, 8, 6, 7), bool)
    reference[:3] = True
    prediction[:5] = True
    assert hd95(reference, prediction, SPACING) == pytest.approx(by_monai(reference, prediction, SPACING))
    assert hd95(~reference, ~prediction, SPACING) == pytest.approx(by_all_pairs(~reference, ~prediction, SPACING))
    everything = np.ones((4, 5, 6), bool)
    assert hd95(everything, everything, SPACING) == 0


def test_empty_masks():
    empty, some = np.zeros((2, 240, 240, 155), bool)
    some[3, 4, 5] = True
    assert np.isnan(hd95(empty, empty, (1, 1, 1)))
    # the number that the BraTS challenge counts for a missed tumour
    assert hd95(some, empty, (1, 1, 1)) == pytest.approx(373.13, abs=0.005)
    assert hd95(empty, some, (1, 1, 1)) == pytest.approx(373.13, abs=0.005)


def test_empty_slice_counts_its_own_diagonal():
    some, empty = np.zeros((2, 1, 30, 40), bool)
    some[0, 3, 4] = True
    assert hd95(some, empty, (999, 1, 1)) == 50


def test_one_voxel_volume():
    assert hd95(np.ones((1, 1, 1), bool), np.ones((1, 1, 1), bool), SPACING) == 0


def test_classes_equal_their_masks():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (12, 15, 13)).astype(np.uint8) * blobs(5, (12, 15, 13))
    prediction = rng.integers(0, 4, (12, 15, 13)).astype(np.int64) * blobs(6, (12, 15, 13))
    prediction[prediction == 3] = 0
    found = hd95_per_class(labels, prediction, [1, 2, 3, 7], SPACING)
    for value, distance in zip((1, 2, 3), found, strict=False):
        assert distance == hd95(labels == value, prediction == value, SPACING)
    assert found[2] == pytest.approx(np.linalg.norm(np.multiply((12, 15, 13), SPACING)))
    assert np.isnan(found[3])


def test_ignored_voxels_belong_to_no_mask():
    labels, prediction = np.zeros((2, 10, 12, 14), np.uint8)
    labels[2:8, 2:8, 2:8] = 1
    prediction[2:8, 2:8, 2:9] = 1
    expected = hd95_per_class(labels, prediction, [1], SPACING)
    labels[:, :, 11:] = 5
    prediction[:, :, 12:] = 1  # far away, where nothing is known
    np.testing.assert_array_equal(hd95_per_class(labels, prediction, [1], SPACING, ignore_label=5), expected)
    assert hd95_per_class(labels, prediction, [1], SPACING) > expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3)), np.zeros((2, 3), bool), (1, 1)), "`reference` to be of dtype bool, but got float64"),
        ((np.zeros((2, 3), bool), np.zeros((3, 2), bool), (1, 1)), r"same shape, but got \(2, 3\) and \(3, 2\)"),
        ((np.zeros((2, 3), bool), np.zeros((2, 3), bool), (1, 1, 1)), "`spacing` to be 2 positive numbers"),
        ((np.zeros((2, 3), bool), np.zeros((2, 3), bool), (1, 0)), "`spacing` to be 2 positive numbers"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        hd95(*arguments)


def test_unusable_classes():
    values = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match="`classes` to be label values from 1"):
        hd95_per_class(values, values, [0, 1], (1, 1))
    with pytest.raises(ValueError, match="`labels` to be of an integer dtype"):
        hd95_per_class(values.astype(float), values, [1], (1, 1))


def disc(center, radius, slices, shape=(8, 60, 60)):
    grid = np.hypot(*np.ogrid[-center[0] : shape[1] - center[0], -center[1] : shape[2] - center[1]]) <= radius
    volume = np.zeros(shape, np.uint8)
    volume[slices] = grid
    return volume


@pytest.mark.parametrize(
    ("reference", "prediction", "flat"),
    [
        (slice(3, 4), slice(3, 4), True),
        (slice(3, 5), slice(3, 4), True),
        (slice(2, 5), slice(3, 4), False),
        (slice(3, 5), slice(0, 8), False),
        (slice(3, 4), slice(0, 0), False),
    ],
)
def test_flat_structures(reference, prediction, flat):
    """Of a disc in one slice every voxel is surface: moved by 6 voxels its HD95 hardly sees it."""
    labels, predicted = disc((30, 30), 20, reference), disc((30, 36), 20, prediction)
    assert flat_classes(labels, predicted, [1]) == [1] * flat
    assert flat_classes(labels.transpose(1, 0, 2), predicted.transpose(1, 0, 2), [1]) == [1] * flat
    if flat and reference == prediction:
        assert hd95_per_class(labels, predicted, [1], (3, 1, 1))[0] < 6
    # a line, and a slice that is the whole image, have their contour
    assert flat_classes(labels[:, 30:31], predicted[:, 30:31], [1]) == []
    thin = np.zeros((6, 6, 6), np.uint8)
    thin[3, 3] = 1
    assert flat_classes(thin, thin, [1]) == []
