"""Small cases whose errors are drawn, as nnU-Net leaves them, and evaluated."""

from __future__ import annotations

import json

import numpy as np
import SimpleITK as sitk

from nnunet_nacl.cli import main

SPACING = (2.0, 1.0, 1.0)  # z, y, x
SHAPE = (6, 12, 12)
DATASET = {"channel_names": {"0": "T1"}, "numTraining": 2, "file_ending": ".nii.gz"}
PLANS = {"dataset_name": "Dataset900_Two", "image_reader_writer": "SimpleITKIO", "configurations": {}}
CLASSES = {"background": 0, "liver": 1, "cyst": 2}
REGIONS = {"background": 0, "whole": [1, 2], "cyst": 2}


def softmax_of(rng, size, regions, bias):
    """Return a case: labels of a large and, in most cases, a small structure, and probabilities of moved borders."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    away = np.linalg.norm((grid - np.array([2.5, 5.5, 5.5])) * np.array([1.5, 1, 1]), axis=-1)
    labels = np.where(away < 0.4 * size, 2, np.where(away < size, 1, 0))
    sharp, moved = rng.uniform(2, 6), rng.normal(bias, 0.25)
    outer, inner = (1 / (1 + np.exp(sharp * (away - edge - moved))) for edge in (size, 0.4 * size))
    if regions:
        return labels, np.stack([outer, inner])
    return labels, np.stack([1 - outer, outer * (1 - inner), outer * inner])


def write(path, values, spacing=SPACING):
    image = sitk.GetImageFromArray(values.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(path))


def write_cases(folder, names, seed, regions=False, sizes=(2.5, 5.0), spacing=SPACING, bias=0.2):
    rng = np.random.default_rng(seed)
    for part in ("labels", "predictions"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    order = {"regions_class_order": [1, 2]} if regions else {}
    labels = REGIONS if regions else CLASSES
    (folder / "predictions" / "dataset.json").write_text(json.dumps(DATASET | {"labels": labels} | order))
    (folder / "predictions" / "plans.json").write_text(json.dumps(PLANS | {"plans_name": "nnUNetPlans"}))
    for name in names:
        truth, probabilities = softmax_of(rng, rng.uniform(*sizes), regions, bias)
        segmentation = probabilities.argmax(0)
        if regions:
            segmentation = np.where(probabilities[1] > 0.5, 2, np.where(probabilities[0] > 0.5, 1, 0))
        write(folder / "labels" / f"{name}.nii.gz", truth, spacing)
        write(folder / "predictions" / f"{name}.nii.gz", segmentation, spacing)
        np.savez_compressed(folder / "predictions" / f"{name}.npz", probabilities=probabilities.astype(np.float32))


def run(*arguments):
    return main([str(argument) for argument in arguments])


def evaluated(folder):
    assert run("evaluate", folder / "predictions", "-gt", folder / "labels", "-np", 1) == 0
    return folder / "predictions"
