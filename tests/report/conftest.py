"""Evaluated runs of the phantom to report on."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nnunet_nacl.cli import main


@dataclass
class Evaluated:
    """The true posterior (``truth``) and its normalised square (``sharp``, overconfident), evaluated, and the images."""

    truth: Path
    sharp: Path
    images: Path
    softmax: Path


@pytest.fixture(scope="session")
def evaluated(phantom_task, dataset_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    softmax, images = folder / "softmax", folder / "imagesTr"
    softmax.mkdir()
    images.mkdir()
    for path in (phantom_task / "posteriorTr").iterdir():
        squared = np.load(path)["probabilities"].astype(float) ** 2
        np.savez_compressed(softmax / path.name, probabilities=squared / squared.sum(0))
    for path in (phantom_task / "imagesTr").glob("*.nii.gz"):
        shutil.copy(path, images / path.name.replace(".nii.gz", "_0000.nii.gz"))
    dataset, plans = dataset_files
    for name, predictions in (("truth", phantom_task / "posteriorTr"), ("sharp", softmax)):
        command = [
            "evaluate",
            predictions,
            "-gt",
            phantom_task / "labelsTr",
            "-djfile",
            dataset,
            "-pfile",
            plans,
            "-np",
            1,
        ]
        assert main([str(part) for part in [*command, "-o", folder / name]]) == 0
    return Evaluated(folder / "truth", folder / "sharp", images, softmax)
