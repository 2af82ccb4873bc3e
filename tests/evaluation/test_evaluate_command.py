"""`nnunet-nacl evaluate` on the phantom's true posterior: right figures, whole files, and one line where input is bad."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from reference import reference

from nnunet_nacl.calibration import VOXEL_SETS
from nnunet_nacl.cli import main

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate_calibration.py"
OUTPUT = {"calibration.json", "calibration_cases.csv", "calibration_bins.npz"} | {
    f"reliability_{voxel_set}.png" for voxel_set in VOXEL_SETS
}


@pytest.fixture
def predictions(phantom_task, tmp_path):
    folder = tmp_path / "predictions"
    shutil.copytree(phantom_task / "posteriorTr", folder)
    return folder


@pytest.fixture
def evaluate(phantom_task, predictions, dataset_files, tmp_path):
    def run(*extra, labels=phantom_task / "labelsTr", predictions=predictions, output=tmp_path / "out"):
        dataset, plans = dataset_files
        command = [
            "evaluate",
            predictions,
            "-gt",
            labels,
            "-djfile",
            dataset,
            "-pfile",
            plans,
            "-np",
            1,
            "-o",
            output,
            *extra,
        ]
        return main([str(part) for part in command])

    return run


def sharpen(folder, temperature):
    for path in folder.glob("*.npz"):
        logits = np.log(np.load(path)["probabilities"].astype(float)) / temperature
        probabilities = np.exp(logits - logits.max(0))
        np.savez_compressed(path, probabilities=(probabilities / probabilities.sum(0)).astype(np.float32))


def test_figures_equal_the_slow_reference(evaluate, predictions, phantom_task, tmp_path):
    assert evaluate() == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUT
    summary = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert [case["case"] for case in summary["metric_per_case"]] == [f"phantom_{n:03d}" for n in range(6)]
    case = summary["metric_per_case"][3]
    probabilities = np.load(case["prediction_file"])["probabilities"].reshape(3, -1)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(case["reference_file"])).reshape(-1)
    names = {
        "ECE": "ece",
        "ACE": "ace",
        "MCE": "mce",
        "NLL": "nll",
        "Brier": "brier",
        "class_wise_ECE": "mean_class_wise_ece",
    }
    for voxel_set in ("all", "foreground", "union", "predicted"):
        expected = reference(probabilities, labels, voxel_set)
        for name, key in names.items():
            # residuals are added in float32 within a voxel, all else in float64
            tolerance = 1e-6 if name == "Brier" else 1e-9
            assert case["voxel_sets"][voxel_set][name] == pytest.approx(expected[key], abs=tolerance), (voxel_set, name)
    mean = np.mean([case["voxel_sets"]["union"]["ECE"] for case in summary["metric_per_case"]])
    assert summary["per_case"]["union"]["ECE"] == pytest.approx(mean)


def test_true_posterior_is_calibrated_where_the_label_does_not_choose(evaluate, phantom_task, predictions, tmp_path):
    assert evaluate(output=tmp_path / "truth") == 0
    truth = json.loads((tmp_path / "truth" / "calibration.json").read_text())["pooled"]
    sharpen(predictions, 0.3)
    assert evaluate(output=tmp_path / "sharp") == 0
    sharp = json.loads((tmp_path / "sharp" / "calibration.json").read_text())["pooled"]
    assert truth["all"]["ECE"] < 0.01
    assert truth["predicted"]["ECE"] < 0.05
    # selecting by the label makes even the truth look overconfident
    assert truth["union"]["ECE"] > 2 * truth["predicted"]["ECE"]
    for voxel_set in ("all", "predicted", "union"):
        assert sharp[voxel_set]["ECE"] > 1.5 * truth[voxel_set]["ECE"]
        assert sharp[voxel_set]["gap"] > truth[voxel_set]["gap"]
        assert sharp[voxel_set]["accuracy"] == truth[voxel_set]["accuracy"]


def test_tables_and_csv(evaluate, tmp_path, capsys):
    assert evaluate() == 0
    printed = capsys.readouterr().out
    for word in ("foreground", "pooled voxels", "body", "CECE", "wrote"):
        assert word in printed
    with (tmp_path / "out" / "calibration_cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * len(VOXEL_SETS)
    assert {row["voxel_set"] for row in rows} == set(VOXEL_SETS)
    assert all(0 <= float(row["ECE"]) <= float(row["MCE"]) <= 1 for row in rows)


def test_default_output_folder_and_repeated_run(phantom_task, predictions, dataset_files, capsys):
    """The result lies in a folder of its own: nnU-Net's ensembling takes each npz beside the softmax files for a case."""
    before = {path.name for path in predictions.iterdir()}
    dataset, plans = dataset_files
    command = ["evaluate", predictions, "-gt", phantom_task / "labelsTr", "-djfile", dataset, "-pfile", plans, "-np", 1]
    for _ in range(2):
        assert main([str(part) for part in command]) == 0
    assert {path.name for path in predictions.iterdir()} == before | {"calibration"}
    assert {path.name for path in (predictions / "calibration").iterdir()} == OUTPUT
    capsys.readouterr()
    assert main(["merge", str(predictions), "-o", str(predictions.parent / "merged")]) == 0


def test_own_files_beside_the_softmax_files_are_no_cases(evaluate, predictions):
    for _ in range(2):
        assert evaluate(output=predictions) == 0
    summary = json.loads((predictions / "calibration.json").read_text())
    assert summary["protocol"]["n_cases"] == 6


def test_two_processes_give_the_same_statistics(phantom_task, predictions, dataset_files, evaluate, tmp_path):
    assert evaluate(output=tmp_path / "one") == 0
    assert evaluate("-np", 2, output=tmp_path / "two") == 0
    one, two = (np.load(tmp_path / name / "calibration_bins.npz") for name in ("one", "two"))
    assert one.files == two.files
    for name in set(one.files) - {"folder"}:
        np.testing.assert_array_equal(one[name], two[name])


def test_bins_hold_every_score(evaluate, tmp_path):
    from nnunet_nacl.study.run import load_run

    assert evaluate() == 0
    run = load_run(tmp_path / "out")
    for case in run.summary["metric_per_case"]:
        for voxel_set, scores in case["voxel_sets"].items():
            assert run.statistics[case["case"]].scores(voxel_set).ece == pytest.approx(scores["ECE"], abs=1e-15)


def test_script_is_the_same_command(phantom_task, predictions, dataset_files, tmp_path):
    dataset, plans = dataset_files
    command = [
        sys.executable,
        SCRIPT,
        predictions,
        "-gt",
        phantom_task / "labelsTr",
        "-djfile",
        dataset,
        "-pfile",
        plans,
    ]
    finished = subprocess.run(
        [*command, "-np", "1", "-o", tmp_path / "out"], capture_output=True, text=True, cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUT


def test_ignore_label(evaluate, phantom_task, dataset_files, tmp_path):
    """Half of each volume gets the ignore label: the figures are those of the other half."""
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in (phantom_task / "labelsTr").iterdir():
        image = sitk.ReadImage(str(path))
        values = sitk.GetArrayFromImage(image)
        values[:8] = 3
        masked = sitk.GetImageFromArray(values)
        masked.CopyInformation(image)
        sitk.WriteImage(masked, str(labels / path.name))
    dataset = json.loads(dataset_files[0].read_text())
    dataset["labels"]["ignore"] = 3
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    assert evaluate("-djfile", tmp_path / "dataset.json", labels=labels) == 0
    summary = json.loads((tmp_path / "out" / "calibration.json").read_text())
    case = summary["metric_per_case"][0]
    probabilities = np.load(case["prediction_file"])["probabilities"][:, 8:].reshape(3, -1)
    values = sitk.GetArrayFromImage(sitk.ReadImage(case["reference_file"]))[8:].reshape(-1)
    assert case["n_ignored"] == 8 * 16 * 16
    assert case["voxel_sets"]["all"]["ECE"] == pytest.approx(reference(probabilities, values, "all")["ece"], abs=1e-9)


def rewrite(change):
    def apply(predictions):
        path = predictions / "phantom_002.npz"
        with np.load(path) as stored:
            probabilities = stored["probabilities"]
        np.savez_compressed(path, **change(probabilities))

    return apply


def with_value(probabilities, value):
    probabilities[0, 5, 5, 5] = value
    return {"probabilities": probabilities}


BAD_PREDICTIONS = {
    "missing npz": (
        lambda folder: (folder / "phantom_002.npz").rename(folder / "phantom_002.nii.gz"),
        "no softmax file (.npz) for phantom_002",
    ),
    "no probabilities": (rewrite(lambda p: {"softmax": p}), "phantom_002.npz: expected an array `probabilities`"),
    "truncated": (
        lambda folder: (folder / "phantom_002.npz").write_bytes((folder / "phantom_002.npz").read_bytes()[:-2000]),
        "phantom_002.npz: is truncated or no npz file",
    ),
    "NaN": (rewrite(lambda p: with_value(p, np.nan)), "Expected finite probabilities, but got NaN in 1 places"),
    "logits": (rewrite(lambda p: {"probabilities": p * 9 - 4}), "Are these logits?"),
    "sum": (rewrite(lambda p: {"probabilities": p * np.float32(0.9)}), "to sum to 1"),
    "shape": (rewrite(lambda p: {"probabilities": p[:, :-1]}), "expected shape (3, 16, 16, 16)"),
    "channels": (rewrite(lambda p: {"probabilities": p[:2]}), "expected 3 channels"),
    "empty folder": (lambda folder: [path.unlink() for path in folder.iterdir()], "no softmax file (.npz)"),
    "no label": (lambda folder: (folder / "phantom_002.npz").rename(folder / "other.npz"), "no label file"),
}


@pytest.mark.parametrize(
    ("name", "processes"), [*((name, 1) for name in BAD_PREDICTIONS), ("NaN", 2), ("truncated", 2)]
)
def test_bad_predictions(name, processes, evaluate, predictions, tmp_path, capsys):
    damage, message = BAD_PREDICTIONS[name]
    damage(predictions)
    before = sorted(predictions.iterdir())
    assert evaluate("-np", processes) == 1
    assert_one_line(capsys.readouterr().err, message)
    assert not any(path.is_file() for path in (tmp_path / "out").glob("*"))
    assert sorted(predictions.iterdir()) == before


def test_label_value_outside_the_data_set(evaluate, phantom_task, tmp_path, capsys):
    labels = tmp_path / "labels"
    shutil.copytree(phantom_task / "labelsTr", labels)
    values = np.zeros((16, 16, 16), np.uint8)
    values[3, 3, 3] = 9
    sitk.WriteImage(sitk.GetImageFromArray(values), str(labels / "phantom_004.nii.gz"))
    assert evaluate(labels=labels) == 1
    assert_one_line(
        capsys.readouterr().err, "phantom_004.nii.gz: Expected labels 0 to 2 (no ignore label), but got [9]"
    )


def test_label_file_that_is_no_image(evaluate, phantom_task, tmp_path, capsys):
    labels = tmp_path / "labels"
    shutil.copytree(phantom_task / "labelsTr", labels)
    (labels / "phantom_004.nii.gz").write_text("not an image")
    assert evaluate(labels=labels) == 1
    assert "phantom_004.nii.gz: SimpleITKIO cannot read this label file" in capsys.readouterr().err


def test_output_that_is_a_file(evaluate, tmp_path, capsys):
    (tmp_path / "taken").touch()
    assert evaluate(output=tmp_path / "taken") == 1
    assert_one_line(capsys.readouterr().err, "taken: cannot be written to")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_folder_without_permission(evaluate, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o555)
    assert evaluate(output=tmp_path / "locked") == 1
    assert_one_line(capsys.readouterr().err, "locked: cannot be written to (Permission denied)")


def test_output_folder_below_a_read_only_place(evaluate, capsys):
    assert evaluate(output=Path("/proc/nnunet_nacl")) == 1
    assert_one_line(capsys.readouterr().err, "/proc/nnunet_nacl: cannot be written to")


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("-djfile", None, "cannot be read (No such file or directory)"),
        ("-djfile", "{", "is not JSON"),
        ("-djfile", "{}", "lacks labels, file_ending"),
        ("-pfile", '{"dataset_name": "x"}', "lacks image_reader_writer, configurations"),
        ("-djfile", '{"labels": {"a": 1}, "file_ending": ".nii.gz"}', "nnU-Net refuses these labels"),
        ("-djfile", '{"labels": {"background": 0, "a": 1, "b": 3}, "file_ending": ".nii.gz"}', "consecutive labels"),
    ],
)
def test_bad_dataset_files(option, content, message, evaluate, tmp_path, capsys):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    assert evaluate(option, path) == 1
    assert_one_line(capsys.readouterr().err, message)


@pytest.mark.parametrize("extra", [("--bins", "0"), ("-np", "0"), ("--bins", "x")])
def test_bad_arguments(extra, evaluate, capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate(*extra)
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def assert_one_line(printed, message):
    errors = [line for line in printed.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in printed
