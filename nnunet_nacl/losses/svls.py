"""Spatially varying label smoothing (SVLS)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nnunet_nacl.losses.base import Loss, check_whole
from nnunet_nacl.losses.cross_entropy import soft_cross_entropy
from nnunet_nacl.losses.gradient_in_forward import with_gradient
from nnunet_nacl.losses.neighborhood import Window
from nnunet_nacl.losses.targets import (
    compute_dtype,
    count_valid,
    counted_logits,
    members_and_valid,
    nan_if_no_class,
    sum_dtype,
)


class SVLSLoss(Loss):
    r"""Cross-entropy against one-hot labels that are smoothed where classes meet and left alone in the interior.

    .. math::
        \mathcal L = - \frac{1}{|V|} \sum_{v \in V} \sum_k s_k(v) \log p_k(v)

    where :math:`s` is the one-hot label map filtered with a Gaussian whose centre weight is replaced by the sum of the
    others: half of each target is the label itself, half its Gaussian-weighted neighbours. Source: Islam and Glocker,
    "Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations", arXiv 2104.05788, section 2.2.

    With several raters' label maps (mSVLS, same source) the one-hot maps are averaged over the raters and then filtered. The
    ignore label works for each rater: a voxel that a rater ignored has no weight as this rater's, neither in its own target
    nor in its neighbours', and the weights of the remaining pairs of voxel and rater sum to 1. Only a voxel that all raters
    ignored does not enter the loss.

    Args:
        kernel_size: odd side of the neighbourhood in voxels, at least 3, one for all axes or one per axis.
        sigma: standard deviation of the Gaussian in voxels, at least 0.26, one for all axes or one per axis.
        ignore_label: label of voxels that neither count as neighbours nor enter the loss; unused with regions.
        regions: one sigmoid per region instead of a softmax over classes: binary cross-entropy (mean over regions) against
            each region's filtered mask. Not with several raters.
        raters: number of label maps M in the target, at least 1.

    Shape:
        - logits: ``(B, K, *spatial)``, one to three spatial axes, at least one voxel, any floating dtype; computed in float32
          (float64 stays).
        - target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, whole numbers in any integer or float dtype (fractions are cut off).
          With regions ``(B, R, *spatial)`` of 0 and 1 (above 0.5 is 1, NaN is 0), or ``(B, R + 1, *spatial)`` whose last channel is
          1 at voxels to ignore. With M > 1 raters ``(B, M, *spatial)``.
        - output: scalar in the dtype of the computation; 0 with a zero gradient where every voxel is ignored. A NaN logit makes it NaN,
          an infinite one may, unless the voxel is ignored.

    Raises:
        TypeError: logits that are not floating point.
        ValueError: a parameter out of its range; shapes that do not go together; no voxel; a label that is no class
            and not the ignore label (not looked at on a GPU and under ``torch.compile``: the loss is NaN there).
        RuntimeError: a second derivative is asked for (``create_graph=True``).

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]])
        >>> SVLSLoss()(logits, torch.tensor([[0, 0, 1]]))
        tensor(0.4823)
        >>> SVLSLoss(raters=2)(logits, torch.tensor([[[0, 0, 1], [0, 0, 0]]]))  # two opinions on the last voxel
        tensor(0.7323)
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int] = 3,
        sigma: float | Sequence[float] = 1.0,
        ignore_label: int | None = None,
        regions: bool = False,
        raters: int = 1,
    ) -> None:
        super().__init__(ignore_label, regions)
        check_whole(raters=raters)
        if regions and raters > 1:
            raise ValueError(f"Expected argument `raters` to be 1 with regions, but got {raters}.")
        self._window = Window(kernel_size, "svls", sigma)
        self.kernel_size = kernel_size
        self.sigma = sigma
        self.raters = raters

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss; see the class for shapes."""
        dtype = compute_dtype(logits)
        members, valid = members_and_valid(logits, target, self.ignore_label, self.regions, self.raters)
        targets = self._window.over(members, valid, dtype)
        # the other losses use labels as an index, where PyTorch fails at one that is no class
        known = None if self.regions else nan_if_no_class(members, logits.shape[1], valid)
        if valid is not None:
            valid = valid.any(1, keepdim=True)
        n_terms = count_valid(members, valid) * (logits.shape[1] if self.regions else 1)
        if known is not None:
            n_terms = n_terms * known.to(sum_dtype(known))

        def value_and_gradient(logits: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
            total, gradient = soft_cross_entropy(logits, targets, valid, self.regions)
            gradient.mul_(1 / n_terms if valid is None else valid.to(dtype) / n_terms)
            return total / n_terms, gradient if wanted else None

        return with_gradient(counted_logits(logits, valid), value_and_gradient)
