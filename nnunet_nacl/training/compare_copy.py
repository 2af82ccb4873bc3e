"""A shared model beside its original: both predict, each in a process of its own, and what they say is compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.training import predict_alone
from nnunet_nacl.training.baked_temperature import (
    OUTPUT_TOLERANCE,
    PROBABILITY_TOLERANCE,
    Agreement,
    agreement,
)
from nnunet_nacl.training.trainer_path import trainer_path


def predictions(
    original: Path, copy: Path, folds: Sequence[str], checkpoint_name: str, images: Sequence[Path], each_fold: bool
) -> list[dict[str, NDArray[Any]]]:
    """Return what original and copy predict; of a case each fold alone, or all together."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for model, alone in ((original, False), (copy, True)):
            result = Path(scratch, "copy.npz" if alone else "original.npz")
            job = {
                "model": str(model.resolve()),
                "folds": [fold.removeprefix("fold_") for fold in folds],
                "checkpoint": checkpoint_name,
                "images": [str(path.resolve()) for path in images],
                "each_fold": each_fold,
                "result": str(result),
                "forbidden": ["nnunet_nacl", "nnunet_nacl_trainers"] if alone else [],
            }
            _run_alone(job, alone, Path(scratch))
            with np.load(result, allow_pickle=False) as arrays:
                found.append(dict(arrays))
    if found[0].keys() != found[1].keys():
        raise InputError(f"the copy gives {', '.join(found[1])}, but the original {', '.join(found[0])}.")
    return found


def check_equal(model: Path, original: Mapping[str, NDArray[Any]], copy: Mapping[str, NDArray[Any]]) -> None:
    """Raise InputError unless all is bitwise equal."""
    different = [key for key in original if original[key].tobytes() != copy[key].tobytes()]
    if different:
        raise InputError(
            f"{model}: the copy does not predict the same ({', '.join(different)} differ), so it was not kept."
        )


def check_tempered(
    model: Path,
    original: Mapping[str, NDArray[Any]],
    copy: Mapping[str, NDArray[Any]],
    temperatures: Mapping[str, NDArray[np.float64]],
) -> Agreement:
    """Return how well the copy predicts the original tempered in float64; raise InputError if not within the tolerances."""
    regions = "regions_class_order" in read_mapping(model / "dataset.json", "")
    found = agreement(original, copy, temperatures, regions)
    far = found.output_difference > OUTPUT_TOLERANCE or found.probability_difference > PROBABILITY_TOLERANCE
    if far or not np.isfinite(found.output_difference):
        raise InputError(
            f"{model}: the copy does not predict what the original does with the temperature (outputs differ by "
            f"{found.output_difference:.1e} of the largest, probabilities by {found.probability_difference:.1e}), so it was not kept."
        )
    return found


def _run_alone(job: dict[str, Any], alone: bool, scratch: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")}
    if not alone:
        places = [str(trainer_path()), os.environ.get("nnUNet_extTrainer", "")]
        environment["nnUNet_extTrainer"] = os.pathsep.join(place for place in places if place)
    # a copy, since Python puts a script's folder first on sys.path, and this one's has a `window` and a `dice`
    script = shutil.copy(predict_alone.__file__, scratch)
    command = [sys.executable, script, json.dumps(job)]
    finished = subprocess.run(command, env=environment, cwd=scratch, capture_output=True, text=True)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{job['model']}: nnU-Net cannot predict with {'the copy' if alone else 'it'} ({last}).")
