"""Keeping what was predicted: nnU-Net's files of a case, with the probabilities in half precision."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import save_pickle
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.prediction_files import channel_writer
from nnunet_nacl.evaluation.probabilities import read_header


def check_may_write(probabilities: Path) -> None:
    """Raise InputError where a softmax file is there that this command has not written, in single precision."""
    if probabilities.is_file() and read_header(probabilities).dtype != np.float16:
        raise InputError(
            f"{probabilities}: exists already and is not overwritten. Evaluate its folder with `nnunet-nacl evaluate`, or move it away."
        )


def write_files(
    probabilities: Path,
    values: NDArray[np.float32],
    segmentation: NDArray[Any],
    properties: Mapping[str, Any],
    dataset: Dataset,
) -> None:
    """Write what nnU-Net's export writes: ``<case>.npz``, here as float16, ``<case>.pkl`` and the segmentation; the npz last.

    Args:
        probabilities: path of the npz file; its folder is made.
        values: ``(K, z, y, x)``.
        segmentation: ``(z, y, x)``, as nnU-Net's export gives it.
        properties: what nnU-Net's preprocessing says of the case.
        dataset: names the writer.

    Raises:
        InputError: the folder cannot be written to.
    """
    place, name = probabilities.parent, probabilities.stem
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=place) as unfinished:
            folder = Path(unfinished)
            with channel_writer(folder / probabilities.name, values.shape, np.float16) as writer:
                for channel in values:
                    writer.write(channel)
            save_pickle(dict(properties), str(folder / f"{name}.pkl"))
            writer_class = recursive_find_reader_writer_by_name(dataset.reader)
            writer_class().write_seg(segmentation, str(folder / f"{name}{dataset.file_ending}"), dict(properties))
            for path in sorted(folder.iterdir(), key=lambda path: path.name == probabilities.name):
                path.replace(place / path.name)
    except OSError as error:
        raise InputError(f"{place}: cannot be written to ({error.strerror}).") from error
