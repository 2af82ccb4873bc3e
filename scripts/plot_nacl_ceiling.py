"""Measure the confidence of NACL's networks inside objects against the ceiling that its weight sets, 1 - weight / K.

    python scripts/plot_nacl_ceiling.py VALIDATION_FOLDER [VALIDATION_FOLDER ...] -gt LABELS -o ceiling.svg

A validation folder is nnU-Net's ``<trainer>__<plans>__<configuration>/fold_X/validation`` with softmax files; weight and
kernel are those that the trainer's name stands for. The interior is where all labels of the kernel's window are the same,
which is where the penalty's target is one-hot, and where the label is predicted: a wrong voxel is below the ceiling for
another reason. The table goes to the terminal, the figure to ``-o``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from nnunet_nacl.training.variants import resolve

COLOURS = ("#555555", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
STEPS = 100_000


@dataclass(frozen=True)
class Interior:
    """Confidence inside the objects of one network: quantiles of the probability of the label, per class."""

    weight: float
    n_voxels: NDArray[np.int64]
    """(K,)"""
    quantiles: NDArray[np.float64]
    """(K, 3): 5 %, 50 %, 95 %; NaN for a class without such a voxel"""


def measure(validation: Path, labels: Path) -> Interior:
    """Count the probabilities of the label over all cases in steps of 1e-5, and take their quantiles."""
    trainer = resolve(validation.resolve().parts[-3].split("__")[0])
    cases = sorted(validation.glob("*.npz"))
    if not cases:
        raise SystemExit(f"{validation}: expected softmax files (nnUNetv2_train --npz), but there are none.")
    counts: NDArray[np.int64] = np.zeros((0, STEPS + 1), np.int64)
    for path in cases:
        with np.load(path, allow_pickle=False) as archive:
            probabilities = archive["probabilities"]
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(labels / f"{path.stem}.nii.gz"))).astype(np.int64)
        counts = counts if len(counts) else np.zeros((len(probabilities), STEPS + 1), np.int64)
        size = trainer.nacl_kernel_size  # type: ignore[attr-defined]
        inside = (maximum_filter(label, size) == minimum_filter(label, size)) & (probabilities.argmax(0) == label)
        for number, of_class in enumerate(probabilities):
            steps = np.rint(of_class[inside & (label == number)].astype(np.float64) * STEPS).astype(np.int64)
            counts[number] += np.bincount(steps, minlength=STEPS + 1)
    return Interior(trainer.nacl_weight, counts.sum(1), np.array([quantiles(row) for row in counts]))  # type: ignore[attr-defined]


def quantiles(counts: NDArray[np.int64]) -> list[float]:
    """Return the values below which 5, 50 and 95 % of the counted probabilities lie."""
    if not counts.any():
        return [float("nan")] * 3
    below = np.cumsum(counts) / counts.sum()
    return [float(np.searchsorted(below, share)) / STEPS for share in (0.05, 0.5, 0.95)]


def plot(measured: list[Interior], path: Path) -> None:
    """Draw the ceiling as a line and each class's median with its 5 to 95 % range beside it."""
    n_classes = len(measured[0].n_voxels)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    highest = 1.1 * max(one.weight for one in measured)
    axes.plot([0, highest], [1, 1 - highest / n_classes], color="black", linewidth=1, label="ceiling 1 - weight / K")
    for number in range(n_classes):
        shift = (number - (n_classes - 1) / 2) * highest / 70  # side by side, or they hide each other
        middle = np.array([one.quantiles[number] for one in measured])
        axes.errorbar(
            [one.weight + shift for one in measured], middle[:, 1],
            yerr=[middle[:, 1] - middle[:, 0], middle[:, 2] - middle[:, 1]],
            fmt="o", markersize=4, linewidth=1, capsize=2, color=COLOURS[number % len(COLOURS)], label=f"class {number}",
        )  # fmt: skip
    axes.set(xlabel="weight of the penalty", ylabel="probability of the label, interior", xlim=(0, highest))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, title="median, 5 to 95 %", title_fontsize=8)
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="VALIDATION_FOLDER")
    parser.add_argument("-gt", type=Path, required=True, help="folder with the label files (.nii.gz)")
    parser.add_argument("-o", type=Path, required=True, help="figure file")
    parsed = parser.parse_args()
    measured = sorted((measure(folder, parsed.gt) for folder in parsed.folders), key=lambda one: one.weight)
    print("| weight | ceiling | class | voxels | 5 % | median | 95 % |\n|---|---|---|---|---|---|---|")
    for one in measured:
        for number, (low, middle, high) in enumerate(one.quantiles):
            ceiling = 1 - one.weight / len(one.n_voxels)
            print(
                f"| {one.weight:g} | {ceiling:.4f} | {number} | {one.n_voxels[number]:,} | {low:.4f} | {middle:.4f} | {high:.4f} |"
            )
    plot(measured, parsed.o)
    return 0


if __name__ == "__main__":
    sys.exit(main())
