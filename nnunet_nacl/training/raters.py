"""Several raters' label maps per case in an nnU-Net training.

nnU-Net keeps one label map per case, the reference. The maps of the raters lie preprocessed beside it
(:mod:`nnunet_nacl.training.rater_preprocessing`) and travel with it as further channels of the segmentation: nnU-Net's
loader crops all channels alike, and so does its augmentation. The first channel stays the reference, so whatever reads
only that one (normalisation masks, oversampling, the Dice of validation) works as ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import blosc2
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from torch import Tensor, nn

from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.training.calibrated_loss import CalibratedLossMixin
from nnunet_nacl.training.dice import dice_term

if TYPE_CHECKING:
    import numpy as np

INDEX_FILE = "raters.json"


def preprocessed_raters(preprocessed_images: Path) -> Path:
    """Return the folder of the raters' maps that belongs to a folder of preprocessed images."""
    return preprocessed_images.with_name(f"{preprocessed_images.name}_raters")


@dataclass(frozen=True)
class RaterIndex:
    """What ``raters.json`` in the folder of preprocessed maps says.

    Attributes:
        raters: their names, in the order of the channels after the reference.
        ignore_label: value of voxels without an opinion of that rater, or None where there are none.
    """

    raters: tuple[str, ...]
    ignore_label: int | None

    def write(self, folder: Path) -> None:
        """Write the index into a folder of preprocessed maps."""
        (folder / INDEX_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> RaterIndex:
        """Return the index of a folder of preprocessed maps.

        Raises:
            InputError: there is none, or it is damaged.
        """
        again = "Run `nnunet-nacl preprocess-raters` for this data set"
        content = read_mapping(folder / INDEX_FILE, f"{again} first.")
        raters, ignore_label = content.get("raters"), content.get("ignore_label", 0)
        if not (isinstance(raters, list) and raters and all(isinstance(name, str) and name for name in raters)):
            raise InputError(f"{folder / INDEX_FILE}: is damaged (expected `raters`, a list of names). {again} again.")
        if not (ignore_label is None or (type(ignore_label) is int and ignore_label > 0)):
            raise InputError(
                f"{folder / INDEX_FILE}: is damaged (`ignore_label` is {ignore_label!r:.200}). {again} again."
            )
        return cls(tuple(raters), ignore_label)


class RaterDataset(nnUNetDatasetBlosc2):
    """nnU-Net's data set whose segmentation has the reference and, after it, one channel per rater."""

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Return data, segmentation ``(1 + M, *spatial)``, None and the properties of a case.

        Raises:
            InputError: the raters' maps have another size than the reference.
        """
        data, reference, previous, properties = super().load_case(identifier)
        path = preprocessed_raters(Path(self.source_folder)) / f"{identifier}.b2nd"
        maps = open_maps(path, **self.mmap_kwargs)
        if maps.shape[1:] != reference.shape[1:]:
            raise InputError(
                f"{path}: expected maps of {reference.shape[1:]} voxels as the reference has, got {maps.shape[1:]}. The "
                "data set was preprocessed again. Run `nnunet-nacl preprocess-raters` for it, too."
            )
        return data, maps, previous, properties


def open_maps(path: Path, **options: Any) -> np.ndarray[Any, Any]:
    """Return the array in a ``.b2nd`` file, which reads only what is asked of it."""
    maps: np.ndarray[Any, Any] = blosc2.open(urlpath=str(path), mode="r", dparams={"nthreads": 1}, **options)
    return maps


class RaterLoss(nn.Module):
    """A loss on the raters' label maps, with or without nnU-Net's soft Dice loss on the reference.

    Args:
        loss: takes logits and the M maps ``(B, M, *spatial)``.
        dice: nnU-Net's Dice term, compiled or not, or None.
        ignore_label: of the reference.
    """

    def __init__(self, loss: nn.Module, dice: nn.Module | None, ignore_label: int | None) -> None:
        super().__init__()
        self.loss = loss
        self.dice = dice
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of one resolution, for the target ``(B, 1 + M, *spatial)`` with the reference first."""
        total: Tensor = self.loss(logits, target[:, 1:])
        if self.dice is None:
            return total
        return total + dice_term(self.dice, logits, target[:, :1], self.ignore_label, regions=False)


class _LossOfOtherTarget(nn.Module):
    """A loss that takes its own target instead of the one it is called with, which its forward hooks still see."""

    def __init__(self, loss: nn.Module, target: Any) -> None:
        super().__init__()
        self.loss = loss
        self.target = target

    def forward(self, output: Any, _: Any) -> Tensor:
        total: Tensor = self.loss(output, self.target)
        return total


class RaterMixin(CalibratedLossMixin):
    """Let a calibrated loss learn from several raters where the trainer's ``raters`` is set.

    Subclasses say in :meth:`make_rater_loss` which loss that is. Not for regions (nnU-Net makes its region masks from one
    channel) and not for cascades (the previous stage's segmentation has to be the second channel).
    """

    raters: bool = False
    # nnUNetTrainer's own attributes
    dataset_class: Any
    loss: Any

    @classmethod
    def make_rater_loss(cls, spacing: Sequence[float], ignore_label: int | None, n_raters: int) -> nn.Module:
        """Return the loss on the maps of ``n_raters`` raters; otherwise as :meth:`make_loss`."""
        raise NotImplementedError(f"{cls.__name__} has no loss for several raters.")

    def initialize(self) -> None:
        """Initialize as the base trainer does; then load the raters' maps with each case."""
        super().initialize()
        if self.raters:
            if self.dataset_class is not nnUNetDatasetBlosc2:
                raise InputError(
                    f"{self.preprocessed_dataset_folder}: expected nnU-Net's .b2nd files. Preprocess again."
                )
            self.dataset_class = RaterDataset

    def _build_single_loss(self, spacing: Sequence[float], compound: Any) -> nn.Module:
        if not self.raters:
            return super()._build_single_loss(spacing, compound)
        if self.label_manager.has_regions:
            raise InputError(f"{type(self).__name__} learns from labels, but this data set has regions.")
        if self.warm_up_epochs:
            raise InputError(f"{type(self).__name__}: a warm-up is not possible, the stock loss knows one label map.")
        if self.is_cascaded:
            raise InputError(f"{type(self).__name__} cannot train the second stage of a cascade.")
        index = RaterIndex.read(preprocessed_raters(Path(self.preprocessed_dataset_folder)))
        self._calibrated_loss = self.make_rater_loss(spacing, index.ignore_label, len(index.raters))
        self.print_to_log_file(f"Raters: {', '.join(index.raters)}")
        return RaterLoss(
            self._calibrated_loss, compound.dc if self.with_dice else None, self.label_manager.ignore_label
        )

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Validate as the base trainer does: the loss against the raters, the Dice against the reference."""
        if not self.raters:
            result: dict[str, Any] = super().validation_step(batch)
            return result
        target, loss = _mapped(batch["target"], lambda maps: maps.to(self.device, non_blocking=True)), self.loss
        # the base trainer hands one and the same target to the loss and to the Dice
        self.loss = _LossOfOtherTarget(loss, target)
        try:
            result = super().validation_step(batch | {"target": _mapped(target, lambda maps: maps[:, :1].clone())})
        finally:
            self.loss = loss
        return result


def _mapped(target: Any, function: Any) -> Any:
    return [function(maps) for maps in target] if isinstance(target, list) else function(target)
