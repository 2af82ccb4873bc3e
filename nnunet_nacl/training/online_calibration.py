"""Calibration of the predicted class on foreground voxels, added up batch by batch in PyTorch.

For labels the same figures as :class:`nnunet_nacl.calibration.CalibrationStatistics` gives for its voxel set ``foreground``; for
regions over the voxels inside any region, where the evaluator takes each region's own. Logits and targets are those that
nnU-Net's loss sees. They are summed where the logits are, since copying each validation
batch from a GPU to numpy would cost more than the figures may.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from nnunet_nacl.losses.targets import compute_dtype, region_masks

N_BINS = 15


@dataclass(frozen=True)
class ForegroundCalibration:
    """Scores of the foreground voxels; NaN where there was none.

    Attributes:
        n_voxels: number of voxels, with regions of pairs of voxel and region.
        ece: top-label expected calibration error (Guo et al. 2017, arXiv 1706.04599), 0 to 1.
        gap: mean confidence minus accuracy, -1 to 1; positive where the network is overconfident.
    """

    n_voxels: int
    ece: float
    gap: float


class OnlineCalibration:
    """Sums over foreground voxels per equal-width bin of the confidence, from which ECE and mean gap follow.

    A voxel counts if its label is neither background (0) nor the ignore label. With regions, where each channel is a yes
    or no question, a voxel counts once per region if it lies in any region and is not ignored; the confidence is
    ``max(p, 1 - p)`` and the prediction ``p > 0.5``.

    Args:
        device: where the sums are kept; that of the logits, except for mps, which has no float64.
        ignore_label: label of voxels without annotation, or None; unused with regions.
        regions: the logits are one sigmoid per region.

    Attributes:
        counts: ``(2, 15)`` int64, voxels and correct voxels per bin.
        confidence: ``(15,)`` float64, summed confidence per bin.
    """

    def __init__(self, device: torch.device, ignore_label: int | None, regions: bool) -> None:
        place = torch.device("cpu") if device.type == "mps" else device
        self.counts = torch.zeros(2, N_BINS, dtype=torch.int64, device=place)
        self.confidence = torch.zeros(N_BINS, dtype=torch.float64, device=place)
        self.ignore_label = ignore_label
        self.regions = regions

    @torch.no_grad()
    def add(self, logits: Tensor, target: Tensor) -> None:
        """Add the voxels of one batch.

        Args:
            logits: ``(B, K, *spatial)``, floating.
            target: ``(B, 1, *spatial)`` labels; with regions ``(B, R, *spatial)`` masks, with a further last channel that
                is 1 at ignored voxels where the data set has an ignore label. Neither is changed.
        """
        confidence, correct = self._of_regions(logits, target) if self.regions else self._of_classes(logits, target)
        self._add(confidence.to(self.confidence.device), correct.to(self.confidence.device))

    def all_reduce(self) -> None:
        """Add up the sums of all processes of the default process group, in each of them."""
        distributed.all_reduce(self.counts)
        distributed.all_reduce(self.confidence)

    def scores(self) -> ForegroundCalibration:
        """Return the scores of the voxels so far."""
        count, correct = self.counts.cpu()
        gaps = self.confidence.cpu() - correct
        n_voxels = int(count.sum())
        # 0 / 0 is NaN in torch
        return ForegroundCalibration(n_voxels, float(gaps.abs().sum() / n_voxels), float(gaps.sum() / n_voxels))

    def _of_classes(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        labels = target[:, 0]
        counted = labels != 0
        if self.ignore_label is not None:
            counted &= labels != self.ignore_label
        # softmax of the chosen voxels only: most of a patch is background
        places = _places(counted)
        confidence, prediction = torch.softmax(_at(places, logits).to(compute_dtype(logits)), dim=0).max(dim=0)
        return confidence, prediction == labels[places]

    def _of_regions(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        masks, _ = region_masks(logits, target)
        places = _places(masks.any(dim=1))  # not of ignored voxels, as no mask holds them
        probability = torch.sigmoid(_at(places, logits).to(compute_dtype(logits)))
        inside = _at(places, masks)
        return torch.maximum(probability, 1 - probability).flatten(), ((probability > 0.5) == inside).flatten()

    def _add(self, confidence: Tensor, correct: Tensor) -> None:
        confidence = confidence.double()
        bins = bin_index(confidence, N_BINS)
        # wrong ones in the first 15 cells, correct ones in the others; torch.bincount would wait for a GPU to know the largest bin
        cells = self.counts.new_zeros(2 * N_BINS)
        cells.scatter_add_(0, bins + N_BINS * correct, cells.new_ones(()).expand(len(bins)))
        wrong, right = cells.view(2, N_BINS)
        self.counts[0] += wrong + right
        self.counts[1] += right
        self.confidence.scatter_add_(0, bins, confidence)


def bin_index(confidence: Tensor, n_bins: int) -> Tensor:
    """Return the equal-width bin of each confidence: ``(j / n, (j + 1) / n]``, with 0 in the first bin.

    Args:
        confidence: any shape, float64 (where the product with the number of bins is exact for a float32 value), within
            [0, 1]. NaN, from a network that diverged, goes to the first bin, and makes the summed confidence NaN.
        n_bins: number of bins.

    Returns:
        Same shape, int64, 0 to ``n_bins - 1``.
    """
    return (confidence * n_bins).nan_to_num_(nan=0.0).ceil_().long().sub_(1).clamp_(0, n_bins - 1)


def _places(voxels: Tensor) -> tuple[Tensor, ...]:
    """Return where ``voxels`` ``(B, *spatial)`` is True, an index for each axis; a GPU has to be waited for, to know how many there are."""
    return voxels.nonzero(as_tuple=True)


def _at(places: tuple[Tensor, ...], values: Tensor) -> Tensor:
    """Return the values ``(B, K, *spatial)`` of the N voxels at ``places``, ``(K, N)``."""
    index: tuple[slice | Tensor, ...] = (slice(None), *places)
    return values.movedim(1, 0)[index]
