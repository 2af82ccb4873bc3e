"""Smooth ECE and the isotonic decomposition of many voxels: are they right, how long do they take, in how much memory?

The voxels come in chunks, as the channels of a file do, so that nothing but the sums is kept. Their confidences are 1 - u**3 / 2 with a uniform u,
and the share of right ones is known for each confidence, so the true scores are integrals, taken here at a million points.

    python scripts/benchmark_scores_without_bins.py --voxels 1e9 --relplot 1e6
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.confidence_grid import grid_ends
from nnunet_nacl.calibration.isotonic import corp
from nnunet_nacl.calibration.smooth_ece import error_of_cells, smooth_ece

CHUNK = 1 << 22
SCORES = ("smooth_ece", "corp_brier", "corp_brier_miscalibration", "corp_brier_discrimination", "corp_brier_uncertainty",
          "corp_nll", "corp_nll_miscalibration", "corp_nll_discrimination", "corp_nll_uncertainty")  # fmt: skip


def share_of_right(confidence: np.ndarray) -> np.ndarray:
    """What is true of a confidence: too sure above 0.8, too unsure below."""
    return confidence - 0.4 * (confidence - 0.8) * (1 - confidence)


def chunk(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    uniform = rng.random(size, np.float32)
    confidence = 1 - uniform * uniform * uniform / 2
    return confidence, rng.random(size, np.float32) < share_of_right(confidence)


def true_scores() -> dict[str, float]:
    """The integrals over the confidences, each at the middle of a step."""
    n = 1_000_000
    uniform = (np.arange(n) + 0.5) / n
    confidence = np.sort(1 - uniform**3 / 2)
    right = share_of_right(confidence)
    ones = np.ones(n)
    return {"smooth_ece": float(smooth_ece(ones, confidence, right))} | {
        name: float(value) for name, value in corp(ones, confidence, right).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=float, default=1e9)
    parser.add_argument("--relplot", type=float, default=0, help="voxels to give to relplot as well")
    parsed = parser.parse_args()
    rng = np.random.default_rng(0)
    parts = [CalibrationStatistics.empty(2) for _ in range(16)]
    memory_before, summing = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0
    done, number = 0, 0
    while done < parsed.voxels:
        size = int(min(CHUNK, parsed.voxels - done))
        confidence, right = chunk(rng, size)
        probabilities, label = np.stack([1 - confidence, confidence]), right.astype(np.int16)
        begin = time.process_time()
        parts[number % len(parts)].update(probabilities, label, threads=1)
        summing += time.process_time() - begin
        done, number = done + size, number + 1
    begin = time.process_time()
    whole = parts[0].merge(*parts[1:])
    scores = whole.scores("all")
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bound = error_of_cells(*(whole.grid_cells("all")[part] for part in (0, 2)), *grid_ends(), scores.smooth_ece)
    print(f"{done:.3g} voxels: {summing:.1f} CPU s for all sums, {1e3 * seconds:.1f} ms to merge 16 parts and for all scores of a voxel set, "
          f"{memory / 1024:.0f} MiB in all ({memory_before / 1024:.0f} before the first voxel)")  # fmt: skip
    expected = true_scores()
    print("| score | found | true | difference |\n|---|---|---|---|")
    for name in SCORES:
        value = getattr(scores, name)
        print(f"| {name} | {value:.6f} | {expected[name]:.6f} | {value - expected[name]:+.1e} |")
    print(f"cells can have moved smooth ECE by {bound:.1e} at most")
    if parsed.relplot:
        compare_with_relplot(rng, int(parsed.relplot))


def compare_with_relplot(rng: np.random.Generator, size: int) -> None:
    import relplot

    confidence, right = chunk(rng, size)
    confidence = confidence.astype(np.float64)
    begin = time.process_time()
    theirs = relplot.smECE(confidence, right * 1.0)
    seconds, memory = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statistics = CalibrationStatistics.empty(2)
    begin = time.process_time()
    statistics.update(np.stack([1 - confidence, confidence]), right.astype(np.int16), threads=1)
    ours = statistics.scores("all").smooth_ece
    print(f"{size:.3g} voxels: relplot {theirs:.5f} in {seconds:.2f} CPU s and {memory / 1024:.0f} MiB; "
          f"ours {ours:.5f} in {time.process_time() - begin:.2f} CPU s")  # fmt: skip


if __name__ == "__main__":
    main()
