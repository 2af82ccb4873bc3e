"""Segmentation losses for calibrated networks, in plain PyTorch.

Nothing here knows nnU-Net: the losses work in any training loop that has logits ``(B, K, *spatial)`` and a label map.
"""

from nnunet_nacl.losses.nacl import NACLLoss
from nnunet_nacl.losses.neighborhood import soft_class_proportions
from nnunet_nacl.losses.svls import SVLSLoss

__all__ = ["NACLLoss", "SVLSLoss", "soft_class_proportions"]
