"""What a network takes of a case: from nnU-Net's preprocessed data where they are those of the model, else from the raw images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.nnunet.image_files import num_image_channels, voxel_files

PREPROCESSED_ENDINGS = (".b2nd", ".npz")
"""Of nnU-Net's two kinds of data sets; the second is that of versions before 2.6."""


@dataclass(frozen=True)
class Preprocessing:
    """nnU-Net's managers of what a network was trained with, and the content of dataset.json."""

    plans: PlansManager
    configuration: ConfigurationManager
    dataset_json: dict[str, Any]

    @property
    def foreground_labels(self) -> list[int]:
        """The labels that a cascade gets as one-hot channels."""
        labels: list[int] = self.plans.get_label_manager(self.dataset_json).foreground_labels
        return labels


class CaseInput(Protocol):
    """A case that a network can predict."""

    def load(self, preprocessing: Preprocessing) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return data ``(C, *spatial)`` float32 and nnU-Net's properties of the case.

        Raises:
            InputError: a file cannot be read.
        """

    def files(self) -> list[Path]:
        """Return all files that the data come from."""


@dataclass(frozen=True)
class PreprocessedCase:
    """A case in a folder of nnU-Net's preprocessed data.

    nnU-Net's own class reads it, as in a training: with ``<case>.pkl``, which nnU-Net's preprocessing has written.

    Attributes:
        name: of the case.
        folder: the configuration's folder in nnUNet_preprocessed.
        previous: folder with the segmentations of the stage before, of a cascade.
    """

    name: str
    folder: Path
    previous: Path | None = None

    def load(self, preprocessing: Preprocessing) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return data and properties; see :class:`CaseInput`."""
        previous = None if self.previous is None else str(self.previous)
        try:
            dataset = infer_dataset_class(str(self.folder))(str(self.folder), [self.name], previous)
            data, _, segmentation, properties = dataset.load_case(self.name)
            data = np.asarray(data[:])
            if segmentation is not None:
                data = _with_previous_stage(data, np.asarray(segmentation[:]), preprocessing)
        except Exception as error:  # blosc2, numpy and pickle each have exceptions of their own
            raise InputError(
                f"{self.folder}: nnU-Net cannot read its preprocessed data of {self.name} ({first_line(error)})."
            ) from error
        return _tensor(data), properties

    def files(self) -> list[Path]:
        """Return the files that were preprocessed."""
        folders = [self.folder] if self.previous is None else [self.folder, self.previous]
        found = [folder / f"{self.name}{ending}" for folder in folders for ending in PREPROCESSED_ENDINGS]
        return [*(path for path in found if path.is_file()), self.folder / f"{self.name}.pkl"]


@dataclass(frozen=True)
class RawCase:
    """A case as a user has it.

    Attributes:
        name: of the case.
        images: one file for each channel.
        previous: segmentation of the stage before, of a cascade.
    """

    name: str
    images: tuple[Path, ...]
    previous: Path | None = None

    def load(self, preprocessing: Preprocessing) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return data and properties; see :class:`CaseInput`."""
        preprocessor = preprocessing.configuration.preprocessor_class(verbose=False)
        previous = None if self.previous is None else str(self.previous)
        channels = num_image_channels(preprocessing.dataset_json)
        try:
            data, segmentation, properties = preprocessor.run_case(
                [str(path) for path in self.images], previous, preprocessing.plans, preprocessing.configuration,
                preprocessing.dataset_json,
            )  # fmt: skip
            if len(data) != channels:
                raise ValueError(f"expected {channels} channels, but its {len(self.images)} images hold {len(data)}")
            if previous is not None:
                data = _with_previous_stage(data, segmentation, preprocessing)
        except Exception as error:  # the reader's libraries each have exceptions of their own
            raise InputError(
                f"{self.images[0]}: nnU-Net cannot preprocess {self.name} ({first_line(error)})."
            ) from error
        return _tensor(data), properties

    def files(self) -> list[Path]:
        """Return the images with what lies beside them, voxels or the spacing of a TIFF, and the segmentation of the stage before."""
        images = [*self.images, *(() if self.previous is None else (self.previous,))]
        beside = [file for image in images for file in voxel_files(image)]
        if self.images[0].suffix.lower() in (".tif", ".tiff"):
            beside.append(self.images[0].with_name(f"{self.name}.json"))
        return [*images, *(file for file in beside if file.is_file())]


def _with_previous_stage(data: Any, segmentation: Any, preprocessing: Preprocessing) -> Any:
    one_hot = convert_labelmap_to_one_hot(segmentation[0] if segmentation.ndim == data.ndim else segmentation,
                                          preprocessing.foreground_labels, output_dtype=data.dtype)  # fmt: skip
    return np.vstack((data, one_hot))


def _tensor(data: Any) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arrays that are not writable, as nnU-Net has it
        return torch.from_numpy(data).to(dtype=torch.float32, memory_format=torch.contiguous_format)
