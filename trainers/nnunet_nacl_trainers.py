"""The module that nnU-Net finds when ``nnUNet_extTrainer`` names this folder.

nnU-Net imports every module in the folder and drops it again, so there is just this one. It holds no code of its own: the
classes live in the installed package. Its name is unique because nnU-Net puts the folder on ``sys.path``, where a short
name would hide somebody else's package.
"""

from nnunet_nacl.training.trainers import (
    nnUNetTrainerDiceNACL,
    nnUNetTrainerDiceSVLS,
    nnUNetTrainerNACL,
    nnUNetTrainerSVLS,
)
from nnunet_nacl.training.variants import UnknownVariantError, resolve

__all__ = ["nnUNetTrainerDiceNACL", "nnUNetTrainerDiceSVLS", "nnUNetTrainerNACL", "nnUNetTrainerSVLS"]


def __getattr__(name: str):
    """Make the trainer that a variant's name describes, such as ``nnUNetTrainerNACL_weight0p2_100epochs``."""
    try:
        return resolve(name)
    except UnknownVariantError as error:
        raise AttributeError(str(error)) from None
