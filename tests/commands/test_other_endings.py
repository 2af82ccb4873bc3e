"""The commands on what is not .nii.gz and three-dimensional: flat PNG and NRRD, a TIFF whose spacing is in a file of its own."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from scipy import ndimage
from skimage import io

from nnunet_nacl.cli import main

NAMES = ("a,b 0", "[red].1", "Fäll_2", "100%3")
TOUCHING = np.ones((3, 3, 3))


def write_png(values, path):
    io.imsave(path, values[0].astype(np.uint8), check_contrast=False)


def write_nrrd(values, path):
    image = sitk.GetImageFromArray(values[0].astype(np.uint16))
    image.SetSpacing((0.5, 2.0))
    sitk.WriteImage(image, str(path))


def write_tiff(values, path):
    tifffile.imwrite(path, values.astype(np.uint8))
    path.with_suffix(".json").write_text(json.dumps({"spacing": [3.0, 0.5, 2.0]}))


KINDS = {
    ".png": ("NaturalImage2DIO", (1, 12, 14), write_png, lambda path: io.imread(path)[None]),
    ".nrrd": ("SimpleITKIO", (1, 12, 14), write_nrrd, lambda path: sitk.GetArrayFromImage(sitk.ReadImage(path))[None]),
    ".tif": ("Tiff3DIO", (5, 8, 9), write_tiff, tifffile.imread),
}


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def make(folder, ending, seed):
    """Write labels of four classes, one of them in no case, with ignored voxels, and predictions of them; return both as arrays."""
    reader, shape, write, _ = KINDS[ending]
    labels = {"background": 0, "[b]": 2, "x,y": [1], "nowhere": 3, "ignore": 4}
    predictions = folder / "predictions"
    predictions.mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    plans = {"dataset_name": "Dataset001_A", "image_reader_writer": reader, "configurations": {}}
    (predictions / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ending}))
    (predictions / "plans.json").write_text(json.dumps(plans))
    rng, found = np.random.default_rng(seed), {}
    for number, name in enumerate(NAMES):
        truth = np.kron(rng.integers(0, 3, [-(-side // 4) for side in shape]), np.ones((4, 4, 4), int))
        truth = truth[tuple(map(slice, shape))] * (number < 3)  # nothing in the last case
        p = rng.dirichlet(np.full(4, 0.3), shape) + 0.7 * np.eye(4)[truth]
        p = np.moveaxis(p / p.sum(-1, keepdims=True), -1, 0).astype(np.float32)
        truth = np.where(rng.random(shape) < 0.1, 4, truth)
        write(truth, folder / "labels" / f"{name}{ending}")
        write(p.argmax(0), predictions / f"{name}{ending}")
        np.savez_compressed(predictions / f"{name}.npz", probabilities=p)
        found[name] = truth, p
    return found


@pytest.mark.parametrize("ending", KINDS)
def test_figures_and_masks(ending, tmp_path):
    cases = make(tmp_path, ending, seed=1)
    predictions, labels = tmp_path / "predictions", tmp_path / "labels"
    read = KINDS[ending][3]
    run("evaluate", predictions, "-gt", labels, "-np", 1)
    content = json.loads((predictions / "calibration" / "calibration.json").read_text())
    for entry in content["metric_per_case"]:
        truth, p = cases[entry["case"]]
        own = truth != 4
        for label in (1, 2, 3):
            one, other = (truth == label) & own, (p.argmax(0) == label) & own
            dice = 2 * (one & other).sum() / (one.sum() + other.sum()) if one.any() or other.any() else None
            held = entry["metrics"][str(label)]
            assert held["Dice"] == (None if dice is None else pytest.approx(dice))
            soft = held["volume_ml"]["soft"]
            assert soft == (pytest.approx(p[label][own].sum() * 3e-3, rel=1e-5) if ending == ".tif" else None)

    run("thresholds", "fit", predictions, "-o", tmp_path / "thresholds.json", "--miss", 0.4)
    run("thresholds", "apply", tmp_path / "thresholds.json", predictions, "-o", tmp_path / "masks", "-np", 1)
    with (tmp_path / "masks" / "thresholds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["case"], row["class"]) for row in rows} == {(name, label) for name in NAMES for label in "12"}
    for row in rows:
        (path,) = (tmp_path / "masks").glob(f"{row['class']}_*/{row['case'].replace('[', '[[]')}{ending}")
        expected = cases[row["case"]][1][int(row["class"])] >= float(row["threshold"])
        np.testing.assert_array_equal(read(path), expected)
        assert int(row["findings"]) == ndimage.label(expected, TOUCHING)[1]

    run("lesions", predictions, "-gt", labels, "-np", 1)
    with (predictions / "lesions" / "lesions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, (truth, _) in cases.items():
        for label, of_class in ((2, "[b]"), (1, "x,y"), (3, "nowhere")):
            own = [row for row in rows if (row["case"], row["class"], row["kind"]) == (name, of_class, "lesion")]
            assert len(own) == ndimage.label(truth == label, TOUCHING)[1]

    run("recalibrate", "fit", predictions, "-gt", labels, "-o", tmp_path / "t.json")
    run("recalibrate", "apply", tmp_path / "t.json", predictions, "-o", tmp_path / "recalibrated")
    run("ensemble", predictions, tmp_path / "recalibrated", "-o", tmp_path / "mean", "-np", 1)
    run("triage", "fit", predictions, "-o", tmp_path / "triage.json", "--level", 0.5)
    run("triage", "apply", tmp_path / "triage.json", predictions, "-o", tmp_path / "triage.csv", "-np", 1)
    for name, (_, p) in cases.items():
        again = np.load(tmp_path / "recalibrated" / f"{name}.npz")["probabilities"]
        np.testing.assert_array_equal(again.argmax(0), p.argmax(0))
        mean = np.load(tmp_path / "mean" / f"{name}.npz")["probabilities"]
        np.testing.assert_allclose(mean, np.mean([p, again], axis=0), atol=1e-6)
        np.testing.assert_array_equal(read(tmp_path / "mean" / f"{name}{ending}"), mean.argmax(0))
