"""`nnunet-nacl map` on the phantom's true posterior."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_nacl.cli import main
from nnunet_nacl.report.nifti import SLOPE

DIRECTION = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
PARTS = {"confidence", "entropy", "local_calibration_error", "local_gap"}


@pytest.fixture
def labels(phantom_task, tmp_path):
    """The phantom's label files, lying obliquely."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for path in (phantom_task / "labelsTr").iterdir():
        image = sitk.ReadImage(str(path))
        image.SetDirection(DIRECTION)
        image.SetOrigin((10.0, -20.0, 30.0))
        sitk.WriteImage(image, str(folder / path.name))
    return folder


@pytest.fixture
def predictions(phantom_task, dataset_files, tmp_path):
    """Softmax files, dataset.json and plans.json in one folder, as nnUNetv2_predict leaves them."""
    folder = tmp_path / "predictions"
    shutil.copytree(phantom_task / "posteriorTr", folder)
    for path in dataset_files:
        shutil.copy(path, folder)
    return folder


def run(*arguments):
    return main(["map", *map(str, arguments)])


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_all_cases_with_labels(predictions, labels, tmp_path, capsys):
    assert run(predictions, "-o", tmp_path / "out", "-gt", labels) == 0
    names = {f"phantom_{number:03d}_{part}.nii.gz" for number in range(6) for part in PARTS}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert capsys.readouterr().out.count("wrote ") == 24
    probabilities = np.load(predictions / "phantom_002.npz")["probabilities"]
    maps = {part: read(tmp_path / "out" / f"phantom_002_{part}.nii.gz") for part in PARTS}
    np.testing.assert_allclose(maps["confidence"], probabilities.max(0), atol=SLOPE)
    np.testing.assert_allclose(maps["local_calibration_error"], np.abs(maps["local_gap"]), atol=2 * SLOPE)
    written = sitk.ReadImage(str(tmp_path / "out" / "phantom_002_entropy.nii.gz"))
    np.testing.assert_allclose(written.GetDirection(), DIRECTION, atol=1e-6)
    np.testing.assert_allclose(written.GetOrigin(), (10, -20, 30), atol=1e-4)


def test_one_case_without_labels_lies_where_its_segmentation_does(predictions, labels, tmp_path):
    shutil.copy(labels / "phantom_003.nii.gz", predictions)
    assert run(predictions, "phantom_003", "-o", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "phantom_003_confidence.nii.gz",
        "phantom_003_entropy.nii.gz",
    }
    written = sitk.ReadImage(str(tmp_path / "out" / "phantom_003_confidence.nii.gz"))
    np.testing.assert_allclose(written.GetDirection(), DIRECTION, atol=1e-6)


def test_overconfidence_shows(predictions, labels, tmp_path):
    """The posterior sharpened has a larger local error, and its gap says: overconfident."""
    run(predictions, "-o", tmp_path / "truth", "-gt", labels)
    for path in predictions.glob("*.npz"):
        sharp = np.load(path)["probabilities"].astype(float) ** 4
        np.savez_compressed(path, probabilities=(sharp / sharp.sum(0)).astype(np.float32))
    run(predictions, "-o", tmp_path / "sharp", "-gt", labels)
    mean = {
        (run_, part): np.mean([read(path).mean() for path in (tmp_path / run_).glob(f"*_{part}.nii.gz")])
        for run_ in ("truth", "sharp")
        for part in ("local_calibration_error", "local_gap")
    }
    assert mean["sharp", "local_gap"] > 3 * abs(mean["truth", "local_gap"])
    assert mean["sharp", "local_calibration_error"] > 1.2 * mean["truth", "local_calibration_error"]


def test_regions(predictions, labels, tmp_path):
    dataset = json.loads((predictions / "dataset.json").read_text())
    dataset |= {"labels": {"background": 0, "whole / body": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
    (predictions / "dataset.json").write_text(json.dumps(dataset))
    posterior = np.load(predictions / "phantom_001.npz")["probabilities"]
    np.savez_compressed(predictions / "phantom_001.npz", probabilities=np.stack([posterior[1:].sum(0), posterior[2]]))
    assert run(predictions, "phantom_001", "-o", tmp_path / "out", "-gt", labels) == 0
    parts = PARTS - {"confidence"} | {"probability"}
    names = {
        f"phantom_001_{region}_{part}.nii.gz" for region in ("region1-whole-body", "region2-cap") for part in parts
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    found = read(tmp_path / "out" / "phantom_001_region1-whole-body_probability.nii.gz")
    np.testing.assert_allclose(found, np.clip(posterior[1:].sum(0), 0, 1), atol=SLOPE)


def test_validation_folder_of_a_model(predictions, labels, tmp_path):
    """A fold's validation folder has dataset.json and plans.json two folders up."""
    validation = tmp_path / "model" / "fold_0" / "validation"
    validation.mkdir(parents=True)
    shutil.copy(predictions / "phantom_000.npz", validation)
    for name in ("dataset.json", "plans.json"):
        shutil.copy(predictions / name, tmp_path / "model")
    assert run(validation, "-o", tmp_path / "out", "-gt", labels) == 0
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_unusable_input(predictions, labels, tmp_path, capsys):
    out = ("-o", tmp_path / "out")

    def message(*arguments):
        assert run(*arguments) == 1
        return capsys.readouterr().err

    assert "no softmax file (.npz) for phantom_777" in message(predictions, "phantom_777", *out)
    assert "nothing else says where the case lies" in message(predictions, *out)
    assert "phantom_000.nii.gz: no such label file" in message(predictions, *out, "-gt", tmp_path)
    (predictions / "phantom_000.nii.gz").write_bytes(b"no image")
    assert "cannot read this label file" in message(predictions, "phantom_000", *out, "-gt", labels)
    other = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.uint8))
    sitk.WriteImage(other, str(predictions / "phantom_000.nii.gz"))
    assert "has shape (16, 16, 16), but" in message(predictions, "phantom_000", *out, "-gt", labels)
    assert "to match the label file" in message(predictions, "phantom_000", *out)
    np.savez_compressed(predictions / "phantom_001.npz", probabilities=np.full((3, 16, 16, 16), np.nan, np.float32))
    assert "phantom_001.npz: Expected probabilities between" in message(predictions, "phantom_001", *out, "-gt", labels)
    (predictions / "plans.json").unlink()
    assert "found no plans.json in" in message(predictions, *out)
    assert not list(tmp_path.glob("out/*"))


def test_maps_beside_what_is_read_are_refused(predictions, labels, tmp_path, capsys):
    """They would be cases of the next command: phantom_000_confidence.nii.gz has no softmax file."""
    before = sorted(predictions.iterdir())
    for folder in (predictions, labels, predictions / ".." / predictions.name):
        assert run(predictions, "-o", folder, "-gt", labels) == 1
        assert "is a folder that is read, and maps (.nii.gz) would be taken for cases of it" in capsys.readouterr().err
    assert sorted(predictions.iterdir()) == before
