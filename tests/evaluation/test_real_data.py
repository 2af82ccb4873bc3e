"""Real labels with their real geometry: Task04_Hippocampus of the Medical Segmentation Decathlon."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from reference import reference
from scipy.ndimage import gaussian_filter

from nnunet_nacl.cli import main

ROOT = os.environ.get("NNUNET_NACL_MSD_ROOT")
pytestmark = pytest.mark.skipif(ROOT is None, reason="NNUNET_NACL_MSD_ROOT names no folder with Task04_Hippocampus")


@pytest.fixture
def task():
    folder = Path(ROOT) / "Task04_Hippocampus"
    assert folder.is_dir(), f"NNUNET_NACL_MSD_ROOT={ROOT} holds no Task04_Hippocampus"
    return folder


def test_blurred_labels_as_probabilities(task, dataset_files, tmp_path):
    """Ten cases whose probabilities are their blurred labels: figures as in the slow reference, Dice as in nnU-Net."""
    reader, predictions = SimpleITKIO(), tmp_path / "predictions"
    predictions.mkdir()
    for path in sorted((task / "labelsTr").glob("*.nii.gz"))[:10]:
        labels, properties = reader.read_seg(str(path))
        one_hot = np.stack([labels[0] == k for k in range(3)]).astype(float)
        blurred = np.stack([gaussian_filter(channel, 1.5) for channel in one_hot])
        name = path.name.removesuffix(".nii.gz")
        np.savez_compressed(predictions / f"{name}.npz", probabilities=(blurred / blurred.sum(0)).astype(np.float32))
        reader.write_seg(blurred.argmax(0), str(predictions / path.name), properties)
    dataset, plans = dataset_files
    command = [
        "evaluate",
        predictions,
        "-gt",
        task / "labelsTr",
        "-djfile",
        dataset,
        "-pfile",
        plans,
        "-np",
        1,
        "-o",
        tmp_path / "out",
    ]
    assert main([str(part) for part in command]) == 0
    summary = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert len(summary["metric_per_case"]) == 10
    for case in summary["metric_per_case"]:
        theirs = compute_metrics(
            case["reference_file"], case["prediction_file"].replace(".npz", ".nii.gz"), reader, [1, 2]
        )
        for label in (1, 2):
            assert case["metrics"][str(label)]["Dice"] == pytest.approx(theirs["metrics"][label]["Dice"])
    first = summary["metric_per_case"][0]
    probabilities = np.load(first["prediction_file"])["probabilities"].reshape(3, -1)
    labels = reader.read_seg(first["reference_file"])[0].reshape(-1)
    for voxel_set in ("all", "foreground", "union", "predicted"):
        assert first["voxel_sets"][voxel_set]["ECE"] == pytest.approx(
            reference(probabilities, labels, voxel_set)["ece"], abs=1e-9
        )
