"""What calibration.json says beyond the scores of a voxel set: boundary, HD95, volumes, regions, intervals, edges."""

import csv
import json

import numpy as np
import pytest
import scipy.stats
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.surface import hd95

SPACING = (1.5, 0.5, 0.8)  # z, y, x


def write_case(folder, name, labels, probabilities):
    for part in ("labels", "predictions"):
        (folder / part).mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(labels.astype(np.uint8))
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(folder / "labels" / f"{name}.nii.gz"))
    np.savez_compressed(folder / "predictions" / f"{name}.npz", probabilities=probabilities.astype(np.float32))


def write_dataset(folder, dataset_files, labels, **more):
    dataset = json.loads(dataset_files[0].read_text()) | {"labels": labels} | more
    (folder / "dataset.json").write_text(json.dumps(dataset))


def evaluate(folder, dataset_files, *extra):
    command = ["evaluate", folder / "predictions", "-gt", folder / "labels", "-djfile", folder / "dataset.json"]
    command += ["-pfile", dataset_files[1], "-np", 1, "-o", folder / "out", *extra]
    assert main([str(part) for part in command]) == 0
    return json.loads((folder / "out" / "calibration.json").read_text())


def blob(shape, center, radius):
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return np.linalg.norm(grid - np.array(center), axis=-1) <= radius


@pytest.fixture
def two_cases(tmp_path, dataset_files):
    """Labels 0, 1, 2 and blurry predictions of them; the second case lacks class 2."""
    rng = np.random.default_rng(0)
    for name, classes in (("a", 2), ("b", 1)):
        labels = np.zeros((7, 9, 11), int)
        labels[blob(labels.shape, (3, 4, 4), 2.5)] = 1
        if classes == 2:
            labels[blob(labels.shape, (3, 4, 8), 1.5)] = 2
        logits = 4 * np.eye(3)[labels] + rng.normal(size=(*labels.shape, 3))
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        write_case(tmp_path, name, labels, np.moveaxis(probabilities, -1, 0))
    write_dataset(tmp_path, dataset_files, {"background": 0, "one": 1, "two": 2})
    return tmp_path


def test_boundary_hd95_and_volumes(two_cases, dataset_files):
    summary = evaluate(two_cases, dataset_files, "--hd95", "--boundary-mm", 1.2)
    assert summary["protocol"]["boundary_mm"] == 1.2
    for case in summary["metric_per_case"]:
        labels = sitk.GetArrayFromImage(sitk.ReadImage(case["reference_file"]))
        probabilities = np.load(case["prediction_file"])["probabilities"]
        prediction = probabilities.argmax(0)
        band = sum(
            ((labels == k) & (distance_transform_edt(labels == k, sampling=SPACING) <= 1.2)).sum()
            for k in np.unique(labels)
        )
        assert case["voxel_sets"]["boundary"]["n_voxels"] == band
        for label in (1, 2):
            entry = case["metrics"][str(label)]
            expected = hd95(labels == label, prediction == label, SPACING)
            assert entry["HD95"] == (None if np.isnan(expected) else pytest.approx(expected))
            ml = np.prod(SPACING) / 1000
            assert entry["volume_ml"]["reference"] == pytest.approx((labels == label).sum() * ml)
            assert entry["volume_ml"]["predicted"] == pytest.approx((prediction == label).sum() * ml)
            assert entry["volume_ml"]["soft"] == pytest.approx(probabilities[label].sum() * ml, rel=1e-5)
        assert case["metrics"]["0"]["HD95"] is None
        assert set(case["metrics"]["0"]["confidence"].values()) == {None}


def test_confidences_that_need_no_label(two_cases, dataset_files):
    summary = evaluate(two_cases, dataset_files)
    with (two_cases / "out" / "calibration_cases.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file) if row["voxel_set"] == "all"}
    for case in summary["metric_per_case"]:
        probabilities = np.load(case["prediction_file"])["probabilities"].astype(float)
        prediction = probabilities.argmax(0)
        for label in (1, 2):
            p, mask = probabilities[label], prediction == label
            confidence, volumes = (case["metrics"][str(label)][name] for name in ("confidence", "volume_ml"))
            assert confidence["soft_Dice"] == pytest.approx(2 * p[mask].sum() / (p.sum() + mask.sum()), rel=1e-6)
            entropy = scipy.stats.entropy([p[mask], 1 - p[mask]])
            means = [p[mask].mean(), entropy.mean()] if mask.any() else [None, None]
            assert [confidence["mean_probability"], confidence["mean_entropy"]] == pytest.approx(means, rel=1e-6)
            assert volumes["spread"] == pytest.approx((p * (1 - p)).sum() * np.prod(SPACING) / 1000, rel=1e-6)
            row = rows[case["case"]]
            assert float(row[f"confidence_soft_Dice_{label}"]) == confidence["soft_Dice"]
            assert float(row[f"volume_ml_spread_{label}"]) == volumes["spread"]


def test_hd95_is_left_out_unless_asked_for(two_cases, dataset_files):
    summary = evaluate(two_cases, dataset_files)
    assert summary["foreground_mean"]["HD95"] is None
    assert summary["metric_per_case"][0]["metrics"]["1"]["HD95"] is None


def test_class_scores_and_intervals(two_cases, dataset_files):
    summary = evaluate(two_cases, dataset_files)
    first, second = summary["metric_per_case"]
    assert second["metrics"]["2"]["class_wise_ACE"]["all"] is None
    assert summary["mean"]["2"]["class_wise_ACE"]["all"] == first["metrics"]["2"]["class_wise_ACE"]["all"]
    assert summary["mean"]["2"]["class_wise_ACE"]["all_interval"] is None  # of one case there is none
    for part in ("per_case", "pooled"):
        for scores in summary[part].values():
            low, high = scores["ECE_interval"]
            assert low <= scores["ECE"] <= high
    cases = [case["voxel_sets"]["all"]["NLL"] for case in summary["metric_per_case"]]
    # of two cases, t with one degree of freedom; an NLL is not below 0
    low, high = scipy.stats.t.interval(0.95, 1, np.mean(cases), scipy.stats.sem(cases))
    assert summary["per_case"]["all"]["NLL_interval"] == pytest.approx([max(low, 0), high])


def test_cases_that_agree_have_no_interval(tmp_path, dataset_files):
    """Two cases that are predicted alike: their ECE differs by nothing, which does not say that others' would not."""
    labels = blob((7, 9, 11), (3, 4, 4), 2.5).astype(int)
    p = np.stack([1.0 - labels, labels]) * 0.8 + 0.1
    for name in ("a", "b"):
        write_case(tmp_path, name, labels, p)
    write_dataset(tmp_path, dataset_files, {"background": 0, "one": 1})
    summary = evaluate(tmp_path, dataset_files)
    for part in ("per_case", "pooled"):
        assert summary[part]["all"]["ECE"] == pytest.approx(0.1) and summary[part]["all"]["ECE_interval"] is None
    assert summary["mean"]["1"]["Dice"] == 1


def test_cropped_cases_are_counted(two_cases, dataset_files):
    path = two_cases / "predictions" / "a.npz"
    probabilities = np.load(path)["probabilities"]
    probabilities[:, :2] = np.array([1, 0, 0])[:, None, None, None]
    np.savez_compressed(path, probabilities=probabilities)
    first, second = evaluate(two_cases, dataset_files)["metric_per_case"]
    assert first["voxel_sets"]["all"]["n_certain"] == 2 * 9 * 11
    assert second["voxel_sets"]["all"]["n_certain"] == 0


@pytest.mark.parametrize("ignore", [False, True])
def test_regions_are_binary_problems(tmp_path, dataset_files, ignore):
    rng = np.random.default_rng(1)
    labels = {"background": 0, "whole": [1, 2], "core": 2} | ({"ignore": 3} if ignore else {})
    arrays = {}
    for name in ("a", "b"):
        label_map = np.zeros((5, 8, 9), int)
        label_map[blob(label_map.shape, (2, 4, 4), 3)] = 1
        label_map[blob(label_map.shape, (2, 4, 4), 1.5)] = 2
        if ignore:
            label_map[0] = 3
        inside = np.stack([np.isin(label_map, (1, 2)), label_map == 2])
        probabilities = 1 / (1 + np.exp(-(3 * (2 * inside - 1) + rng.normal(size=inside.shape))))
        probabilities[:, -1] = 0  # outside of the crop
        arrays[name] = label_map, probabilities.astype(np.float32)
        write_case(tmp_path, name, *arrays[name])
    write_dataset(tmp_path, dataset_files, labels, regions_class_order=[1, 2])
    summary = evaluate(tmp_path, dataset_files, "--hd95")
    assert summary["protocol"]["labels"] == {"(1, 2)": "whole", "2": "core"}
    for case in summary["metric_per_case"]:
        label_map, probabilities = arrays[case["case"]]
        by_region = []
        written = np.where(probabilities[1] > 0.5, 2, probabilities[0] > 0.5)
        for channel, (key, members) in enumerate({"(1, 2)": (1, 2), "2": (2,)}.items()):
            mask = np.isin(label_map, members).astype(int)
            mask[label_map == 3] = 2
            statistics = CalibrationStatistics.empty(2)
            p = probabilities[channel]
            statistics.update(np.stack([1 - p, p]), mask, 2 if ignore else None, spacing=SPACING)
            by_region.append(statistics)
            entry = case["metrics"][key]
            # of the label map that nnU-Net writes, not of the channel
            predicted = np.isin(written, members) & (mask != 2)
            assert entry["Dice"] == 2 * (predicted & (mask == 1)).sum() / (predicted.sum() + (mask == 1).sum())
            assert entry["class_wise_ECE"]["predicted"] == pytest.approx(
                statistics.scores("predicted").class_wise_ece[1], abs=1e-12
            )
            assert entry["n_pred"] == predicted.sum()
            assert entry["HD95"] == pytest.approx(hd95(mask == 1, predicted, SPACING))
        for voxel_set, scores in case["voxel_sets"].items():
            expected = [statistics.scores(voxel_set) for statistics in by_region]
            assert scores["ECE"] == pytest.approx(np.mean([each.ece for each in expected]), abs=1e-12)
            assert scores["n_voxels"] == sum(each.n_voxels for each in expected)
        assert case["voxel_sets"]["all"]["n_certain"] == 2 * (label_map[-1] != 3).sum()
        assert case["n_ignored"] == (label_map == 3).sum()
    assert summary["foreground_mean"]["n_defined"] == 2


def test_a_network_that_predicts_only_background_has_an_empty_set(tmp_path, dataset_files):
    """No voxel is in the set, so no cell of the confidence grid is filled: no score and no interval, but a result."""
    labels = np.zeros((5, 6, 7), int)
    labels[2, 2:4, 2:5] = 1
    for name in ("a", "b"):
        write_case(tmp_path, name, labels, np.stack([np.full(labels.shape, 0.9), np.full(labels.shape, 0.1)]))
    write_dataset(tmp_path, dataset_files, {"background": 0, "one": 1})
    summary = evaluate(tmp_path, dataset_files)
    pooled = summary["pooled"]["predicted"]
    assert pooled["n_voxels"] == 0 and pooled["ECE"] is None and pooled["equal_mass_ECE"] is None
    assert summary["pooled"]["all"]["equal_mass_ECE"] == pytest.approx(abs(0.9 - 204 / 210), abs=1e-6)


def test_flat_structures_are_named(tmp_path, dataset_files, capsys):
    for name, slices in (("flat", slice(3, 4)), ("thick", slice(2, 6))):
        labels = np.zeros((8, 20, 24), int)
        labels[slices, 4:14, 4:14] = 1
        p = np.where(np.roll(labels, 3, 2) == 1, 0.9, 0.1)
        write_case(tmp_path, name, labels, np.stack([1 - p, p]))
    write_dataset(tmp_path, dataset_files, {"background": 0, "plate": 1})
    assert evaluate(tmp_path, dataset_files, "--hd95")["remarks"]["flat"]["cases"] == {"flat": "plate"}
    assert "1 of 2 cases: a structure is only one or two slices thick" in capsys.readouterr().err
    assert not evaluate(tmp_path, dataset_files)["remarks"]  # there is no HD95 to doubt


def test_saturated_voxels_are_certain_too(tmp_path, dataset_files):
    """The file does not tell them from those outside of the crop: a float16 softmax is one-hot from a difference of logits of 17 on."""
    labels = np.zeros((5, 6, 7), int)
    labels[2, 2:4, 2:5] = 1
    logit = np.where(labels == 1, 18.0, -18.0)
    p = (1 / (1 + np.exp(-logit))).astype(np.float16)
    for name in ("a", "b"):
        write_case(tmp_path, name, labels, np.stack([1 - p, p]))
    write_dataset(tmp_path, dataset_files, {"background": 0, "one": 1})
    summary = evaluate(tmp_path, dataset_files)
    assert summary["metric_per_case"][0]["voxel_sets"]["all"]["n_certain"] == labels.size
