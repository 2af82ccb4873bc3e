"""Predictions and labels of made-up cases on disk, as nnU-Net leaves them."""

import json

import numpy as np
import SimpleITK as sitk
from scipy.special import softmax


def task(folder, cases, labels, regions_class_order=None, reader="SimpleITKIO"):
    """Write predictions and labels of cases ``(probabilities, label map)``; return the folder of either."""
    predicted, reference = folder / "predicted", folder / "labels"
    for each in (predicted, reference):
        each.mkdir(parents=True)
    dataset = {"labels": labels, "channel_names": {"0": "image"}, "file_ending": ".nii.gz"}
    if regions_class_order:
        dataset["regions_class_order"] = regions_class_order
    plans = {"dataset_name": "Dataset042_Odd", "plans_name": "p", "image_reader_writer": reader}
    plans |= {"label_manager": "LabelManager", "configurations": {}}
    (predicted / "dataset.json").write_text(json.dumps(dataset))
    (predicted / "plans.json").write_text(json.dumps(plans))
    for number, (probabilities, label_map) in enumerate(cases):
        np.savez_compressed(predicted / f"case_{number}.npz", probabilities=probabilities)
        shape = (1, *label_map.shape)[-3:] if probabilities.ndim == 3 else label_map.shape
        prediction = probabilities.argmax(0) if regions_class_order is None else np.zeros(shape)
        for values, where in ((prediction, predicted), (label_map, reference)):
            image = sitk.GetImageFromArray(values.reshape(shape).astype(np.uint8))
            sitk.WriteImage(image, str(where / f"case_{number}.nii.gz"))
    return predicted, reference


def drawn(shape, num_classes, seed, power=1.0, background=2.0):
    """Return a posterior to a power, float32, and labels drawn from the posterior itself."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_classes, *shape))
    logits[0] += background
    posterior = softmax(logits, axis=0)
    labels = (rng.random(shape) > np.cumsum(posterior, axis=0)[:-1]).sum(0)
    return softmax(power * np.log(posterior), axis=0).astype(np.float32), labels
