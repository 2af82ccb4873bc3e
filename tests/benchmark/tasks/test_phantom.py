"""The phantom: labels drawn with exactly the posterior's probabilities, files that nnU-Net imports, nothing overwritten."""

import hashlib
import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_nacl.benchmark.tasks.phantom import LABELS, make_phantom, write_task
from nnunet_nacl.cli import main


def test_labels_follow_the_posterior():
    """Over many phantoms, the share of each class is the mean of its posterior within four standard errors."""
    differences = []
    for seed in range(60):
        phantom = make_phantom(16, np.random.default_rng(seed))
        shares = [(phantom.labels == k).mean() for k in range(3)]
        differences.append(shares - phantom.posterior.mean((1, 2, 3)))
    mean, error = np.mean(differences, 0), np.std(differences, 0) / np.sqrt(len(differences))
    assert (np.abs(mean) < 4 * error).all()


def test_posterior_sums_to_one_and_every_class_occurs():
    phantom = make_phantom(16, np.random.default_rng(0))
    np.testing.assert_allclose(phantom.posterior.sum(0), 1, atol=1e-6)
    assert set(np.unique(phantom.labels)) == {0, 1, 2}


def test_files(phantom_task):
    content = json.loads((phantom_task / "dataset.json").read_text())
    assert list(content["labels"].values()) == list(LABELS)
    assert (content["numTraining"], content["numTest"]) == (6, 2)
    for entry in content["training"]:
        image = sitk.ReadImage(str(phantom_task / entry["image"]))
        labels = sitk.ReadImage(str(phantom_task / entry["label"]))
        assert image.GetSize() == labels.GetSize() == (16, 16, 16)
    assert all((phantom_task / path).is_file() for path in content["test"])


def test_same_seed_same_files(phantom_task, tmp_path):
    write_task(tmp_path / "Task99_Phantom", n_cases=6, size=16)
    write_task(tmp_path / "Task98_Phantom", n_cases=6, size=16, seed=1)

    def digest(folder, file="labelsTr/phantom_000.nii.gz"):
        return hashlib.sha256((folder / file).read_bytes()).hexdigest()

    assert digest(phantom_task) == digest(tmp_path / "Task99_Phantom") != digest(tmp_path / "Task98_Phantom")
    assert digest(phantom_task, "dataset.json") == digest(tmp_path / "Task99_Phantom", "dataset.json")


def test_named_after_the_folder(phantom_task):
    assert json.loads((phantom_task / "dataset.json").read_text())["name"] == "Phantom"


def test_existing_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "Task99_Phantom").mkdir()
    assert main(["phantom", str(tmp_path / "Task99_Phantom")]) == 1
    assert "exists already and is left alone" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "Task99_Phantom"]
    assert not any((tmp_path / "Task99_Phantom").iterdir())


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [("Phantom", [], "name like Task99_Phantom"), ("Task1_A", ["--size", "8"], "at least 16")],
)
def test_bad_arguments(name, extra, message, tmp_path, capsys):
    assert main(["phantom", str(tmp_path / name), *extra]) == 1
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_raters_are_further_draws_and_change_nothing_else(phantom_task, tmp_path):
    write_task(tmp_path / "Task99_Phantom", n_cases=6, size=16, raters=2)
    for path in phantom_task.rglob("*.nii.gz"):
        assert (tmp_path / "Task99_Phantom" / path.relative_to(phantom_task)).read_bytes() == path.read_bytes()
    folders = ("labelsTr", "ratersTr/rater1", "ratersTr/rater2")
    drawn = []
    for number in range(6):
        files = [tmp_path / "Task99_Phantom" / folder / f"phantom_{number:03d}.nii.gz" for folder in folders]
        drawn.append([sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files])
    drawn = np.array(drawn)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 0.002 < (drawn[:, one] != drawn[:, other]).mean() < 0.2
