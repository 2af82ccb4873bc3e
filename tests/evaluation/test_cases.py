"""Finding cases, and saying which file is missing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import BINS_FILE
from nnunet_nacl.evaluation.cases import OUR_FILES, Case, find_cases, select_part


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


def test_our_own_files_are_left_out_by_their_whole_names(folders):
    """A case may be called calibration_1."""
    labels, predictions = folders
    assert BINS_FILE in OUR_FILES
    (predictions / BINS_FILE).touch()
    (predictions / "calibration_1.npz").touch()
    with pytest.raises(InputError, match="no label file .* for calibration_1, predicted"):
        find_cases(labels, predictions, ".nii.gz")
    (labels / "calibration_1.nii.gz").touch()
    assert [case.name for case in find_cases(labels, predictions, ".nii.gz")] == ["a", "b", "c", "calibration_1"]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".tif", ".tiff", ".png", ".bmp"])
def test_file_endings(tmp_path, ending):
    for name in ("case_1", "case.2", "nii"):
        (tmp_path / f"{name}.npz").touch()
        (tmp_path / f"{name}{ending}").touch()
    cases = find_cases(tmp_path, tmp_path, ending)
    assert [case.name for case in cases] == ["case.2", "case_1", "nii"]
    assert all(case.labels.is_file() and case.probabilities.is_file() for case in cases)


def test_hidden_files_are_no_cases(folders):
    """macOS leaves `._a.nii.gz` beside a.nii.gz on foreign disks."""
    labels, predictions = folders
    for folder, name in (
        (predictions, "._a.npz"),
        (predictions, "._a.nii.gz"),
        (labels, "._a.nii.gz"),
        (labels, ".npz"),
    ):
        (folder / name).touch()
    assert [case.name for case in find_cases(labels, predictions, ".nii.gz")] == ["a", "b", "c"]


def test_names_are_compared_as_written(folders):
    """Also where the file system would find A.nii.gz for a: the result must not depend on the system."""
    labels, predictions = folders
    (labels / "a.nii.gz").rename(labels / "renamed")
    (labels / "renamed").rename(labels / "A.nii.gz")
    with pytest.raises(InputError, match="no label file .* for a, predicted"):
        find_cases(labels, predictions, ".nii.gz")


@pytest.mark.parametrize(("one", "other"), [("A", "a"), ("Straße", "strasse"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_some_systems_take_for_one(tmp_path, one, other):
    for name in (one, other):
        (tmp_path / f"{name}.npz").touch()
        (tmp_path / f"{name}.png").touch()
    if len(list(tmp_path.iterdir())) < 4:
        pytest.skip("this file system takes them for one")
    with pytest.raises(InputError, match=f"expected one softmax file a case, but got .*{other}.npz"):
        find_cases(tmp_path, tmp_path, ".png")


def test_a_link_to_nowhere_is_a_case(folders):
    """Left out silently, the case would be missing from the result; opening it says what is wrong."""
    (folders[1] / "b.npz").unlink()
    (folders[1] / "b.npz").symlink_to(folders[1] / "gone.npz")
    assert [case.name for case in find_cases(*folders, ".nii.gz")] == ["a", "b", "c"]


def test_a_file_in_place_of_the_folder(folders):
    with pytest.raises(InputError, match="a.npz: no such folder"):
        find_cases(folders[0], folders[1] / "a.npz", ".nii.gz")


CASES = [Case(name, None, None) for name in "abcdefghij"]


@given(num_parts=st.integers(1, 15))
def test_parts_are_the_whole(num_parts):
    parts = [select_part(CASES, num_parts, part) for part in range(num_parts)]
    assert sorted((case for part in parts for case in part), key=lambda case: case.name) == CASES
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("num_parts", [1, 2, 3, 7])
def test_parts_are_nnunets(tmp_path, num_parts):
    """nnU-Net's own selection over an image folder, against ours over the predictions of those images."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    names = ["b", "a", "A_1", "a_2", "a-1", "ä", "case_10", "case_9", "Z", "_x"]
    images, labels, predictions = tmp_path / "images", tmp_path / "labels", tmp_path / "predictions"
    for folder in (images, labels, predictions):
        folder.mkdir()
    for name in names:
        for channel in range(2):
            (images / f"{name}_{channel:04d}.nii.gz").touch()
        (labels / f"{name}.nii.gz").touch()
        (predictions / f"{name}.npz").touch()
    cases = find_cases(labels, predictions, ".nii.gz")
    predictor = nnUNetPredictor.__new__(nnUNetPredictor)  # the selection needs neither network nor device
    predictor.dataset_json = {"file_ending": ".nii.gz"}
    for part_id in range(num_parts):
        _, files, _ = predictor._manage_input_and_output_lists(
            str(images), str(predictions), part_id=part_id, num_parts=num_parts
        )
        assert [case.name for case in select_part(cases, num_parts, part_id)] == [Path(file).name for file in files]


@pytest.mark.parametrize(("num_parts", "part_id"), [(0, 0), (-1, 0), (2, 2), (2, -1), (3, 7)])
def test_no_such_part(num_parts, part_id):
    with pytest.raises(InputError, match="Expected .*-num_parts .* but got"):
        select_part(CASES, num_parts, part_id)


def test_diagrams_of_evaluate_are_no_cases(tmp_path):
    """With -o in the folder of a data set of PNG files."""
    for name in ("a.npz", "a.png", "calibration_bins.npz", "reliability_all.png", "reliability_boundary.png"):
        (tmp_path / name).touch()
    assert [case.name for case in find_cases(tmp_path, tmp_path, ".png")] == ["a"]
