"""nnU-Net's predictor with two mirror images of a tile in one batch, where nnU-Net predicts them one after another.

PyTorch (2.14) convolves a single small 3D image on a CPU by a general matrix product instead of oneDNN, at a quarter of the speed: where the image's
channels, depth and height multiply to 20480 at most, as in every layer of the networks of ``nnunet-nacl cpu-plans``. With two images it takes oneDNN
always. Both round in float32, each in its own way, and nnU-Net adds tiles up in half precision, so single logits differ by one step of that.
"""

from __future__ import annotations

import itertools

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_nacl.validation.model import TrainedModel

SLOW_UP_TO = 20480
"""Channels x depth x height of a single image that PyTorch convolves by the slower algorithm."""


def slow_alone(model: TrainedModel) -> bool:
    """Tell whether the first convolutions of a network, of its whole patch, take the slower algorithm, as far as its folder and plans say.

    False for a trainer without mirroring, whose images do not come in pairs, and where the plans cannot be read: predicting says why.
    """
    trainer, configuration = (model.folder.name.split("__")[place] for place in (0, -1))
    try:
        planned = PlansManager(model.plans).get_configuration(configuration)
        patch, features = planned.patch_size, planned.network_arch_init_kwargs["features_per_stage"]
        size = int(features[0]) * int(patch[0]) * int(patch[1])
    except (RuntimeError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False
    return len(patch) == 3 and size <= SLOW_UP_TO and "NoMirroring" not in trainer


class MirrorPairsPredictor(nnUNetPredictor):  # type: ignore[misc]
    """Predicts the mirror images that nnU-Net predicts and adds them up in its order, two at a time through the network."""

    @torch.inference_mode()
    def _internal_maybe_mirror_and_predict(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean ``(1, K, *patch)`` of the logits of a tile ``(1, C, *patch)`` and its mirror images."""
        if not self.use_mirroring or not self.allowed_mirroring_axes:
            alone: torch.Tensor = super()._internal_maybe_mirror_and_predict(x)
            return alone
        axes = [axis + 2 for axis in self.allowed_mirroring_axes]
        mirrored = [
            combination for number in range(len(axes) + 1) for combination in itertools.combinations(axes, number)
        ]
        total: torch.Tensor | None = None
        for pair in zip(mirrored[::2], mirrored[1::2], strict=True):
            logits = self.network(torch.cat([torch.flip(x, flipped) for flipped in pair]))
            for flipped, of_image in zip(pair, logits.split(len(x)), strict=True):
                back = torch.flip(of_image, flipped)
                total = back if total is None else total.add_(back)
        assert total is not None
        return total.div_(len(mirrored))
