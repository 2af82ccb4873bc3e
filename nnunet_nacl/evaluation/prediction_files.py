"""Writing a folder of predictions in nnU-Net's form: what lies beside a case, and a softmax file channel by channel."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import HOW_TO_SAVE, case_names
from nnunet_nacl.evaluation.probabilities import KEY
from nnunet_nacl.files.output_folder import prepare_folder
from nnunet_nacl.files.whole_file import replacing


def side_files(probabilities: Path, segmentation: Path) -> list[Path]:
    """Return what else is named after a case: nnU-Net's ``.pkl``, a reader's ``.json``. They are copied and never opened."""
    name, own = probabilities.stem, (probabilities.name, segmentation.name)
    return [
        path for path in segmentation.parent.iterdir() if path.stem == name and path.name not in own and path.is_file()
    ]


def prepare_new_folder(output: Path, *predictions: Path) -> None:
    """Make an output folder that no prediction can be mixed up with.

    Raises:
        InputError: it is one of the folders of predictions, holds something, or cannot be written to.
    """
    if output.resolve() in [folder.resolve() for folder in predictions]:
        raise InputError(f"{output}: is the folder of the predictions, which are never overwritten. Choose another -o.")
    prepare_folder(output)
    if any(output.iterdir()):
        raise InputError(f"{output}: is not empty; what lies there could be mixed up. Remove it or choose another -o.")


def predicted_names(predictions: Path, file_ending: str) -> list[str]:
    """Return the names of the cases of a folder, sorted.

    Raises:
        InputError: there is none, or a case lacks its softmax file or its segmentation.
    """
    names, segmentations = case_names(predictions, ".npz"), case_names(predictions, file_ending)
    if not names:
        raise InputError(f"{predictions}: no softmax file (.npz). {HOW_TO_SAVE}")
    for alone, what in ((names - segmentations, f"segmentation ({file_ending}), which gives the geometry,"),
                        (segmentations - names, "softmax file (.npz)")):  # fmt: skip
        if alone:
            raise InputError(f"{predictions}: no {what} for {', '.join(sorted(alone)[:5])}. Predict again.")
    return sorted(names)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that nobody sees half of it."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


class ChannelWriter:
    """Takes the channels of a softmax file one after another."""

    def __init__(self, member: IO[bytes], dtype: np.dtype[Any]) -> None:
        self._member, self._dtype = member, dtype

    def write(self, channel: NDArray[Any]) -> None:
        """Write the next channel, in C order."""
        self._member.write(np.ascontiguousarray(channel, self._dtype).data)


@contextmanager
def channel_writer(path: Path, shape: tuple[int, ...], dtype: Any = np.float32) -> Iterator[ChannelWriter]:
    """Write a softmax file as ``np.savez_compressed(path, probabilities=...)`` does, with one channel in memory.

    Args:
        path: npz file to write.
        shape: ``(K, *spatial)``.
        dtype: of the array in the file.
    """
    header = {"shape": shape, "fortran_order": False, "descr": np.lib.format.dtype_to_descr(np.dtype(dtype))}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(f"{KEY}.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        yield ChannelWriter(member, np.dtype(dtype))
