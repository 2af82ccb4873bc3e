"""Time and disk of a validation with softmax files against one in memory, and memory of a large case.

    python scripts/benchmark_validate.py model MODEL_FOLDER --folds 0 1 2 3 4 --cases 4
    python scripts/benchmark_validate.py case
    python scripts/benchmark_validate.py float16 PREDICTED LABELS

``model``: what a user runs without this package's `validate`, ``nnUNetv2_train ... --val --npz`` and ``nnunet-nacl evaluate`` for each fold and ``nnunet-nacl merge``,
against one ``nnunet-nacl validate -f FOLDS`` without and with ``--batch-mirrors``, all on the CPU, in a copy of the model in a temporary nnUNet_results; with ``--cases N`` on
the first N validation cases of each fold. nnU-Net's folders have to be set. Beside the wall-clock time stands the CPU time of each command with its processes, which other
work on the machine moves less, and the median time from one case to the next, of which a run of more cases takes more. What the three found is compared.

``case``: a synthetic case of 256 x 256 x 160 voxels and 14 classes whose logits are 0.8 times as fine, as nnU-Net's predictor gives them: peak memory of nnU-Net's own
export with probabilities in one process, and of the export and evaluation in memory in another.

``float16``: a folder of softmax files and a copy of it in half precision, evaluated both: the size, and how far each score moves.
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

SHAPE, CLASSES, FINENESS = (160, 256, 256), 14, 0.8


PROGRAMS = Path(sys.executable).parent


def timed(environment, program, *arguments):
    """Run a program; return its wall-clock and CPU seconds, with those of its processes, and the seconds between the cases it tells of."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [str(part) for part in (PROGRAMS / program, *arguments)]
    told, line = [], ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        for line in running.stdout:
            if "predicting " in line or line.startswith("validating: "):
                told.append(time.perf_counter())
    if running.returncode:
        sys.exit(f"{' '.join(command)} failed: {line.strip()}")
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, [second - first for first, second in itertools.pairwise(told)]


def copied(model, folds, n_cases, place):
    """Return a copy of a model in a temporary nnUNet_results, and the variables with which it has the first cases of each fold alone."""
    copy = Path(place, "results", model.parent.name, model.name)
    copy.mkdir(parents=True)
    for name in ("dataset.json", "plans.json", *(f"fold_{fold}/checkpoint_final.pth" for fold in folds)):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(model / name, copy / name)
    source, preprocessed = Path(os.environ["nnUNet_preprocessed"], model.parent.name), Path(place, "preprocessed")
    (preprocessed / model.parent.name).mkdir(parents=True)
    for path in source.iterdir():
        (preprocessed / model.parent.name / path.name).symlink_to(path.resolve())
    splits = preprocessed / model.parent.name / "splits_final.json"
    content = [split | {"val": sorted(split["val"])[:n_cases]} for split in json.loads(splits.read_text())]
    splits.unlink()
    splits.write_text(json.dumps(content))
    return copy, os.environ | {
        "nnUNet_results": str(copy.parents[1]), "nnUNet_preprocessed": str(preprocessed), "NNUNET_NACL_VALIDATE": "f",
        "nnUNet_compile": "f", "nnUNet_def_n_proc": str(os.cpu_count()),
    }  # fmt: skip


def benchmark_model(model, folds, n_cases):
    trainer, plans, configuration = model.name.split("__")
    with tempfile.TemporaryDirectory() as place:
        copy, environment = copied(model, folds, n_cases, place)
        commands = []
        for fold in folds:
            train = (
                copy.parent.name,
                configuration,
                fold,
                "-tr",
                trainer,
                "-p",
                plans,
                "-device",
                "cpu",
                "--val",
                "--npz",
            )
            commands += [("files", "nnUNetv2_train --val --npz", "nnUNetv2_train", *train),
                         ("files", "nnunet-nacl evaluate", "nnunet-nacl", "evaluate", copy / f"fold_{fold}" / "validation")]  # fmt: skip
        of_folds = [copy / f"fold_{fold}" / "validation" for fold in folds]
        merge = ("files", "nnunet-nacl merge", "nnunet-nacl", "merge", *of_folds, "-o", Path(place, "files"))
        for way, *options in (("validate",), ("validate --batch-mirrors", "--batch-mirrors")):
            validate = ("validate", copy, "-f", *folds, "-device", "cpu", "-o", Path(place, way), *options)
            commands.append((way, f"nnunet-nacl {way}", "nnunet-nacl", *validate))
        sums, cases = defaultdict(lambda: (0.0, 0.0)), defaultdict(list)
        print("| command | wall s | CPU s |\n|---|---|---|")
        for way, name, program, *arguments in [*commands[:-2], merge, *commands[-2:]]:
            wall, cpu, between = timed(environment, program, *arguments)
            sums[way] = (sums[way][0] + wall, sums[way][1] + cpu)
            cases[way] += between
            print(f"| {name} | {wall:.1f} | {cpu:.1f} |", flush=True)
        softmax = sum(path.stat().st_size for folder in of_folds for path in folder.glob("*.npz"))
        print(
            f"\nsoftmax files: {softmax / 1e6:.1f} MB\n| | wall s | CPU s | from case to case, s | of the wall-clock time | of the CPU time |\n|---|---|---|---|---|---|"
        )
        for way, (wall, cpu) in sums.items():
            ratios = [f"{mine / files:.2f}" for mine, files in zip((wall, cpu), sums["files"], strict=True)]
            print(
                f"| {way} | {wall:.1f} | {cpu:.1f} | {statistics.median(cases[way]):.2f} | {ratios[0]} | {ratios[1]} |"
            )
        for way in list(sums)[1:]:
            compare_results(Path(place, "files"), Path(place, way), way)


def compare_results(files, memory, way):
    """Print how many voxels have another prediction or confidence bin, and how far scores moved."""
    import numpy as np

    from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result
    from nnunet_nacl.evaluation.summary import SCORE_NAMES, summarize

    pairs = list(zip(*(read_result(folder / BINS_FILE).cases for folder in (files, memory)), strict=True))
    moved = {
        name: sum(int(np.abs(getattr(a, name) - getattr(b, name)).sum()) // 2 for one, two in pairs for a, b in zip(one.problems, two.problems, strict=True))
        for name in ("confusion", "top_count")
    }  # fmt: skip
    voxels = sum(int(problem.confusion.sum()) for one, _ in pairs for problem in one.problems)
    print(
        f"{way}: of {voxels} voxels {moved['confusion']} changed in the confusion matrices, {moved['top_count']} in the bins of confidence"
    )
    first, second = (summarize(read_result(folder / BINS_FILE))["per_case"]["all"] for folder in (files, memory))
    print(
        "  means over cases moved by "
        + ", ".join(f"{score} {abs(first[score] - second[score]):.0e}" for score in SCORE_NAMES)
    )


def benchmark_case():
    for kind in ("files", "memory"):
        finished = subprocess.run([sys.executable, __file__, kind], check=True, capture_output=True, text=True)
        print(finished.stdout.strip().splitlines()[-1], flush=True)


def synthetic(folder):
    """Return the label file of a synthetic case, its logits, properties, and what the model was trained with."""
    import json

    import numpy as np
    import SimpleITK as sitk
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_nacl.evaluation.dataset import load_dataset
    from nnunet_nacl.validation.case_inputs import Preprocessing

    rng = np.random.default_rng(0)
    labels = (
        rng.integers(0, CLASSES, [side // 16 for side in SHAPE], np.uint8).repeat(16, 0).repeat(16, 1).repeat(16, 2)
    )
    image = sitk.GetImageFromArray(labels)
    sitk.WriteImage(image, str(folder / "case.nii.gz"))
    coarse = [round(side * FINENESS) for side in SHAPE]
    logits = rng.normal(0, 1, (CLASSES, *coarse)).astype(np.float16)
    names = {"background": 0} | {f"organ_{number}": number for number in range(1, CLASSES)}
    dataset = {"labels": names, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": 1}
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "spacing": [1 / FINENESS] * 3, "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling, "architecture": {},
    }  # fmt: skip
    plans = {
        "dataset_name": "Dataset999_Synthetic", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager", "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
    }  # fmt: skip
    for name, content in (("dataset", dataset), ("plans", plans)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    properties = {
        "spacing": [1.0] * 3, "shape_before_cropping": SHAPE, "shape_after_cropping_and_before_resampling": SHAPE,
        "bbox_used_for_cropping": [[0, side] for side in SHAPE],
        "sitk_stuff": {"spacing": (1.0,) * 3, "origin": (0.0,) * 3, "direction": (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)},
    }  # fmt: skip
    manager = PlansManager(plans)
    preprocessing = Preprocessing(manager, manager.get_configuration("3d_fullres"), dataset)
    return logits, properties, preprocessing, load_dataset(folder / "dataset.json", folder / "plans.json")


def one_case(kind):
    from nnunetv2.inference.export_prediction import export_prediction_from_logits

    from nnunet_nacl.evaluation.cases import Case
    from nnunet_nacl.evaluation.settings import Settings
    from nnunet_nacl.validation.predicted_case import Work, evaluate_work

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        logits, properties, preprocessing, dataset = synthetic(folder)
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        if kind == "files":
            export_prediction_from_logits(
                logits, properties, preprocessing.configuration, preprocessing.plans, preprocessing.dataset_json,
                str(folder / "predicted"), True,
            )  # fmt: skip
            what = "nnU-Net's export, with probabilities"
        else:
            case = Case("case", folder / "predicted.npz", folder / "case.nii.gz")
            evaluate_work(Work(case, logits, properties, preprocessing, dataset, Settings(), os.cpu_count() or 1))
            what = "export and evaluation in memory"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        disk = sum(path.stat().st_size for path in folder.glob("predicted.npz"))
        print(f"{what}: peak {peak / 2**20:.2f} GiB, of which {held / 2**20:.2f} GiB before it began; {time.perf_counter() - began:.0f} s; "
              f"{disk / 1e6:.0f} MB of softmax")  # fmt: skip


def benchmark_half(predicted, labels):
    import numpy as np

    from nnunet_nacl.evaluation import evaluate_folder
    from nnunet_nacl.evaluation.summary import SCORE_NAMES, summarize

    model = predicted if (predicted / "plans.json").is_file() else predicted.resolve().parent.parent
    files = model / "dataset.json", model / "plans.json"
    with tempfile.TemporaryDirectory() as place:
        half = Path(place)
        for path in sorted(predicted.glob("*.npz")):
            with np.load(path, allow_pickle=False) as arrays:
                np.savez_compressed(half / path.name, probabilities=arrays["probabilities"].astype(np.float16))
        sizes = [sum(path.stat().st_size for path in folder.glob("*.npz")) for folder in (predicted, half)]
        single, rounded = (summarize(evaluate_folder(labels, folder, *files)) for folder in (predicted, half))
    print(
        f"{len(single['metric_per_case'])} cases: {sizes[0] / 1e6:.1f} MB in single, {sizes[1] / 1e6:.1f} MB in half precision"
    )
    print(
        "| score | largest difference of a case, voxel set all | predicted | of the mean over cases, all | predicted |\n|---|---|---|---|---|"
    )
    dice = [
        abs(a["metrics"][label]["Dice"] - b["metrics"][label]["Dice"])
        for a, b in zip(single["metric_per_case"], rounded["metric_per_case"], strict=True)
        for label in a["metrics"] if a["metrics"][label]["Dice"] is not None
    ]  # fmt: skip
    of_mean = abs(single["foreground_mean"]["Dice"] - rounded["foreground_mean"]["Dice"])
    print(f"| Dice | {max(dice):.1e} | | {of_mean:.1e} | |")
    for score in SCORE_NAMES:
        cells = []
        for pairs in (list(zip(single["metric_per_case"], rounded["metric_per_case"], strict=True)), None):
            for voxels in ("all", "predicted"):
                if pairs is None:
                    found = [abs(single["per_case"][voxels][score] - rounded["per_case"][voxels][score])]
                else:
                    values = [[each["voxel_sets"][voxels][score] for each in pair] for pair in pairs]
                    found = [abs(a - b) for a, b in values if a is not None and b is not None]
                cells.append(f"{max(found):.1e}")
        print(f"| {score} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    model = kinds.add_parser("model")
    model.add_argument("model", type=Path)
    model.add_argument("--folds", nargs="+", default=["0"])
    model.add_argument("--cases", type=int, default=None, help="of each fold (default: all)")
    for name in ("case", "files", "memory"):
        kinds.add_parser(name)
    half = kinds.add_parser("float16")
    half.add_argument("predicted", type=Path)
    half.add_argument("labels", type=Path)
    parsed = parser.parse_args()
    if parsed.kind == "model":
        benchmark_model(parsed.model, parsed.folds, parsed.cases)
    elif parsed.kind == "float16":
        benchmark_half(parsed.predicted, parsed.labels)
    elif parsed.kind == "case":
        benchmark_case()
    else:
        one_case(parsed.kind)


if __name__ == "__main__":
    main()
