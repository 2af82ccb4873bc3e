#!/usr/bin/env bash
# relplot 1.0.3: smooth ECE counts confidences of exactly 0 or 1 half.
#
# Smooth ECE at a width s (arXiv 2309.12236) smooths the residuals f - y by a Gaussian kernel reflected at 0 and 1, so that no mass is lost
# there. Confidences of 1 and of 0.5, as many of each, of which half are right: the residuals are 0.5 and 0, so with a width that is small
# against their distance one would expect (0.5 + 0) / 2 = 0.25.
# Seen: 0.171. The mirrored copies leave out the end point itself, so the mass at the end is counted once and not with its mirror image, and
# half of the kernel lies outside; what is left is divided by the density, which lacks the same mass. Segmentation networks
# are certain in most voxels. The same residuals at 0.93 and 0.43 give 0.25.
#
# Exits with 0 while that is so.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet relplot==1.0.3
"$scratch/venv/bin/python" - << 'END'
import numpy as np
import relplot

n = 2000
right = np.tile([0.0, 1.0], n)


def smooth_ece(high, low):
    confidence = np.repeat([high, low], n)
    expected = (abs(high - 0.5) + abs(low - 0.5)) / 2
    found = float(relplot.metrics.smECE_sigma(confidence, right, 0.01))
    print(f"confidences {high} and {low}, half of each right: {found:.4f}, expected {expected:.4f}")
    return found, expected


at_the_end, expected = smooth_ece(1.0, 0.5)
assert abs(at_the_end - 0.5 / 3) < 0.01 and expected == 0.25, "changed"
inside, expected = smooth_ece(0.93, 0.43)
assert abs(inside - expected) < 1e-3, "changed"
END
