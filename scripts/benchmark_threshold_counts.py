"""How much CPU time the counts of probabilities by threshold cost an evaluation.

    python scripts/benchmark_threshold_counts.py --seconds 8

Of one structure with a smooth border: in one case the background is certain, in the other nearly every voxel has a probability that is counted.
Evaluations with and without the counts alternate in one process; the ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_nacl.calibration.threshold_counts import ThresholdCounts
from nnunet_nacl.evaluation.case_result import evaluate_case
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.settings import Settings

SHAPE = (120, 198, 198)
FLOORS = {"background certain": 0.0, "every voxel counted": 1e-4}


def write_case(folder: Path, name: str, floor: float) -> Case:
    """Write a sphere in a sphere, in float32, with at least ``floor`` of each foreground class everywhere."""
    grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SHAPE), indexing="ij")
    away = np.sqrt((2 * (grid[0] - 60)) ** 2 + (grid[1] - 100) ** 2 + (grid[2] - 90) ** 2)
    outer, inner = (1 / (1 + np.exp(np.clip(0.7 * (away - edge), -60, 60))) for edge in (50, 25))
    probabilities = np.maximum(np.stack([1 - outer, outer * (1 - inner), outer * inner]), floor)
    probabilities = (probabilities / probabilities.sum(0)).astype(np.float32)
    labels = np.where(away < 24, 2, np.where(away < 52, 1, 0)).astype(np.uint8)
    np.savez_compressed(folder / f"{name}.npz", probabilities=probabilities)
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / f"{name}.nii.gz"))
    return Case(name, folder / f"{name}.npz", folder / f"{name}.nii.gz")


def dataset_in(folder: Path) -> Dataset:
    """Write and read the description of two classes."""
    labels = {"background": 0, "liver": 1, "tumour": 2}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    plans = {"dataset_name": "Dataset900", "image_reader_writer": "SimpleITKIO", "configurations": {}, "plans_name": "nnUNetPlans"}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "plans.json").write_text(json.dumps(plans))
    return load_dataset(folder / "dataset.json", folder / "plans.json")


def cost(case: Case, dataset: Dataset, seconds: float) -> str:
    """Return the CPU time with and without the counts, in words."""
    add, taken = ThresholdCounts.add, {True: [], False: []}

    def evaluate(counted: bool) -> float:
        ThresholdCounts.add = add if counted else (lambda *block: None)
        start = time.process_time()
        evaluate_case(case, dataset, Settings())
        return time.process_time() - start

    for counted in (True, False):
        evaluate(counted)  # compiles
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for counted in (True, False):
            taken[counted].append(evaluate(counted))
    ThresholdCounts.add = add
    ratios = np.array(taken[True]) / taken[False]
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return (f"{len(ratios)} pairs, x {median:.3f} (quartiles {low:.3f} to {high:.3f}); least {min(taken[True]):.4f} s "
            f"with, {min(taken[False]):.4f} s without")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="for each case")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = dataset_in(folder)
        for number, (text, floor) in enumerate(FLOORS.items()):
            print(f"{text}: {cost(write_case(folder, f'case_{number}', floor), dataset, parsed.seconds)}", flush=True)


if __name__ == "__main__":
    main()
