#!/usr/bin/env bash
# nnU-Net 2.8.1: near the corners of an image its sliding window returns other probabilities than the network gave.
#
# Tiles are weighted by a Gaussian, added, and divided by the sum of the weights. Where one tile alone covers a voxel the weight
# cancels, so one would expect the network's logit there, to the three digits of half precision, whatever the weight.
# Seen: weights, weighted logits and sums are all float16. In the corners of an image the weights go down to the smallest number
# that float16 has (6e-8, from 10 in the middle), so a product there has one bit or none left: a network that says 0.846
# everywhere is returned as 0.818 to 0.881 where the image is one tile, and one that says 0.574 as 0.500 to 0.622, in 1 to 2 per cent of the
# voxels; in larger images in fewer. Classes do not change where one logit is 0, probabilities do, so it is seen by whoever measures calibration.
#
# Exits with 0 while that is so. Needs no GPU.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
"$scratch/venv/bin/pip" install --quiet nnunetv2==2.8.1
export nnUNet_raw=$scratch nnUNet_preprocessed=$scratch nnUNet_results=$scratch nnUNet_compile=f
"$scratch/venv/bin/python" - << 'END'
import math

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


class Constant(torch.nn.Module):
    """Gives the same logits in every voxel."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits).reshape(1, -1, 1, 1, 1))

    def forward(self, image):
        return self.logits.expand(-1, -1, *image.shape[2:]).clone()


architecture = {"network_class_name": "Constant", "arch_kwargs": {}, "_kw_requires_import": []}
configuration = {"patch_size": [32, 32, 32], "spacing": [1.0, 1.0, 1.0], "architecture": architecture}
plans = PlansManager({"configurations": {"3d_fullres": configuration}, "label_manager": "LabelManager"})
dataset = {"labels": {"background": 0, "organ": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}


def worst_and_share(logit, side):
    """Return the largest error of the organ's probability, and the share of voxels in which it is off by more than 0.01."""
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    network = Constant([0.0, logit])
    predictor.manual_initialization(network, plans, plans.get_configuration("3d_fullres"), None, dataset, "nnUNetTrainer", None)
    logits = predictor.predict_sliding_window_return_logits(torch.zeros(1, side, side, side)).float()
    given, expected = torch.softmax(logits, 0)[1], 1 / (1 + math.exp(-logit))
    wrong = (given - expected).abs()
    share = float((wrong > 0.01).float().mean())
    print(f"network {expected:.3f} everywhere, image {side}^3, tiles 32^3: {given.min():.3f} to {given.max():.3f}, off by more than 0.01 in {share:.2%}")
    return float(wrong.max()), share


for logit, least in ((1.7, 0.03), (0.3, 0.07)):
    for side in (32, 64):
        worst, share = worst_and_share(logit, side)
        assert worst > least and share > 0, "changed: the border has the network's probabilities"
END
