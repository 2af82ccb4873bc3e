"""What the sums for volumes and triage cost `evaluate`: CPU time with them over CPU time without.

    python scripts/benchmark_mask_sums.py
    python scripts/benchmark_mask_sums.py --real PREDICTED LABELS     also a folder of nnU-Net's, with its dataset.json and plans.json
    python scripts/benchmark_mask_sums.py --without CHECKOUT                      "without" is another checkout, as it is

"Without" is the same program in which the sums of p (1 - p), of the mean probability and of the mean entropy are not computed. Two processes, each with
compiled code of its own, evaluate the same cases from their files in turn; of each round the ratio of the CPU seconds of all threads is taken, and of
the ratios the median; beside it stands the ratio of the least times. So neither the speed of the machine nor its load matters much; `chrt --fifo 1` (as root) in front leaves even less of it.
Each synthetic case has smooth probabilities of 96 x 128 x 128 voxels, of which a share is foreground.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmark_evaluation import write_description
from benchmark_reading import KEY

SHAPE = (96, 128, 128)


class Kind(NamedTuple):
    """Of a synthetic case: how many channels, whether these are regions, which share is foreground, and of how large blobs."""

    channels: int
    regions: bool
    foreground: float
    smoothness: float = 6  # voxels: of 6 there are blobs all over, of 20 few compact structures


KINDS = {
    f"{channels} {'regions' if regions else 'classes'}, {foreground:.0%} foreground, {name}": Kind(
        channels, regions, foreground, smoothness
    )
    for channels, regions, foreground in (
        (3, False, 0.1),
        (3, False, 0.5),
        (14, False, 0.3),
        (3, True, 0.1),
        (3, True, 0.5),
        (8, True, 0.1),
    )
    for name, smoothness in (("compact", 20), ("scattered", 6))
}

WORKER = """
import sys, time
from pathlib import Path
from nnunet_nacl.evaluation import case_result
from nnunet_nacl.evaluation.cases import find_cases
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.evaluation.settings import Settings
if sys.argv[1] == "without":
    import numba, numpy as np
    from nnunet_nacl.calibration import kernels, regions
    kernels.add_spread = numba.njit(lambda values, group, lanes: None)
    kernels.add_masks = numba.njit(lambda values, predicted, group, first, lanes: None)
    class Nothing:
        def __init__(self, *_):
            self.see = self.sums = lambda *_: np.zeros(0)
    regions.RegionMasks = Nothing
sets = []
for predicted, labels in zip(sys.argv[2::2], sys.argv[3::2]):
    predicted = Path(predicted)
    sets.append((find_cases(Path(labels), predicted, ".nii.gz"), load_dataset(predicted / "dataset.json", predicted / "plans.json")))
for line in sys.stdin:
    cases, dataset = sets[int(line)]
    used = time.process_time()
    for case in cases:
        case_result.evaluate_case(case, dataset, Settings())
    print(time.process_time() - used, flush=True)
"""


def probabilities_and_labels(kind: Kind, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 probabilities ``(channels, *SHAPE)`` and uint8 labels that differ from them as a network's do."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)

    def field() -> np.ndarray:
        smooth = gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), kind.smoothness)
        return smooth / smooth.std()

    moved = field() / 3
    if kind.regions:
        common = field()
        thresholds = np.quantile(common, [1 - kind.foreground * 0.7**number for number in range(kind.channels)])
        logits = np.stack([10 * (common + field() / 20 - threshold) for threshold in thresholds])
        labels = sum((common + moved > threshold).astype(np.uint8) for threshold in thresholds)
        return (1 / (1 + np.exp(-logits))).astype(np.float32), np.asarray(labels, np.uint8)
    logits = np.stack([4 * field() for _ in range(kind.channels)])
    logits[0] += np.quantile(logits[1:].max(0) - logits[0], 1 - kind.foreground)
    logits[0] += 2 * np.sign(logits[0] - logits[1:].max(0))
    values = np.exp(logits - logits.max(0))
    logits[1:] += moved
    return (values / values.sum(0)).astype(np.float32), logits.argmax(0).astype(np.uint8)


def write_case(folder: Path, kind: Kind) -> None:
    import json

    import SimpleITK as sitk

    for part in ("labels", "predictions"):
        (folder / part).mkdir(parents=True)
    probabilities, labels = probabilities_and_labels(kind)
    np.savez_compressed(folder / "predictions" / "case.npz", **{KEY: probabilities})
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "labels" / "case.nii.gz"))
    write_description(folder / "predictions", kind.channels, 1)
    if kind.regions:
        path = folder / "predictions" / "dataset.json"
        dataset = json.loads(path.read_text())
        values = range(1, kind.channels + 1)
        dataset["labels"] = {"background": 0} | {f"region_{first}": list(values[first - 1 :]) for first in values}
        dataset["regions_class_order"] = list(values)
        path.write_text(json.dumps(dataset))


class Worker:
    """A process that evaluates one of the folders each time it is asked to."""

    def __init__(self, how: str, folders: list[tuple[Path, Path]], cache: Path, checkout: Path | None = None) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(cache)}
        if checkout is not None:
            environment["PYTHONPATH"] = str(
                checkout
            )  # and below no working folder of ours, which python -c looks into first
        command = [sys.executable, "-c", WORKER, how, *(str(path) for pair in folders for path in pair)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
        )

    def seconds(self, folder: int) -> float:
        """Return the CPU seconds of all threads."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(folder, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate()


def measure(
    folders: dict[str, tuple[Path, Path]], rounds: int, restarts: int, temporary: Path, checkout: Path | None
) -> None:
    paths = list(folders.values())
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in folders}
    for _ in range(restarts):
        with_sums = Worker("with", paths, temporary / "with")
        without = Worker("with" if checkout else "without", paths, temporary / "without", checkout)
        for number, name in enumerate(folders):
            for worker in (with_sums, without):
                worker.seconds(number)  # compiles, and fills the file cache
            for turn in range(rounds):
                order = (with_sums, without) if turn % 2 else (without, with_sums)
                taken = {worker: worker.seconds(number) for worker in order}
                pairs[name].append((taken[with_sums], taken[without]))
        with_sums.end()
        without.end()
    print("| case | CPU seconds without | with / without | quartiles | least / least |\n|---|---|---|---|---|")
    for name, times in pairs.items():
        low, middle, high = statistics.quantiles([one / other for one, other in times], n=4)
        base = statistics.median(other for _, other in times)
        least = min(one for one, _ in times) / min(other for _, other in times)
        print(f"| {name} | {base:.3f} | {middle:.3f} | {low:.3f} to {high:.3f} | {least:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--restarts", type=int, default=5, help="of both processes, since their layout in memory plays a part"
    )
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), metavar="KIND", help="parts of their names")
    parser.add_argument("--real", type=Path, nargs=2, default=None, metavar=("PREDICTED", "LABELS"))
    parser.add_argument("--without", type=Path, default=None, metavar="CHECKOUT")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {}
        for name, kind in KINDS.items():
            if any(part in name for part in arguments.kinds):
                folder = Path(temporary) / name.replace(" ", "_")
                write_case(folder, kind)
                folders[name] = (folder / "predictions", folder / "labels")
        if arguments.real:
            folders[arguments.real[0].name] = tuple(arguments.real)
        measure(folders, arguments.rounds, arguments.restarts, Path(temporary), arguments.without)


if __name__ == "__main__":
    main()
