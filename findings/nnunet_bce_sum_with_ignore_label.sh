#!/usr/bin/env bash
# nnU-Net 2.8.1: declaring an ignore label multiplies the cross-entropy of region-based training by the number of regions.
#
# An ignore label says which voxels do not count: nnU-Net's documentation (ignore_label.md) speaks of losses computed on annotated
# pixels only. So with no voxel ignored, one would expect the loss of a data set that declares one to be the loss of the same
# data set that declares none. So it is for labels: DC_and_CE_loss.
# Seen: for regions, DC_and_BCE_loss averages the binary cross-entropy over voxels and regions without an ignore label, and with one
# divides its sum by the number of voxels alone. Beside the Dice loss the cross-entropy then weighs R times as much for R regions.
#
# Exits with 0 while that is so. torch's CPU build serves.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet torch==2.13.0 numpy
# --no-deps: the losses import PyTorch and NumPy alone
"$scratch/venv/bin/pip" install --quiet --no-deps nnunetv2==2.8.1
"$scratch/venv/bin/python" - << 'END'
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

torch.manual_seed(0)
regions = 4
logits = torch.randn(2, regions, 6, 7, 8)
masks = (torch.rand(2, regions, 6, 7, 8) < 0.3).float()
labels = torch.randint(0, regions, (2, 1, 6, 7, 8))
nothing_ignored = torch.zeros(2, 1, 6, 7, 8)


def dice(**options):
    return {"batch_dice": False, "smooth": 1e-5, "ddp": False, **options}


def cross_entropy_of_regions(use_ignore_label):
    loss = DC_and_BCE_loss({}, dice(do_bg=True), use_ignore_label=use_ignore_label, dice_class=MemoryEfficientSoftDiceLoss)
    target = torch.cat([masks, nothing_ignored], 1) if use_ignore_label else masks
    return float(loss(logits, target) - loss.dc(logits, masks))


def loss_of_labels(ignore_label):
    loss = DC_and_CE_loss(dice(do_bg=False), {}, ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss)
    return float(loss(logits, labels.float()))


without, declared = loss_of_labels(None), loss_of_labels(9)
print(f"labels,  no voxel ignored: loss {without:.4f} without an ignore label, {declared:.4f} with one")
assert abs(without - declared) < 1e-5
without, declared = cross_entropy_of_regions(False), cross_entropy_of_regions(True)
print(f"regions, no voxel ignored: cross-entropy {without:.4f} without an ignore label, {declared:.4f} with one")
print(f"ratio {declared / without:.3f}, for {regions} regions")
assert abs(declared / without - regions) < 1e-3, "changed: no longer a factor of the number of regions"
END
