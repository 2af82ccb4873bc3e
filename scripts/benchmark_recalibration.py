"""Time and memory of `recalibrate fit`, beside the number of classes and of cases.

    python scripts/benchmark_recalibration.py time [--classes 105] [--voxels 1000000]
    python scripts/benchmark_recalibration.py memory FOLDER [--classes 3] [--side 96] [--cases 4 16] [--max-memory 64M 2G]

``time`` fits each method that sees all voxels to made-up probabilities of many classes, compiled before. ``memory`` writes the largest
number of made-up cases into FOLDER, runs the command on some of them, and prints the peak of the process less that of a fit on two tiny cases (without
mapped scratch files).

The made-up network: the logits of a voxel are drawn around a mean of its true class, and its labels from the softmax; where it predicts
background that is flattened with T = 1.4, elsewhere sharpened with T = 0.6.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.special import log_softmax, softmax

from nnunet_nacl.recalibration.guarantees import GUARANTEES
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.volumes import blocks

METHODS_OF_ALL = tuple(name for name, each in GUARANTEES.items() if each.voxel_set == "all")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True, metavar="STEP")
    of_time = steps.add_parser("time")
    of_time.add_argument("--classes", type=int, default=105)
    of_time.add_argument("--voxels", type=int, default=1_000_000)
    of_time.set_defaults(run=measure_time)
    of_memory = steps.add_parser("memory")
    of_memory.add_argument("folder", type=Path)
    of_memory.add_argument("--classes", type=int, default=3)
    of_memory.add_argument("--side", type=int, default=96)
    of_memory.add_argument("--cases", type=int, nargs="+", default=[4, 16])
    of_memory.add_argument("--max-memory", nargs="+", default=["64M", "2G"])
    of_memory.add_argument("--methods", nargs="+", default=METHODS_OF_ALL)
    of_memory.set_defaults(run=measure_memory)
    parsed = parser.parse_args()
    parsed.run(parsed)


def measure_time(parsed: argparse.Namespace) -> None:
    """Print the processor time of a fit in memory, of all methods that are fitted on all voxels."""
    rng = np.random.default_rng(0)
    means = class_means(parsed.classes, rng)
    pieces = []
    for part in blocks(parsed.classes, parsed.voxels):
        probabilities, labels = network(means, part.stop - part.start, rng)
        pieces.append((np.log(probabilities), labels))
    wrong = np.mean([np.mean(logarithm.argmax(0) != labels) for logarithm, labels in pieces])
    print(f"{parsed.classes} classes, {parsed.voxels} voxels, {100 * wrong:.1f} % wrong\n")
    print("| method | time, s | passes over the voxels | NLL before | after |\n|---|---|---|---|---|")
    for name in METHODS_OF_ALL:
        METHODS[name].fit(lambda: [(pieces[0][0][:, :2], pieces[0][1][:2])], parsed.classes, "softmax")  # compiles
        start = time.process_time()
        fit = METHODS[name].fit(lambda: pieces, parsed.classes, "softmax")
        seconds = time.process_time() - start
        ended = "" if fit.converged else " (not converged)"
        print(
            f"| {name} | {seconds:.1f} | {fit.evaluations}{ended} | {fit.nll_before:.5f} | {fit.nll_after:.5f} |",
            flush=True,
        )


def measure_memory(parsed: argparse.Namespace) -> None:
    """Print the peak memory of the command for some numbers of cases and bounds."""
    write_cases(parsed.folder, max(parsed.cases), parsed.classes, parsed.side)
    write_cases(parsed.folder / "tiny", 2, 3, 8)
    base, _ = peak(*fit_command(parsed.folder / "tiny" / "predicted", parsed.folder / "tiny"))
    size = parsed.classes * parsed.side**3 * 4 / 2**20
    print(
        f"{parsed.classes} classes, {parsed.side} voxels a side, {size:.1f} MiB a case; a fit on two tiny cases takes {base:.0f} MiB\n"
    )
    print("| method | cases | `--max-memory` | peak above that, MiB | processor time, s |\n|---|---|---|---|---|")
    for method in parsed.methods:
        for memory in parsed.max_memory:
            for number in parsed.cases:
                folder = subset(parsed.folder, number)
                used, seconds = peak(*fit_command(folder, parsed.folder, "--method", method, "--max-memory", memory))
                print(f"| {method} | {number} | {memory} | {used - base:.0f} | {seconds:.1f} |", flush=True)


def class_means(classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return the mean logits ``(C, C)`` of each class."""
    means = rng.normal(scale=2, size=(classes, classes)) - 9
    means[np.arange(classes), np.arange(classes)] = 0
    return means


def network(means: np.ndarray, n_voxels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities ``(C, n)`` float32 and labels ``(n,)``."""
    classes = len(means)
    true = np.where(rng.random(n_voxels) < 0.5, 0, rng.integers(1, classes, n_voxels))
    logarithm = log_softmax(means[true].T + 2 * rng.normal(size=(classes, n_voxels)), axis=0)
    labels = (rng.random(n_voxels) > np.cumsum(np.exp(logarithm), axis=0)[:-1]).sum(0).astype(np.uint8)
    power = np.where(logarithm.argmax(0) == 0, 1 / 1.4, 1 / 0.6)
    return softmax(power * logarithm, axis=0).astype(np.float32), labels


def write_cases(folder: Path, n_cases: int, classes: int, side: int) -> None:
    """Write predictions, labels, and the files that describe them."""
    predicted, reference = folder / "predicted", folder / "labels"
    for each in (predicted, reference):
        each.mkdir(parents=True)
    dataset = {"channel_names": {"0": "image"}, "file_ending": ".nii.gz",
               "labels": {"background": 0} | {f"structure {k}": k for k in range(1, classes)}}  # fmt: skip
    plans = {"dataset_name": "Dataset042_MadeUp", "plans_name": "p", "image_reader_writer": "SimpleITKIO",
             "label_manager": "LabelManager", "configurations": {}}  # fmt: skip
    (predicted / "dataset.json").write_text(json.dumps(dataset))
    (predicted / "plans.json").write_text(json.dumps(plans))
    means = class_means(classes, np.random.default_rng(0))
    for number in range(n_cases):
        rng = np.random.default_rng([1, number])
        parts = [network(means, part.stop - part.start, rng) for part in blocks(classes, side**3)]
        probabilities, labels = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
        np.savez(predicted / f"case_{number}.npz", probabilities=probabilities.reshape(classes, side, side, side))
        for values, where in ((probabilities.argmax(0), predicted), (labels, reference)):
            image = sitk.GetImageFromArray(values.astype(np.uint8).reshape(side, side, side))
            sitk.WriteImage(image, str(where / f"case_{number}.nii.gz"))


def subset(folder: Path, n_cases: int) -> Path:
    """Return a folder with links to the first cases."""
    found = folder / f"{n_cases}_cases"
    found.mkdir(exist_ok=True)
    for path in (folder / "predicted").iterdir():
        if path.suffix == ".json" or int(path.name.split("_")[1].split(".")[0]) < n_cases:
            (found / path.name).unlink(missing_ok=True)
            (found / path.name).symlink_to(path.resolve())
    return found


def fit_command(predicted: Path, folder: Path, *options: object) -> list[object]:
    """Return the arguments that fit on predictions, with the labels in another folder."""
    return ["recalibrate", "fit", predicted, "-gt", folder / "labels", "-o", folder / "temperature.json", *options]


ALONE = """
import resource, sys, threading, time
from nnunet_nacl.cli import main

most = 0

def look():
    global most
    while True:
        lines = open("/proc/self/status").read().splitlines()
        most = max(most, int(next(line for line in lines if line.startswith("RssAnon")).split()[1]))
        time.sleep(0.02)

threading.Thread(target=look, daemon=True).start()
status = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(most / 1024, used.ru_utime + used.ru_stime)
sys.exit(status)
"""


def peak(*arguments: object) -> tuple[float, float]:
    """Return the peak memory in MiB and the processor time in s of a command of ours (Linux).

    Pages of scratch files that are mapped are not counted: the system drops them where memory is short.
    """
    finished = subprocess.run([sys.executable, "-c", ALONE, *map(str, arguments)], capture_output=True, text=True)
    if finished.returncode:
        raise SystemExit(f"nnunet-nacl {' '.join(map(str, arguments))} failed:\n{finished.stderr}")
    memory, seconds = finished.stdout.split()[-2:]
    return float(memory), float(seconds)


if __name__ == "__main__":
    main()
