#!/usr/bin/env bash
# nnU-Net 2.8.1: drawing progress.png changes matplotlib's style for whatever the same process draws afterwards.
#
# A function that writes a picture of its own would be expected to leave matplotlib's settings (rcParams) as they were.
# Seen: `plot_progress_png` calls seaborn's `set`, which is for the whole process: afterwards letters are 30 points in place of 10, bars get white
# edges and axes a grid. A trainer that draws a figure at the end of a training, or a notebook that trains and then plots, gets another figure
# than before. `matplotlib.rc_context()` around the training, or `matplotlib.rcdefaults()` after it, keeps them apart.
#
# Exits with 0 while that is so. Needs no GPU.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
"$scratch/venv/bin/pip" install --quiet nnunetv2==2.8.1
export nnUNet_raw=$scratch nnUNet_preprocessed=$scratch nnUNet_results=$scratch MPLBACKEND=agg
cd "$scratch"
"$scratch/venv/bin/python" - << 'END'
import matplotlib
from nnunetv2.training.logging.nnunet_logger import LocalLogger

names = ("font.size", "axes.labelsize", "axes.grid", "patch.edgecolor", "patch.force_edgecolor")
before = {name: matplotlib.rcParams[name] for name in names}
logger = LocalLogger()
for epoch in range(2):
    for name in logger.my_fantastic_logging:
        value = [0.5] if name == "dice_per_class_or_region" else float(epoch)
        logger.log(name, value, epoch)
logger.plot_progress_png(".")
after = {name: matplotlib.rcParams[name] for name in names}
for name in names:
    print(f"{name}: {before[name]} before, {after[name]} after")
assert before["axes.grid"] is False and after["axes.grid"] is True
assert before["patch.force_edgecolor"] is False and after["patch.force_edgecolor"] is True
assert after["axes.labelsize"] == 30.0, after["axes.labelsize"]
END
