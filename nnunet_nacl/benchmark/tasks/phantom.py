"""A segmentation task whose true class posterior is known, in the folder form of the Medical Segmentation Decathlon.

Each case holds two touching ellipsoids with fuzzy borders. The posterior of each voxel is a softmax over the signed
distances to the two surfaces. The label map is drawn from it with a smooth random field instead of independent noise, so
that borders look like those of a rater, while each voxel still has each class with exactly the posterior's probability.
The image shows the mean intensity under the posterior plus noise. The posterior is that of the geometry: a network that
sees the image alone can come close to it, and nothing that is calibrated can be more confident.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr, softmax

from nnunet_nacl.errors import InputError
from nnunet_nacl.files.whole_folder import whole_folder

LABELS = ("background", "body", "cap")
POSTERIOR_FOLDER = "posteriorTr"
RATER_FOLDER = "ratersTr"
N_TEST_CASES = 2

BORDER_WIDTH = 0.5  # voxels over which the odds of a class change by a factor of e
RATER_SCALE = 1.5  # voxels; how smooth the drawn borders are
INTENSITIES = np.array([0.0, 100.0, 200.0])
NOISE = 15.0


@dataclass(frozen=True)
class Phantom:
    """One case: ``image`` (z, y, x) float32, ``labels`` (z, y, x) uint8 and ``posterior`` (K, z, y, x) float32."""

    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    posterior: NDArray[np.float32]


def make_phantom(size: int, rng: np.random.Generator) -> Phantom:
    """Return a random phantom with ``size`` voxels per side."""
    posterior = _posterior(size, rng)
    mean = np.tensordot(INTENSITIES, posterior, axes=1)
    image = mean + rng.normal(scale=NOISE, size=mean.shape)
    return Phantom(image.astype(np.float32), _draw_labels(posterior, rng), posterior.astype(np.float32))


def write_task(folder: Path, n_cases: int = 20, size: int = 32, seed: int = 0, raters: int = 0) -> None:
    """Write an MSD-style task: imagesTr, labelsTr, imagesTs, dataset.json, and the true posteriors.

    ``posteriorTr/<case>.npz`` has nnU-Net's own form, so the evaluator can be pointed at the truth itself. The files are
    the same for the same arguments. The folder appears when all is written. ``raters`` further label maps per case, drawn
    from the same posterior, go to ``ratersTr/rater1/`` and so on; ``labelsTr`` and the images do not depend on them, and
    ``labelsTr`` is none of them.

    Raises:
        InputError: the folder's name is not ``TaskXX_Name``, it exists, or it cannot be written.
    """
    if not re.fullmatch(r"Task\d+_[A-Za-z0-9]+", folder.name):
        raise InputError(f"{folder}: expected a name like Task99_Phantom, as nnUNetv2_convert_MSD_dataset needs it.")
    if folder.exists():
        raise InputError(f"{folder}: exists already and is left alone. Choose another folder or remove it.")
    if size < 16:
        raise InputError(f"expected a size of at least 16 voxels, got {size}: smaller ones have no interior.")
    with whole_folder(folder) as unfinished:
        _write_files(unfinished, folder.name.split("_")[1], n_cases, size, seed, raters)


def is_phantom(labels: Path, n_cases: int, size: int, seed: int) -> bool:
    """Return whether a folder of label files is that of :func:`write_task` with these arguments: their names, and the first of them.

    The others are drawn from the same seed, and so are not compared.
    """
    names = {path.name for path in labels.glob("[!.]*")}
    if names != {f"{_case(number)}.nii.gz" for number in range(n_cases)}:
        return False
    drawn = make_phantom(size, np.random.default_rng([seed, 0])).labels
    try:
        held = sitk.GetArrayFromImage(sitk.ReadImage(str(labels / f"{_case(0)}.nii.gz")))
    except RuntimeError:
        return False
    return np.array_equal(held, drawn)


def _case(number: int) -> str:
    return f"phantom_{number:03d}"


def _write_files(folder: Path, title: str, n_cases: int, size: int, seed: int, raters: int) -> None:
    rater_folders = [f"{RATER_FOLDER}/rater{rater}" for rater in range(1, raters + 1)]
    for name in ("imagesTr", "labelsTr", "imagesTs", POSTERIOR_FOLDER, *rater_folders):
        (folder / name).mkdir(parents=True)
    training, test = [], []
    for number in range(n_cases + N_TEST_CASES):
        rng = np.random.default_rng([seed, number])
        phantom = make_phantom(size, rng)
        name = _case(number)
        if number >= n_cases:
            _write_nifti(phantom.image, folder / "imagesTs" / f"{name}.nii.gz")
            test.append(f"./imagesTs/{name}.nii.gz")
            continue
        _write_nifti(phantom.image, folder / "imagesTr" / f"{name}.nii.gz")
        _write_nifti(phantom.labels, folder / "labelsTr" / f"{name}.nii.gz")
        for rater_folder in rater_folders:
            labels = _draw_labels(phantom.posterior.astype(np.float64), rng)
            _write_nifti(labels, folder / rater_folder / f"{name}.nii.gz")
        np.savez_compressed(folder / POSTERIOR_FOLDER / f"{name}.npz", probabilities=phantom.posterior)
        training.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    content = {
        # as in the MSD, the folder's name without its number
        "name": title,
        "description": "Two touching ellipsoids with fuzzy borders and known class posterior",
        "licence": "Apache-2.0",
        "tensorImageSize": "3D",
        "modality": {"0": "phantom"},
        "labels": {str(value): name for value, name in enumerate(LABELS)},
        "numTraining": len(training),
        "numTest": len(test),
        "training": training,
        "test": test,
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _posterior(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1).astype(np.float64)
    body_radii = size * rng.uniform(0.20, 0.28, 3)
    body_centre = size / 2 + size * rng.uniform(-0.08, 0.08, 3)
    cap_radii = size * rng.uniform(0.13, 0.18, 3)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    cap_centre = body_centre + direction * body_radii.mean()
    outside = np.stack(
        [
            np.zeros((size,) * 3),
            _distance(grid, body_centre, body_radii),
            _distance(grid, cap_centre, cap_radii),
        ]
    )
    posterior: NDArray[np.float64] = softmax(-outside / BORDER_WIDTH, axis=0)
    return posterior


def _distance(
    grid: NDArray[np.float64], centre: NDArray[np.float64], radii: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return an approximate signed distance to an ellipsoid's surface in voxels, negative inside."""
    distance: NDArray[np.float64] = (np.linalg.norm((grid - centre) / radii, axis=-1) - 1) * radii.mean()
    return distance


def _draw_labels(posterior: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    noise = rng.normal(size=posterior.shape[1:])
    # "wrap" keeps the field stationary, so one factor makes it standard normal everywhere and ndtr makes it uniform
    field = gaussian_filter(noise, RATER_SCALE, mode="wrap")
    impulse = np.zeros(noise.shape)
    impulse[0, 0, 0] = 1
    field /= np.linalg.norm(gaussian_filter(impulse, RATER_SCALE, mode="wrap"))
    uniform = ndtr(field)
    thresholds = np.cumsum(posterior, axis=0)[:-1]
    labels: NDArray[np.uint8] = (uniform > thresholds).sum(0).astype(np.uint8)
    return labels


def _write_nifti(values: NDArray[Any], path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
