"""Spatially varying label smoothing (SVLS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from nnunet_nacl.losses.neighborhood import check_kernel, soft_class_proportions, window_sides
from nnunet_nacl.losses.targets import compute_dtype, label_map, mean_over_valid, valid_mask


class SVLSLoss(nn.Module):
    r"""Cross-entropy against one-hot labels that are smoothed where classes meet and left alone in the interior.

    .. math::
        \mathcal L = - \frac{1}{|V|} \sum_{v \in V} \sum_k s_k(v) \log p_k(v)

    where :math:`s` is the one-hot label map filtered with a Gaussian whose centre weight is replaced by the sum of the
    others: half of each target is the label itself, half its Gaussian-weighted neighbours. Source: Islam and Glocker,
    "Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations", arXiv 2104.05788, section 2.2.

    Args:
        kernel_size: odd side of the neighbourhood in voxels, at least 3, one for all axes or one per axis.
        sigma: standard deviation of the Gaussian in voxels.
        ignore_label: label of voxels that neither count as neighbours nor enter the loss.

    Shape:
        - logits: ``(B, K, *spatial)``, one to three spatial axes, any floating dtype; computed in float32 (float64 stays).
        - target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, any integer or float dtype.
        - output: scalar; 0 with a zero gradient where every voxel is ignored.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]])
        >>> SVLSLoss()(logits, torch.tensor([[0, 0, 1]]))
        tensor(0.4823)
    """

    def __init__(
        self, kernel_size: int | Sequence[int] = 3, sigma: float = 1.0, ignore_label: int | None = None
    ) -> None:
        super().__init__()
        sides = window_sides(kernel_size, 1 if isinstance(kernel_size, int) else len(kernel_size))
        check_kernel("svls", sides, sigma)
        self.kernel_size = kernel_size
        self.sigma = sigma
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss; see the class for shapes."""
        labels = label_map(logits, target)
        logits = logits.to(compute_dtype(logits))
        smoothed = soft_class_proportions(
            labels, logits.shape[1], self.kernel_size, "svls", self.sigma, self.ignore_label, logits.dtype
        )
        per_voxel = F.cross_entropy(logits, smoothed, reduction="none").unsqueeze(1)
        return mean_over_valid(per_voxel, valid_mask(labels, self.ignore_label))

    def extra_repr(self) -> str:
        """Return the hyper-parameters as the constructor takes them."""
        return f"kernel_size={self.kernel_size}, sigma={self.sigma}, ignore_label={self.ignore_label}"
