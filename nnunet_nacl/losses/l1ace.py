"""Marginal L1 average calibration error as an auxiliary loss (mL1-ACE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nnunet_nacl.losses.base import Loss, check_not_negative, check_one_of, check_whole
from nnunet_nacl.losses.cross_entropy import hard_cross_entropy
from nnunet_nacl.losses.gradient_in_forward import with_gradient
from nnunet_nacl.losses.targets import compute_dtype, count_valid, counted_logits, members_and_valid, sum_dtype

Binning = Literal["hard", "soft"]

# The authors leave out soft bins that hold less weight than this, in voxels; a hard bin holds none or at least 1.
_EMPTY = 0.01


class L1ACELoss(Loss):
    r"""Cross-entropy plus the weighted average calibration error of each class's probability in each image.

    .. math::
        \mathcal L = \mathrm{CE} + \lambda \, \frac{1}{B K} \sum_{b, k} \frac{[k \in y_b]}{|M_{bk}|}
        \sum_{m \in M_{bk}} \left| \frac{\sum_v w_m(p_k(v)) \, (p_k(v) - [y(v) = k])}{\sum_v w_m(p_k(v))} \right|

    that is, mean probability minus observed frequency of a class in each bin of its probability. :math:`M_{bk}` are the bins
    that are not empty (each counts the same, hence "average"), :math:`p` the softmax, and :math:`w_m` says how much of a voxel
    falls into bin m, out of M bins of equal width:

    - ``"hard"``: all of it into ``(m / M, (m + 1) / M]``, 0 into the first. The gradient runs through the mean probability
      alone, for the frequency is constant until a voxel changes its bin.
    - ``"soft"``: shared between the two bins whose centres are nearest, linearly in the distance; all of it into the
      first or last bin beyond their centres. The gradient runs through the shares too. A bin that holds less than 0.01
      voxels in total is empty.

    Statistics are taken per image (in nnU-Net: per patch) and never over the batch, so that the loss of a batch is the mean
    over its images and DDP needs no exchange. All classes count, background included; a class that an image does not hold
    contributes 0 there, and the mean stays one over ``B * K``.

    Source: Barfoot et al., "Average Calibration Error: A Differentiable Loss for Improved Reliability in Image
    Segmentation", arXiv 2403.06759 (hard), and "Average Calibration Losses for Reliable Uncertainty in Medical Image
    Segmentation", arXiv 2506.03942 (hard and soft). From the authors' published configuration: 20 bins, background
    included, absent classes left out, a third each of Dice, cross-entropy and mL1-ACE, hence weight 1 beside terms of weight
    1. They find that soft binning calibrates better at some cost in Dice, and that hard binning keeps the Dice.

    Args:
        weight: :math:`\lambda`, not negative.
        bins: number of bins M.
        binning: ``"hard"`` or ``"soft"``.
        ignore_label: label of voxels that neither enter a bin nor the cross-entropy; unused with regions.
        regions: one sigmoid per region instead of a softmax over classes. Cross-entropy becomes binary cross-entropy (mean
            over regions), and each region is a class of its own.

    Shape:
        - logits: ``(B, K, *spatial)``, one to three spatial axes, at least one voxel, any floating dtype; computed in float32
          (float64 stays).
        - target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, whole numbers in any integer or float dtype (fractions are cut off).
          With regions ``(B, R, *spatial)`` of 0 and 1 (above 0.5 is 1, NaN is 0), or ``(B, R + 1, *spatial)`` whose last channel is
          1 at voxels to ignore.
        - output: scalar in the dtype of the computation; 0 with a zero gradient where every voxel is ignored. A NaN logit makes it NaN,
          an infinite one may, unless the voxel is ignored.

    Raises:
        TypeError: logits that are not floating point.
        ValueError: a parameter out of its range; shapes that do not go together; no voxel; a label that is no class
            and not the ignore label (not looked at on a GPU and under ``torch.compile``: there PyTorch's assertion on an index fails).
        RuntimeError: a second derivative is asked for (``create_graph=True``).

    Example:
        >>> import torch
        >>> logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> L1ACELoss()(logits, target)  # log 2 + (|0.5 - 1| + 0) / 2: class 1 does not occur
        tensor(0.9431)
    """

    def __init__(
        self,
        weight: float = 1.0,
        bins: int = 20,
        binning: Binning = "hard",
        ignore_label: int | None = None,
        regions: bool = False,
    ) -> None:
        super().__init__(ignore_label, regions)
        check_not_negative(weight=weight)
        check_whole(bins=bins)
        check_one_of(Binning, binning=binning)
        self.weight = weight
        self.bins = bins
        self.binning: Binning = binning

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss; see the class for shapes."""
        dtype = compute_dtype(logits)
        members, valid = members_and_valid(logits, target, self.ignore_label, self.regions)
        n_voxels = count_valid(members, valid)

        def value_and_gradient(logits: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
            total, gradient = hard_cross_entropy(logits, members, valid, self.regions)
            gradient.mul_(1 / n_voxels if valid is None else valid.to(dtype) / n_voxels)
            error = self._add_calibration_error(logits, members, valid, gradient if wanted else None)
            return total / n_voxels + self.weight * error, gradient if wanted else None

        return with_gradient(counted_logits(logits, valid), value_and_gradient)

    def _add_calibration_error(
        self, logits: Tensor, members: Tensor, valid: Tensor | None, gradient: Tensor | None
    ) -> Tensor:
        """Return mL1-ACE as float64 and add its weighted gradient to a buffer, if there is one."""
        batch, channels = logits.shape[:2]
        probabilities = logits.sigmoid() if self.regions else logits.softmax(1)
        slopes = torch.empty_like(logits) if gradient is not None else None
        total = logits.new_zeros((), dtype=sum_dtype(logits))
        for channel in range(channels):
            probability = probabilities[:, channel]
            inside = members[:, channel] if self.regions else members[:, 0] == channel
            error, slope = _average_calibration_error(
                probability, inside, None if valid is None else valid[:, 0], self.bins, self.binning, slopes is not None
            )
            total += error / (batch * channels)
            if slopes is not None and slope is not None:
                slopes[:, channel] = slope
        if gradient is not None and slopes is not None:
            if self.regions:
                slopes.mul_(1 - probabilities)
            else:
                # a class at a time, since the product of the two would be one more tensor of the logits' size
                mean_slope = torch.zeros_like(slopes[:, 0])
                for channel in range(channels):
                    mean_slope.addcmul_(probabilities[:, channel], slopes[:, channel])
                slopes.sub_(mean_slope.unsqueeze(1))
            gradient.addcmul_(probabilities, slopes, value=self.weight / (batch * channels))
        return total


@dataclass
class _Shares:
    """How voxels fall into bins: ``upper`` of a voxel into bin ``lower + 1``, the rest into ``lower``.

    ``upper`` is None where every voxel falls into one bin. ``slope`` is the derivative of ``upper`` by the probability.
    """

    lower: Tensor
    upper: Tensor | None = None
    slope: Tensor | None = None


def _hard_shares(probability: Tensor, bins: int) -> _Shares:
    # NaN, from a network that diverged, goes to the first bin and makes the loss NaN; as an index it would be an error
    return _Shares((probability * bins).nan_to_num_(nan=0.0).ceil_().sub_(1).clamp_(0, bins - 1).long())


def _soft_shares(probability: Tensor, bins: int) -> _Shares:
    position = (probability * bins).nan_to_num_(nan=0.0).sub_(0.5)  # in bins, from the first centre; NaN as above
    slope = ((position > 0) & (position < bins - 1)).to(probability.dtype).mul_(bins)
    position.clamp_(0, bins - 1)
    lower = position.floor()
    return _Shares(lower.long(), position.sub_(lower), slope)


def _average_calibration_error(
    probability: Tensor, inside: Tensor, valid: Tensor | None, bins: int, binning: Binning, slope_wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the average calibration error of one class, summed over the images, and its derivative.

    Args:
        probability: ``(B, *spatial)``.
        inside: ``(B, *spatial)``, boolean, where the label is the class; False at ignored voxels.
        valid: ``(B, *spatial)``, boolean, or None where every voxel counts.
        bins, binning: see :class:`L1ACELoss`.
        slope_wanted: whether the derivative is wanted.

    Returns:
        Scalar, float64; the derivative by ``probability``, of its shape, or None.
    """
    shares = _hard_shares(probability, bins) if binning == "hard" else _soft_shares(probability, bins)
    difference = probability - inside.to(probability.dtype)
    counted = torch.ones_like(probability) if valid is None else valid.to(probability.dtype)
    if valid is not None:
        difference.mul_(counted)
    # (B, bins), float64
    held = _sum_per_bin(shares, counted, bins)
    gap = _sum_per_bin(shares, difference, bins)
    used = held >= _EMPTY
    present = inside.flatten(1).any(1)
    per_bin = (present / used.sum(1, dtype=held.dtype).clamp(min=1)).unsqueeze(1) * used / held.clamp(min=_EMPTY)
    total = (gap.abs() * per_bin).sum()
    if not slope_wanted:
        return total, None
    by_difference = (gap.sign() * per_bin).to(probability.dtype)
    if shares.upper is None or shares.slope is None:
        slope = _look_up(by_difference, shares.lower)
    else:
        # d/dp of |gap| / held: through the difference, and through the shares that move from the lower to the upper bin
        by_share = (gap.abs() * per_bin / held.clamp(min=_EMPTY)).to(probability.dtype)
        step_of_difference, step_of_share = _steps(by_difference), _steps(by_share)
        step = _look_up(step_of_difference, shares.lower)
        slope = _look_up(by_difference, shares.lower).addcmul_(step, shares.upper)
        moved = step.mul_(difference).sub_(_look_up(step_of_share, shares.lower))
        slope.addcmul_(moved, shares.slope)
    return total, slope if valid is None else slope.mul_(counted)


def _sum_per_bin(shares: _Shares, values: Tensor, bins: int) -> Tensor:
    """Return the sum of values over each image's voxels in each bin: ``(B, bins)``, float64.

    Rows are summed in their own dtype and then added in float64, which is exact enough for any patch.
    """
    batch, row = values.shape[0], values.shape[-1]
    lower = shares.lower.reshape(-1, row)
    sums = values.new_zeros(lower.shape[0], bins + 1)  # one more, so that the bin above the last one exists
    if shares.upper is None:
        sums.scatter_add_(1, lower, values.reshape(-1, row))
    else:
        above = values * shares.upper
        sums.scatter_add_(1, lower, (values - above).reshape(-1, row))
        sums.scatter_add_(1, lower + 1, above.reshape(-1, row))
    return sums.reshape(batch, -1, bins + 1)[..., :bins].sum(1, dtype=sum_dtype(values))


def _steps(table: Tensor) -> Tensor:
    """Return by how much a table ``(B, bins)`` rises from each bin to the next, 0 after the last."""
    return torch.cat([table.diff(dim=1), torch.zeros_like(table[:, :1])], 1)


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """Return the entries of a table ``(B, bins)`` for an index ``(B, *spatial)``."""
    return table.gather(1, index.flatten(1)).reshape(index.shape)
