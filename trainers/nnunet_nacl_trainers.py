"""The module that nnU-Net finds when ``nnUNet_extTrainer`` names this folder.

nnU-Net imports every module in the folder and drops it again, so there is just this one. It holds no code of its own: the
classes live in the installed package. Its name is unique because nnU-Net puts the folder on ``sys.path``, where a short
name would hide somebody else's package.
"""

import sys

from nnunet_nacl.training.trainer_search import SEARCHING
from nnunet_nacl.training.trainers import TRAINERS
from nnunet_nacl.training.variants import RefusedVariantError, UnknownVariantError, cannot_be_trained, resolve


def __getattr__(name: str):
    """Return a trainer of nnunet-nacl, or the variant that a name such as ``nnUNetTrainerNACL_weight0p2`` describes."""
    try:
        return resolve(name)
    except RefusedVariantError as error:
        return cannot_be_trained(name, str(error))
    except UnknownVariantError as error:
        if name.split("_")[0] in TRAINERS and not SEARCHING.get():
            # nnU-Net's own message says only that there is no such trainer
            print(f"nnunet-nacl: {error}", file=sys.stderr)
        raise AttributeError(str(error)) from None
