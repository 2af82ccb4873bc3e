"""Time and memory of findings against lesions in a large volume, beside ``scipy.ndimage.label`` of one mask of it. Prints Markdown.

    python scripts/benchmark_lesions.py
    python scripts/benchmark_lesions.py --size 128

The volume is 512 x 512 x 300 with 200 balls, labelled and predicted one voxel apart. CPU time of the process, the median of five runs of each in
turn, after one that compiles; with ``--files`` also that of runs on files, which read and inflate the softmax file too.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.ndimage
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_nacl.lesions import Rules, find_lesions
from nnunet_nacl.lesions.folder import lesions_of_folders

N_BALLS, RUNS = 200, 5


def volume(shape: tuple[int, int, int], moved: int) -> NDArray[np.uint8]:
    """Return balls of 3 to 13 voxels radius, all moved by so many voxels."""
    rng = np.random.default_rng(1)
    made = np.zeros(shape, np.uint8)
    for _ in range(N_BALLS):
        radius = int(rng.integers(3, min(14, min(shape) // 4)))
        z, y, x = (int(rng.integers(radius + 2, side - radius - 2)) + moved for side in shape)
        grid = np.ogrid[-radius : radius + 1, -radius : radius + 1, -radius : radius + 1]
        ball = sum(axis * axis for axis in grid) <= radius * radius
        made[z - radius : z + radius + 1, y - radius : y + radius + 1, x - radius : x + radius + 1] |= ball
    return made


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def write_case(folder: Path, p: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
    """Write a case as nnU-Net leaves it."""
    dataset = {
        "labels": {"background": 0, "lesion": 1},
        "channel_names": {"0": "x"},
        "file_ending": ".nii.gz",
        "numTraining": 1,
    }
    plans = {"dataset_name": "Dataset001_Balls", "image_reader_writer": "SimpleITKIO", "configurations": {}}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "labels").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "labels" / "a.nii.gz"))
    np.savez_compressed(folder / "a.npz", probabilities=p)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="voxels along x and y")
    parser.add_argument("--files", action="store_true", help="a run on files as well")
    parsed = parser.parse_args()
    shape = (min(300, parsed.size), parsed.size, parsed.size)
    labels, predicted = volume(shape, 0), volume(shape, 1)
    p = np.empty((2, *shape), np.float32)
    p[1] = 0.01 + 0.9 * predicted
    p[0] = 1 - p[1]
    find_lesions(p[:, :16, :16, :16], labels[:16, :16, :16])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = find_lesions(p, labels)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ours, theirs = [], []
    for _ in range(RUNS):
        theirs.append(cpu_seconds(lambda: scipy.ndimage.label(labels, np.ones((3, 3, 3)))))
        ours.append(cpu_seconds(lambda: find_lesions(p, labels)))
    label, lesions = statistics.median(theirs), statistics.median(ours)
    print(f"{shape}: {len(found.findings.number)} findings, {len(found.lesions.number)} lesions; bytes a voxel beside the arrays: {1024 * grown / labels.size:.0f}")  # fmt: skip
    print("| | CPU seconds | ratio |\n|---|---|---|")
    print(f"| scipy.ndimage.label of the labels | {label:.2f} | 1 |")
    print(f"| find_lesions, both label maps and all figures | {lesions:.2f} | {lesions / label:.2f} |")
    if parsed.files:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_case(folder, p, labels)
            del p
            files = folder / "labels", [folder], folder / "dataset.json", folder / "plans.json"
            # the first imports nnU-Net's reader
            seconds = statistics.median(
                [cpu_seconds(lambda: lesions_of_folders(*files, Rules())) for _ in range(4)][1:]
            )
        print(f"| the same from files | {seconds:.2f} | {seconds / label:.2f} |")


if __name__ == "__main__":
    main()
