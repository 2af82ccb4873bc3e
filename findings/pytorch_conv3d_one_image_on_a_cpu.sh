#!/usr/bin/env bash
# PyTorch 2.14.1 on a CPU: one small 3D image takes longer through Conv3d than two of them in one batch.
#
# Expected: two images take at least as long as one of them.
# Seen: one image of 8 channels and 24 x 32 x 24 voxels (3 x 3 x 3 kernel, one thread) takes three to four times as long as two. One goes through
# slow_conv3d_forward, which copies every patch, two through oneDNN. ConvParams::use_mkldnn asks for more than one image, or for
# size(0) * size(1) * size(2) * size(3) > 20480: of a 2D image that is its whole size, of a 3D one it leaves out the width.
# nnU-Net predicts a tile and its mirror images one at a time, so with small plans it takes the slow way in every layer.
#
# Exits with 0 while that is so. Needs no GPU.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet torch==2.14.1
"$scratch/venv/bin/python" - << 'END'
import statistics
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

torch.set_num_threads(1)
torch.manual_seed(0)
convolution = torch.nn.Conv3d(8, 8, 3, padding=1)


def milliseconds(images):
    taken = []
    for _ in range(15):
        began = time.perf_counter()
        convolution(images)
        taken.append(1e3 * (time.perf_counter() - began))
    return statistics.median(taken)


def kernel(images):
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        convolution(images)
    names = {event.key for event in profiled.key_averages()}
    return next((name for name in ("aten::slow_conv3d_forward", "aten::mkldnn_convolution") if name in names), "other")


with torch.inference_mode():
    two = torch.randn(2, 8, 24, 32, 24)
    found = {number: (milliseconds(two[:number]), kernel(two[:number])) for number in (1, 2)}
for number, (taken, name) in found.items():
    print(f"torch {torch.__version__}: {number} image(s) of 8 x 24 x 32 x 24: {taken:.2f} ms, {name}")
same = found[1][1] == "aten::slow_conv3d_forward" and found[2][1] == "aten::mkldnn_convolution"
sys.exit(0 if same and found[2][0] < found[1][0] else 1)
END
