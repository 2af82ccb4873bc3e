"""Speed and memory of the evaluator, beside its peers and beside opening the files.

    python scripts/benchmark_evaluation.py arrays SMALL.npz          all scores, beside one score of other libraries
    python scripts/benchmark_evaluation.py folder SMALL.npz          a folder of softmax files, beside np.load of them
    python scripts/benchmark_evaluation.py memory SMALL.npz --figure docs/images/evaluation_memory.png

SMALL.npz is a softmax file of nnU-Net with three classes, e.g. of the hippocampus; the data are it enlarged (see
benchmark_reading.py). All in turn, several rounds; medians over the rounds of the ratios within a round, so that a drifting
machine does not matter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmark_reading import KEY, make

SHAPE = (120, 198, 198)  # 4.7 million voxels
THREADS = 2
OURS = "nnunet-nacl, all scores of all voxel sets"


def softmax_and_labels(small: Path, shape: tuple[int, ...], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels are the prediction, moved by a voxel or two: the errors are at the interfaces, as in real data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.npz"
        make(path, small, shape, classes)
        probabilities = np.load(path)[KEY]
    return probabilities, np.roll(probabilities.argmax(0).astype(np.uint8), (1, 2, 1), (0, 1, 2))


def contestants(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Callable[[], object]]:
    import torch
    from monai.metrics.calibration import CalibrationErrorMetric
    from netcal.metrics import ECE
    from sklearn.metrics import log_loss
    from torchmetrics.functional.classification import multiclass_calibration_error

    from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics

    torch.set_num_threads(THREADS)
    classes = len(probabilities)
    by_voxel = np.ascontiguousarray(probabilities.reshape(classes, -1).T)
    flat = labels.reshape(-1).astype(np.int64)
    volume, target = torch.from_numpy(probabilities)[None], torch.from_numpy(labels.astype(np.int64))[None]
    one_hot = torch.nn.functional.one_hot(target, classes).movedim(-1, 1)

    def ours() -> None:
        sums = CalibrationStatistics.empty(classes)
        sums.update(probabilities, labels, spacing=(1, 1, 1), threads=THREADS)
        for voxel_set in VOXEL_SETS:
            sums.scores(voxel_set)

    def monai() -> None:
        metric = CalibrationErrorMetric(num_bins=15)
        metric(y_pred=volume, y=one_hot)
        metric.aggregate()

    return {
        OURS: ours,
        "netcal ECE": lambda: ECE(15).measure(by_voxel, flat),
        "torchmetrics ECE": lambda: multiclass_calibration_error(volume, target, num_classes=classes, n_bins=15),
        "torchmetrics ECE, voxels first": lambda: multiclass_calibration_error(
            torch.from_numpy(by_voxel), torch.from_numpy(flat), num_classes=classes, n_bins=15
        ),
        "MONAI CalibrationErrorMetric (class-wise)": monai,
        "scikit-learn log_loss": lambda: log_loss(flat, by_voxel, labels=range(classes)),
    }


def measure_arrays(small: Path, rounds: int) -> None:
    everyone = contestants(*softmax_and_labels(small, SHAPE, 3))
    taken: dict[str, list[float]] = {name: [] for name in everyone}
    everyone[OURS]()  # the first call compiles
    for _ in range(rounds):
        for name, run in everyone.items():
            begin = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - begin)
    print("| | seconds | all our scores take, of that |\n|---|---|---|")
    for name, times in taken.items():
        ratio = statistics.median(ours / other for ours, other in zip(taken[OURS], times, strict=True))
        print(f"| {name} | {statistics.median(times):.3f} | {ratio:.3f} |")


def write_folder(small: Path, folder: Path, cases: int, shape: tuple[int, ...], classes: int) -> None:
    import SimpleITK as sitk

    probabilities, labels = softmax_and_labels(small, shape, classes)
    for part in ("labels", "predictions"):
        (folder / part).mkdir(parents=True)
    np.savez_compressed(folder / "predictions" / "case_0.npz", **{KEY: probabilities})
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "labels" / "case_0.nii.gz"))
    for number in range(1, cases):
        for part, ending in (("predictions", "npz"), ("labels", "nii.gz")):
            content = (folder / part / f"case_0.{ending}").read_bytes()
            (folder / part / f"case_{number}.{ending}").write_bytes(content)
    names = {"background": 0} | {f"class_{number}": number for number in range(1, classes)}
    dataset = {"labels": names, "file_ending": ".nii.gz", "channel_names": {"0": "MRI"}, "numTraining": cases}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    plans = {"dataset_name": "Dataset001_Large", "image_reader_writer": "SimpleITKIO", "configurations": {}}
    (folder / "plans.json").write_text(json.dumps(plans | {"plans_name": "nnUNetPlans"}))


OPEN = """
import sys, time
from pathlib import Path
import numpy as np
begin = time.perf_counter()
for path in sorted((Path(sys.argv[1]) / "predictions").glob("*.npz")):
    np.load(path)["probabilities"]
print(time.perf_counter() - begin)
"""

EVALUATE = """
import sys, time
from pathlib import Path
from nnunet_nacl.evaluation.folder import evaluate_folder
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.summary import summarize
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    from nnunetv2.imageio import reader_writer_registry  # np.load has been imported too
    begin = time.perf_counter()
    files = folder / "labels", folder / "predictions", folder / "dataset.json", folder / "plans.json"
    summarize(evaluate_folder(*files, settings=Settings(hd95=sys.argv[2] == "hd95")))
    print(time.perf_counter() - begin)
"""


def measure_folder(small: Path, rounds: int, cases: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "folder"
        write_folder(small, folder, cases, SHAPE, 3)
        programs = {"np.load": (OPEN, "-"), "evaluate": (EVALUATE, "-"), "evaluate --hd95": (EVALUATE, "hd95")}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        run(EVALUATE, folder, "-")  # compiles, and fills the file cache
        for _ in range(rounds):
            for name, (program, argument) in programs.items():
                begin = time.perf_counter()
                inside = float(run(program, folder, argument))
                taken[name].append((inside, time.perf_counter() - begin))
    print(f"{cases} cases of 3 x {' x '.join(map(str, SHAPE))}, one process, medians of {rounds} rounds\n")
    print("| | seconds | / np.load | whole process / that of np.load |\n|---|---|---|---|")
    for name, times in taken.items():
        ratios = [
            statistics.median(own[kind] / base[kind] for own, base in zip(times, taken["np.load"], strict=True))
            for kind in (0, 1)
        ]
        print(f"| {name} | {statistics.median(own[0] for own in times):.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from nnunet_nacl.evaluation.case_result import evaluate_case
from nnunet_nacl.evaluation.cases import find_cases
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.evaluation.settings import Settings
def status(name):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024
for folder in map(Path, sys.argv[1:3]):
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the highest memory so far
    before = status("VmRSS")
    dataset = load_dataset(folder / "dataset.json", folder / "plans.json")
    (case,) = find_cases(folder / "labels", folder / "predictions", ".nii.gz")
    if sys.argv[3] == "evaluate":
        evaluate_case(case, dataset, Settings())
    else:
        np.load(case.probabilities)["probabilities"]
print(status("VmHWM") - before)
"""


def measure_memory(small: Path, figure: Path | None) -> None:
    sizes = [((48, 96, 96), 3), ((96, 128, 128), 3), ((160, 192, 192), 3), ((96, 128, 128), 14), ((96, 128, 128), 105)]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for shape, classes in sizes:
            folder = Path(temporary) / f"{classes}_{shape[0]}"
            warm_up = Path(temporary) / f"{classes}_{shape[0]}_warm_up"
            write_folder(small, warm_up, 1, (8, 8, 8), classes)
            write_folder(small, folder, 1, shape, classes)
            needs = [float(run(MEMORY, warm_up, folder, what)) for what in ("evaluate", "np.load")]
            rows.append((shape, classes, *needs))
    print("| voxels | classes | evaluate, MiB | bytes a voxel | np.load, MiB |\n|---|---|---|---|---|")
    for shape, classes, ours, numpy in rows:
        voxels = int(np.prod(shape))
        print(f"| {voxels:,} | {classes} | {ours / 2**20:.0f} | {ours / voxels:.0f} | {numpy / 2**20:.0f} |")
    if figure:
        plot_memory(rows, figure)


def plot_memory(rows: list[tuple[tuple[int, ...], int, float, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 3), layout="constrained")
    by_classes, by_size = drawing.subplots(1, 2)
    same_shape = [row for row in rows if row[0] == (96, 128, 128)]
    same_classes = [row for row in rows if row[1] == 3]
    for axes, chosen, place in (
        (by_classes, same_shape, [row[1] for row in same_shape]),
        (by_size, same_classes, [np.prod(row[0]) / 1e6 for row in same_classes]),
    ):
        for label, column, color in (("evaluate", 2, "#2b6cb0"), ("np.load", 3, "#dd6b20")):
            axes.plot(place, [row[column] / 2**20 for row in chosen], "o-", label=label, color=color)
        axes.set(ylabel="memory, MiB", ylim=(0, None))
    by_classes.set(xlabel="classes, 1.6 million voxels")
    by_size.set(xlabel="million voxels, 3 classes")
    by_classes.legend()
    drawing.savefig(path, dpi=130)
    print(f"wrote {path}")


def run(program: str, *arguments: object) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
    )
    if finished.returncode:
        raise SystemExit(finished.stderr)
    return finished.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("arrays", "folder", "memory"))
    parser.add_argument("small", type=Path, metavar="SMALL.npz")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=10, help="of the folder")
    parser.add_argument("--figure", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.what == "arrays":
        measure_arrays(arguments.small, arguments.rounds)
    elif arguments.what == "folder":
        measure_folder(arguments.small, arguments.rounds, arguments.cases)
    else:
        measure_memory(arguments.small, arguments.figure)


if __name__ == "__main__":
    main()
