"""Segmentation losses for calibrated networks, in plain PyTorch.

Nothing here knows nnU-Net: the losses work in any training loop that has logits ``(B, K, *spatial)`` and a label map, or one
logit per region and region masks.
"""

from nnunet_nacl.losses.crac import CRaCLoss
from nnunet_nacl.losses.ecp import ECPLoss
from nnunet_nacl.losses.focal import FocalLoss
from nnunet_nacl.losses.l1ace import L1ACELoss
from nnunet_nacl.losses.label_smoothing import LabelSmoothingLoss
from nnunet_nacl.losses.mbls import MbLSLoss
from nnunet_nacl.losses.nacl import NACLLoss
from nnunet_nacl.losses.neighborhood import soft_class_proportions
from nnunet_nacl.losses.svls import SVLSLoss
from nnunet_nacl.losses.voxel_loss import VoxelLoss, voxel_cross_entropy

__all__ = [
    "CRaCLoss",
    "ECPLoss",
    "FocalLoss",
    "L1ACELoss",
    "LabelSmoothingLoss",
    "MbLSLoss",
    "NACLLoss",
    "SVLSLoss",
    "VoxelLoss",
    "soft_class_proportions",
    "voxel_cross_entropy",
]


def __dir__() -> list[str]:
    return sorted(__all__)
