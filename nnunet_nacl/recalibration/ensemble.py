"""The temperature of an ensemble of folds, estimated from how far the folds disagree, without labels.

nnU-Net averages the logits of its folds. Where the logits of one fold are those of the truth plus noise of its own, 1 / T is about the slope
of a regression of the truth on them: their covariance with the truth over their variance. The mean of the folds has the same covariance
and less variance, so T of the ensemble is about T of a fold times the variance of the mean logits over that of a fold's (the attenuation
of errors in variables: Fuller, Measurement Error Models, 1987; linear, while a softmax is not). docs/recalibrating.md says how near it was
on real folds where a structure is predicted; over all voxels it was far off, so it is not offered there. It needs predictions of the same
cases by each fold, and none that a fold was trained on, since folds agree there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.log_probabilities import floor_of, is_exact, log_probabilities
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import HOW_TO_SAVE, case_names
from nnunet_nacl.recalibration.heads import Heads
from nnunet_nacl.recalibration.selection import FIT_SETS
from nnunet_nacl.recalibration.volumes import blocks, open_probabilities, stored_header

VOXEL_SET = "predicted"


@dataclass(frozen=True)
class Disagreement:
    """How far folds disagree.

    Attributes:
        folders: one per fold.
        n_cases: cases that all folds predicted.
        n_voxels: voxels in which the ensemble predicts a structure; regions: added up over them.
        variance_ratio: variance over voxels of the mean logits, over that of a fold's, mean of the folds.
    """

    folders: tuple[str, ...]
    n_cases: int
    n_voxels: int
    variance_ratio: float


def disagreement(folders: Sequence[Path], heads: Heads, memory: int, scratch: Path) -> Disagreement:
    """Compare the predictions of the same cases by several folds, where their ensemble predicts a structure (regions: each region).

    Args:
        folders: of each fold alone, with ``<case>.npz``.
        heads: the channels.
        memory: bytes for the probabilities of a case, of all folds together; more go to scratch files.
        scratch: existing folder for these.

    Raises:
        InputError: fewer than two folders, other cases in one than in another, files that cannot be used, or no such voxel.
    """
    names = _names(folders)
    moments = _Moments(len(folders))
    for name in names:
        for logits in _logits([folder / f"{name}.npz" for folder in folders], heads, memory, scratch):
            moments.add(logits)
    if not moments.n_voxels:
        raise InputError(
            "no structure is predicted by the ensemble of the folders of --ensemble, so nothing can be estimated."
        )
    return Disagreement(tuple(map(str, folders)), len(names), moments.n_voxels, moments.ratio())


class _Moments:
    """Sums of the logits of all folds and of their mean, centred within the voxel, and of their squares, by class."""

    def __init__(self, n_folds: int) -> None:
        self.n_voxels = 0
        self.sums: Float64Array = np.zeros((n_folds + 1, 1))
        self.squares: Float64Array = np.zeros((n_folds + 1, 1))

    def add(self, logits: Float64Array) -> None:
        """Add voxels, ``(F, C, n)``."""
        centred = logits - logits.mean(1, keepdims=True)
        everything = np.concatenate([centred, centred.mean(0, keepdims=True)])
        self.n_voxels += logits.shape[-1]
        self.sums = self.sums + everything.sum(-1)
        self.squares = self.squares + (everything**2).sum(-1)

    def ratio(self) -> float:
        """Return the variance of the mean over that of a fold, mean of the folds; 1 where nothing varies."""
        variances = (self.squares / self.n_voxels - (self.sums / self.n_voxels) ** 2).sum(1)
        return float(variances[-1] / variances[:-1].mean()) if variances[:-1].mean() > 0 else 1.0


def _names(folders: Sequence[Path]) -> list[str]:
    if len(folders) < 2:
        raise InputError(f"--ensemble needs the predictions of at least two folds, a folder each; got {len(folders)}.")
    found = [case_names(folder, ".npz") for folder in folders]
    if not found[0]:
        raise InputError(f"{folders[0]}: no softmax file (.npz). {HOW_TO_SAVE}")
    for folder, names in zip(folders, found, strict=True):
        other = sorted(names ^ found[0])
        if other:
            raise InputError(
                f"{folder}: expected the same cases as in {folders[0]}, but only one has {', '.join(other[:5])}."
            )
    return sorted(found[0])


def _logits(paths: Sequence[Path], heads: Heads, memory: int, scratch: Path) -> Iterator[Float64Array]:
    """Yield the log probabilities ``(F, C, n)`` of the voxels of the set, by block and problem; exact ones are left out."""
    shape = stored_header(paths[0])[0][1:]
    channels = len(heads.channels)
    values = [open_probabilities(path, channels, shape, memory // len(paths), scratch) for path in paths]
    for part in blocks(channels, values[0].shape[1]):
        unlabelled = np.zeros(values[0][0, part].size, np.uint8)
        of_folds = [heads.split(np.asarray(each[:, part]), unlabelled) for each in values]
        for problem in zip(*of_folds, strict=True):
            probabilities = [each.probabilities for each in problem]
            logarithm = np.stack([log_probabilities(each, floor_of(each.dtype)) for each in probabilities])
            prediction = logarithm.mean(0).argmax(0)
            exact: NDArray[np.bool_] = np.any([is_exact(each) for each in probabilities], axis=0)
            yield logarithm[..., FIT_SETS[VOXEL_SET](unlabelled, prediction) & ~exact]
