"""Time and disk of a validation with softmax files against one in memory, and memory of a large case.

    python scripts/benchmark_validate.py model MODEL_FOLDER --folds 0 1
    python scripts/benchmark_validate.py case
    python scripts/benchmark_validate.py float16 PREDICTED LABELS

``model``: of each fold, what a user runs without this package's `validate`, ``nnUNetv2_train ... --val --npz`` and then ``nnunet-nacl evaluate``, against
``nnunet-nacl validate -f FOLD``, all on the CPU, in a copy of the model in a temporary nnUNet_results. nnU-Net's folders have to be set. Beside the wall-clock
time stands the CPU time of each command with its processes, which other work on the machine moves less.

``case``: a synthetic case of 256 x 256 x 160 voxels and 14 classes whose logits are 0.8 times as fine, as nnU-Net's predictor gives them: peak memory of nnU-Net's own
export with probabilities in one process, and of the export and evaluation in memory in another.

``float16``: a folder of softmax files and a copy of it in half precision, evaluated both: the size, and how far each score moves.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPE, CLASSES, FINENESS = (160, 256, 256), 14, 0.8


def timed(command, environment):
    """Run a command; return its wall-clock and CPU seconds, with those of its processes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(part) for part in command], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def benchmark_model(model, folds):
    trainer, plans, configuration = model.name.split("__")
    with tempfile.TemporaryDirectory() as results:
        environment = os.environ | {"nnUNet_results": results, "NNUNET_NACL_VALIDATE": "f", "nnUNet_compile": "f"}
        copy = Path(results, model.parent.name, model.name)
        copy.mkdir(parents=True)
        for name in ("dataset.json", "plans.json"):
            shutil.copy(model / name, copy)
        programs = Path(sys.executable).parent
        print("| fold | command | wall s | CPU s | disk MB |\n|---|---|---|---|---|")
        sums = {}
        for fold in folds:
            (copy / f"fold_{fold}").mkdir()
            shutil.copy(model / f"fold_{fold}" / "checkpoint_final.pth", copy / f"fold_{fold}")
            validation = copy / f"fold_{fold}" / "validation"
            commands = {
                "nnunet-nacl validate": [programs / "nnunet-nacl", "validate", copy, "-f", fold, "-device", "cpu"],
                "nnUNetv2_train --val --npz": [
                    programs / "nnUNetv2_train", copy.parent.name, configuration, fold, "-tr", trainer, "-p", plans,
                    "-device", "cpu", "--val", "--npz",
                ],
                "nnunet-nacl evaluate": [programs / "nnunet-nacl", "evaluate", validation],
            }  # fmt: skip
            for name, command in commands.items():
                seconds = timed(command, environment)
                sums[name] = [a + b for a, b in zip(sums.get(name, (0, 0)), seconds, strict=True)]
                disk = sum(path.stat().st_size for path in validation.glob("*.npz")) if "npz" in name else 0
                print(f"| {fold} | {name} | {seconds[0]:.1f} | {seconds[1]:.1f} | {disk / 1e6:.0f} |", flush=True)
        files = [a + b for a, b in zip(sums["nnUNetv2_train --val --npz"], sums["nnunet-nacl evaluate"], strict=True)]
        ratio = [a / b for a, b in zip(sums["nnunet-nacl validate"], files, strict=True)]
        print(
            f"validate / (train --val --npz + evaluate): {ratio[0]:.2f} of the wall-clock time, {ratio[1]:.2f} of the CPU time"
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
    for name in ("case", "files", "memory"):
        kinds.add_parser(name)
    half = kinds.add_parser("float16")
    half.add_argument("predicted", type=Path)
    half.add_argument("labels", type=Path)
    parsed = parser.parse_args()
    if parsed.kind == "model":
        benchmark_model(parsed.model, parsed.folds)
    elif parsed.kind == "float16":
        benchmark_half(parsed.predicted, parsed.labels)
    elif parsed.kind == "case":
        benchmark_case()
    else:
        one_case(parsed.kind)


if __name__ == "__main__":
    main()
