"""What other calibration metrics say of more voxels in one bin than a float32 counter holds.

    python scripts/peers_at_clinical_size.py [--voxels 40000000]

Two classes, every voxel 97 % confident of class 1, nine in ten right. The truth: accuracy 0.9, confidence 0.97, ECE 0.07.
Needs the extra ``test`` and about 4 GB of memory.
"""

import argparse

import numpy as np
import torch
from monai.metrics.calibration import calibration_binning
from torchmetrics.functional.classification import binary_calibration_error

from nnunet_nacl.calibration import CalibrationStatistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=int, default=40_000_000)
    n = parser.parse_args().voxels
    confidence = np.full(n, 0.97, np.float32)
    labels = np.ones(n, np.uint8)
    labels[: n // 10] = 0
    statistics = CalibrationStatistics.empty(2)
    statistics.update(np.stack([1 - confidence, confidence]), labels)
    scores = statistics.scores("all")
    print(f"nnunet-nacl:  accuracy {scores.accuracy:.4f}, confidence {scores.confidence:.4f}, ECE {scores.ece:.4f}")
    # the probability of class 1, which occurs in 90 % of the voxels
    probability, happened = torch.from_numpy(confidence), torch.from_numpy(labels)
    print(f"torchmetrics: ECE {float(binary_calibration_error(probability, happened.long(), n_bins=15)):.4f}")
    predicted, observed, _ = calibration_binning(
        probability.reshape(1, 1, -1), happened.float().reshape(1, 1, -1), num_bins=15
    )
    last = predicted.shape[-1] - 1
    print(f"MONAI:        accuracy {float(observed[0, 0, last]):.4f}, confidence {float(predicted[0, 0, last]):.4f}")


if __name__ == "__main__":
    main()
