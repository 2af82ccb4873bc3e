"""`nnunet-nacl ensemble`: nnU-Net's own mean to the bit, the geometric one against plain formulas, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.ensembling.ensemble import average_probabilities
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.special import expit, log_softmax, logit, softmax

from nnunet_nacl.cli import main

CASES = ("a", "b")
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
SHAPE = (4, 5, 6)


@pytest.fixture
def folders(tmp_path, dataset_files):
    """Three folders as `nnUNetv2_predict --save_probabilities` leaves them."""

    def make(changes=(), dtype=np.float32):
        dataset = json.loads(dataset_files[0].read_text()) | dict(changes)
        channels = 2 if "regions_class_order" in dataset else 3
        made = []
        for number in range(3):
            folder = tmp_path / f"member_{number}"
            folder.mkdir()
            shutil.copy(dataset_files[1], folder / "plans.json")
            (folder / "dataset.json").write_text(json.dumps(dataset))
            for case in CASES:
                rng = np.random.default_rng([number, ord(case)])
                logits = rng.normal(scale=4, size=(channels, *SHAPE)).astype(np.float32)
                values = expit(logits) if channels == 2 else softmax(logits, 0)
                values[:, 0] = 0 if channels == 2 else np.eye(3)[0][:, None, None]  # outside of the crop
                write(folder, case, values.astype(dtype))
            made.append(folder)
        return made

    return make


def write(folder, case, values):
    np.savez_compressed(folder / f"{case}.npz", probabilities=values)
    image = sitk.GetImageFromArray(np.zeros(SHAPE, np.uint8))
    image.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(folder / f"{case}.nii.gz"))
    (folder / f"{case}.pkl").write_bytes(b"never opened")


def read(folder, case):
    return np.load(folder / f"{case}.npz")["probabilities"]


def segmentation(folder, case):
    image = sitk.ReadImage(str(folder / f"{case}.nii.gz"))
    assert image.GetSpacing() == (1.0, 2.0, 3.0)
    return sitk.GetArrayFromImage(image)


def ensemble(folders, output, *options):
    return main(["ensemble", *map(str, folders), "-o", str(output), "-np", "1", *options])


@pytest.mark.parametrize("changes", [{}, REGIONS], ids=["labels", "regions"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_mean_is_that_of_nnunet(changes, dtype, folders, tmp_path):
    members = folders(changes, dtype)
    assert ensemble(members, tmp_path / "mean") == 0
    files = [f"{case}{ending}" for case in CASES for ending in (".nii.gz", ".npz", ".pkl")]
    assert sorted(path.name for path in (tmp_path / "mean").iterdir()) == sorted([*files, "dataset.json", "plans.json"])
    manager = PlansManager(str(members[0] / "plans.json")).get_label_manager(
        json.loads((members[0] / "dataset.json").read_text())
    )
    for case in CASES:
        expected = average_probabilities([str(folder / f"{case}.npz") for folder in members])
        found = read(tmp_path / "mean", case)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
        expected = np.asarray(manager.convert_probabilities_to_segmentation(expected))
        np.testing.assert_array_equal(segmentation(tmp_path / "mean", case), expected)
        assert len(np.unique(expected)) == 3
        assert (tmp_path / "mean" / f"{case}.pkl").read_bytes() == b"never opened"


@pytest.mark.parametrize("changes", [{}, REGIONS], ids=["labels", "regions"])
def test_geometric_mean_is_that_of_logits(changes, folders, tmp_path):
    members = folders(changes)
    assert ensemble(members, tmp_path / "mean", "--geometric") == 0
    values = np.stack([read(folder, "a") for folder in members]).astype(float)[:, :, 1:]
    expected = expit(logit(values).mean(0)) if changes else softmax(log_softmax(np.log(values), 1).mean(0), 0)
    found = read(tmp_path / "mean", "a")
    np.testing.assert_allclose(found[:, 1:], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[:, 0], read(members[0], "a")[:, 0])
    assert not np.allclose(found[:, 1:], values.mean(0), atol=1e-3)


def test_geometric_mean_of_zeros_and_ones_is_finite(folders, tmp_path):
    members = folders(REGIONS)
    for number, folder in enumerate(members):
        write(folder, "a", np.full((2, *SHAPE), float(number == 0), np.float32))
    assert ensemble(members, tmp_path / "mean", "--geometric") == 0
    assert np.isfinite(read(tmp_path / "mean", "a")).all()


def test_members_that_do_not_belong_together_are_refused(folders, tmp_path, capsys):
    members = folders()

    def said(*chosen, output=tmp_path / "mean"):
        assert ensemble(chosen, output) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert "at least two folders" in said(members[0])
    assert "at least two folders" in said(members[0], members[0])
    assert "never overwritten" in said(*members, output=members[0])
    within = members[1] / "new" / "mean"
    assert said(*members, output=within) == (
        f"nnunet-nacl: error: {within}: lies in {members[1]}, a folder that is averaged. Choose an -o outside of them."
    )
    assert not within.parent.exists()
    shutil.copy(members[0] / "a.npz", members[1] / "c.npz")
    assert "no segmentation (.nii.gz), which gives the geometry, for c" in said(*members)
    shutil.copy(members[0] / "a.nii.gz", members[1] / "c.nii.gz")
    assert f"{members[0]}: lacks c, which other folders have" in said(*members)
    for path in members[1].glob("c.*"):
        path.unlink()
    image = sitk.ReadImage(str(members[1] / "b.nii.gz"))
    image.SetOrigin((0.0, 50.0, 0.0))
    sitk.WriteImage(image, str(members[1] / "b.nii.gz"))
    assert f"b: lies elsewhere in {members[1]} than in {members[0]}" in said(*members)
    shutil.rmtree(tmp_path / "mean")  # a, which was finished, stays
    shutil.copy(members[0] / "b.nii.gz", members[1])
    write(members[2], "a", np.full((3, *SHAPE), 0.9, np.float32))
    assert "sum to 1" in said(*members)
    assert not (tmp_path / "mean").exists()
    other = json.loads((members[2] / "dataset.json").read_text())
    (members[2] / "dataset.json").write_text(json.dumps(other | {"labels": {"background": 0, "cap": 1, "body": 2}}))
    assert "their labels differ" in said(*members)


@pytest.mark.parametrize("changes", [{}, REGIONS], ids=["labels", "regions"])
@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (7.0, "to 7."), (-3.0, "got -3 to")])
def test_no_probabilities_are_refused(changes, value, said, folders, tmp_path, capsys):
    """A member with NaN or logits: of regions, and of NaN, no sum over the classes would show it."""
    members = folders(changes)
    for folder in members:
        values = read(folder, "a")
        values[-1, 2, 2, 2] = value
        write(folder, "a", values)
    assert ensemble(members, tmp_path / "mean") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("nnunet-nacl: error: a in ") and said in line
    assert not list((tmp_path / "mean").glob("a.*"))
