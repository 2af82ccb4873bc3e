"""Finding cases, and saying which file is missing."""

import pytest

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import find_cases


@pytest.fixture
def folders(tmp_path):
    labels, predictions = tmp_path / "labels", tmp_path / "predictions"
    labels.mkdir()
    predictions.mkdir()
    for name in ("a", "b", "c"):
        (labels / f"{name}.nii.gz").touch()
        (predictions / f"{name}.npz").touch()
    return labels, predictions


def test_sorted_and_our_own_files_left_out(folders):
    labels, predictions = folders
    (predictions / "calibration_bins.npz").touch()
    (predictions / "summary.json").touch()
    assert [case.name for case in find_cases(labels, predictions, ".nii.gz")] == ["a", "b", "c"]


def test_labels_without_prediction_are_fine(folders):
    labels, predictions = folders
    (predictions / "b.npz").unlink()
    assert [case.name for case in find_cases(labels, predictions, ".nii.gz")] == ["a", "c"]


def test_missing_label(folders):
    (folders[0] / "b.nii.gz").unlink()
    with pytest.raises(InputError, match=r"labels: no label file \(.nii.gz\) for b, predicted in"):
        find_cases(*folders, ".nii.gz")


def test_segmentation_without_softmax(folders):
    (folders[1] / "d.nii.gz").touch()
    with pytest.raises(InputError, match="no softmax file .* for d. Save the probabilities with .*--npz"):
        find_cases(*folders, ".nii.gz")


def test_empty_folder(tmp_path, folders):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no softmax file"):
        find_cases(folders[0], tmp_path / "empty", ".nii.gz")


def test_missing_folder(tmp_path, folders):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        find_cases(tmp_path / "nowhere", folders[1], ".nii.gz")


def test_long_lists_are_cut(folders):
    for number in range(9):
        (folders[1] / f"x{number}.npz").touch()
    with pytest.raises(InputError, match="x0, x1, x2, x3, x4 and 4 more"):
        find_cases(*folders, ".nii.gz")
