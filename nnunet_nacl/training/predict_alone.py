"""Prediction with nnU-Net alone: a script that :mod:`nnunet_nacl.training.share` runs in a process of its own.

Its argument is a JSON object: ``model`` (folder), ``folds``, ``checkpoint`` (file name), ``images`` (files of one case, or
none), ``each_fold``, ``result`` (npz to write) and ``forbidden`` (packages that must not be imported). It writes each fold's
outputs ``outputs_fold_X`` (1, K, *patch) on a random patch and, where images are given, ``segmentation`` and ``probabilities``, or with
``each_fold`` the ``probabilities_fold_X`` of each fold alone, with the logits of tiles added up in float32 instead of half precision.

It imports nothing of this project, or it would prove nothing.
"""

import importlib.abc
import json
import sys
from typing import Any


class Forbid(importlib.abc.MetaPathFinder):
    """Refuse to import some packages, as if they were not installed."""

    def __init__(self, packages: list[str]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Raise ModuleNotFoundError for a forbidden package and leave all others to the next finder."""
        if fullname.split(".")[0] in self.packages:
            raise ModuleNotFoundError(f"{fullname} is not to be imported here", name=fullname)


def main(job: dict[str, Any]) -> None:
    """Load the model with nnU-Net's predictor and write what it predicts."""
    sys.meta_path.insert(0, Forbid(job["forbidden"]))

    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(job["model"], job["folds"], job["checkpoint"])
    configuration = predictor.configuration_manager
    channels = determine_num_input_channels(predictor.plans_manager, configuration, predictor.dataset_json)
    patch = torch.randn(1, channels, *configuration.patch_size, generator=torch.Generator().manual_seed(0))
    results = {}
    for fold, weights in zip(job["folds"], predictor.list_of_parameters, strict=True):
        predictor.network.load_state_dict(weights)
        predictor.network.eval()
        with torch.no_grad():
            results[f"outputs_fold_{fold}"] = predictor.network(patch).numpy()
    if job["images"]:
        reader = predictor.plans_manager.image_reader_writer_class()
        image, properties = reader.read_images(job["images"])
        everything = list(zip(job["folds"], predictor.list_of_parameters, strict=True))
        if job["each_fold"]:
            # nnU-Net adds up the logits of tiles in what `torch.half` names; a division is checked in numbers that hold it
            torch.half = torch.float32
        for fold, weights in everything if job["each_fold"] else ():
            predictor.list_of_parameters = [weights]
            _, probabilities = predictor.predict_single_npy_array(image, properties, save_or_return_probabilities=True)
            results[f"probabilities_fold_{fold}"] = probabilities
        if not job["each_fold"]:
            segmentation, probabilities = predictor.predict_single_npy_array(
                image, properties, save_or_return_probabilities=True
            )
            results |= {"segmentation": segmentation, "probabilities": probabilities}
    loaded = [name for name in sys.modules if name.split(".")[0] in job["forbidden"]]
    if loaded:
        raise RuntimeError(f"{', '.join(loaded)} was imported all the same")
    np.savez(job["result"], **results)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
