"""Speed and memory of the evaluator, beside its peers and beside opening the files.

    python scripts/benchmark_evaluation.py arrays --small SMALL.npz   all scores, beside one score of other libraries
    python scripts/benchmark_evaluation.py folder --labels smooth     a folder of softmax files, beside np.load of them
    python scripts/benchmark_evaluation.py start                      the whole command on one tiny case
    python scripts/benchmark_evaluation.py many --cases 1000          many cases of 32 x 32 x 32, and a report of two runs
    python scripts/benchmark_evaluation.py memory --small SMALL.npz --figure docs/images/evaluation_memory.png

SMALL.npz is a softmax file of nnU-Net with three classes, e.g. of the hippocampus; the data are it enlarged (see
benchmark_reading.py): a small structure in much background, each case the same. `--labels smooth` makes other data, each case its own:
blobs of about ten voxels that fill the volume; `--labels noisy` the same probabilities with labels drawn from them, so that nearly every
voxel is at an interface. All in turn, several rounds; least and median over the rounds of the ratios within a round, so that a
drifting machine does not matter. `--alone` (as root) measures at real-time priority: whatever else runs on the machine waits meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
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
PRIORITY: list[str] = []  # what a program is started by
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
    write_description(folder, classes, cases)


def write_description(folder: Path, classes: int, cases: int) -> None:
    names = {"background": 0} | {f"class_{number}": number for number in range(1, classes)}
    dataset = {"labels": names, "file_ending": ".nii.gz", "channel_names": {"0": "MRI"}, "numTraining": cases}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    plans = {"dataset_name": "Dataset001_Large", "image_reader_writer": "SimpleITKIO", "configurations": {}}
    (folder / "plans.json").write_text(json.dumps(plans | {"plans_name": "nnUNetPlans"}))


OPEN = """
import sys, time
from pathlib import Path
import numpy as np
def work(folder):
    for path in sorted((folder / "predictions").glob("*.npz")):
        np.load(path)["probabilities"]
"""

EVALUATE = """
import sys, time
from pathlib import Path
from nnunet_nacl.evaluation.folder import evaluate_folder
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.summary import summarize
def work(folder):
    files = folder / "labels", folder / "predictions", folder / "dataset.json", folder / "plans.json"
    summarize(evaluate_folder(*files, settings=Settings(hd95=sys.argv[2] == "hd95")))
"""

MEASURED = """
if __name__ == "__main__":
    work(Path(sys.argv[1]) / "tiny")  # imports, and loads what is compiled: the start is measured by itself
    begin, used = time.perf_counter(), time.process_time()
    work(Path(sys.argv[1]) / "large")
    print(time.perf_counter() - begin, time.process_time() - used)
"""


def blobs(seed: int, shape: tuple[int, ...], noisy: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities ``(3, *shape)`` of blobs of about ten voxels, and labels that differ from them as a network's do."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)

    def fields() -> np.ndarray:
        return np.stack([gaussian_filter(rng.normal(size=shape).astype(np.float32), 5) for _ in range(3)])

    logits = fields()
    logits *= 3 / logits.std()
    logits[0] += 1.5
    probabilities = np.exp(logits - logits.max(0))
    probabilities /= probabilities.sum(0)
    if noisy:
        labels = (rng.random(shape, dtype=np.float32) > np.cumsum(probabilities, 0)).sum(0).clip(0, 2)
    else:
        moved = fields()
        labels = (logits + moved / moved.std()).argmax(0)
    return probabilities, labels.astype(np.uint8)


def write_blobs(folder: Path, cases: int, shape: tuple[int, ...], noisy: bool) -> None:
    import SimpleITK as sitk

    for part in ("labels", "predictions"):
        (folder / part).mkdir(parents=True)
    for number in range(cases):
        probabilities, labels = blobs(number, shape, noisy)
        np.savez_compressed(folder / "predictions" / f"case_{number:04d}.npz", **{KEY: probabilities})
        # as nnU-Net writes it, with what is read of it as well
        for path, values in (("labels", labels), ("predictions", probabilities.argmax(0).astype(np.uint8))):
            sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / path / f"case_{number:04d}.nii.gz"))
    write_description(folder, 3, cases)


def measure_folder(kind: str, small: Path | None, rounds: int, cases: int, hd95: bool) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_blobs(folder / "tiny", 1, (16, 16, 16), noisy=True)
        if kind == "small":
            assert small is not None
            write_folder(small, folder / "large", cases, SHAPE, 3)
        else:
            write_blobs(folder / "large", cases, SHAPE, kind == "noisy")
        programs = {"np.load": (OPEN, "-"), "evaluate": (EVALUATE, "-")} | (
            {"evaluate --hd95": (EVALUATE, "hd95")} if hd95 else {}
        )
        taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in programs}
        run(EVALUATE + MEASURED, folder, "-")  # compiles, and fills the file cache
        for _ in range(rounds):
            for name, (program, argument) in programs.items():
                begin = time.perf_counter()
                inside = map(float, run(program + MEASURED, folder, argument).split())
                taken[name].append((*inside, time.perf_counter() - begin))
    print(
        f"{cases} cases of 3 x {' x '.join(map(str, SHAPE))}, labels {kind}, one process, {rounds} rounds: least, median\n"
    )
    print("| | seconds | / np.load | CPU seconds / np.load | whole process / that of np.load |\n|---|---|---|---|---|")
    for name, times in taken.items():
        ratios = [
            [own[part] / base[part] for own, base in zip(times, taken["np.load"], strict=True)] for part in range(3)
        ]
        shown = [
            f"{min(values):.2f}, {statistics.median(values):.2f}" for values in ([own[0] for own in times], *ratios)
        ]
        print(f"| {name} | {' | '.join(shown)} |")


def measure_start(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "folder"
        write_blobs(folder, 1, (16, 16, 16), noisy=True)
        taken = [command("evaluate", folder) for _ in range(rounds + 1)][1:]  # the first one compiles
    print("whole command on one case of 16 x 16 x 16, least and median: wall, CPU seconds; MiB")
    for column in zip(*taken, strict=True):
        print(f"{min(column):.2f}, {statistics.median(column):.2f}")


def measure_many(rounds: int, cases: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "folder"
        write_blobs(folder, cases, (32, 32, 32), noisy=False)
        print(f"{cases} cases of 32 x 32 x 32: wall, CPU seconds; MiB")
        for _ in range(rounds):
            print("evaluate", *(f"{value:.1f}" for value in command("evaluate", folder)))
            shutil.copytree(folder / "out", folder / "other", dirs_exist_ok=True)
            print("report of two runs", *(f"{value:.1f}" for value in command("report", folder)))


def command(name: str, folder: Path) -> tuple[float, float, float]:
    """Run a command and return its wall time, its CPU time and its largest resident size in MiB."""
    import resource

    files = ["-gt", folder / "labels", "-djfile", folder / "dataset.json", "-pfile", folder / "plans.json"]
    arguments = {
        "evaluate": [folder / "predictions", *files, "-np", 1, "-o", folder / "out", "--fresh"],
        "report": [folder / "out", folder / "other", "-o", folder / "report.html"],
    }[name]
    program = (
        "import resource, sys; from nnunet_nacl.cli import main; status = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); sys.exit(status)"
    )
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    mebibytes = float(run(program, name, *arguments))
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, mebibytes


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
        [*PRIORITY, sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
    )
    if finished.returncode:
        raise SystemExit(finished.stderr)
    return finished.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("arrays", "folder", "start", "many", "memory"))
    parser.add_argument(
        "--small", type=Path, default=None, metavar="SMALL.npz", help="for arrays, memory, --labels small"
    )
    parser.add_argument("--labels", choices=("small", "smooth", "noisy"), default="smooth", help="of the folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=10, help="of the folder")
    parser.add_argument("--hd95", action="store_true", help="of the folder, also with HD95")
    parser.add_argument("--alone", action="store_true", help="at real-time priority (chrt --fifo)")
    parser.add_argument("--figure", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.alone:
        PRIORITY.extend(["chrt", "--fifo", "1"])
    needs_small = arguments.what in ("arrays", "memory") or (arguments.what, arguments.labels) == ("folder", "small")
    if needs_small and arguments.small is None:
        parser.error("expected --small SMALL.npz")
    if arguments.what == "start":
        measure_start(arguments.rounds)
    elif arguments.what == "many":
        measure_many(arguments.rounds, arguments.cases)
    elif arguments.what == "arrays":
        measure_arrays(arguments.small, arguments.rounds)
    elif arguments.what == "folder":
        measure_folder(arguments.labels, arguments.small, arguments.rounds, arguments.cases, arguments.hd95)
    else:
        measure_memory(arguments.small, arguments.figure)


if __name__ == "__main__":
    main()
