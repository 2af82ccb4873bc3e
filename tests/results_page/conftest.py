"""A small study that is finished: three trainers, two folds, all that the workflow writes, made of the phantom without a training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from finished_study import DATASET, LENGTH, TRAINERS
from studies import write_study

from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.bins_file import read_result, result_folder, write_result
from nnunet_nacl.evaluation.folder import evaluate_folder
from nnunet_nacl.evaluation.merging import merge_results
from nnunet_nacl.evaluation.output import write_summary
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.summary import summarize


def softmax_of(trainer, posterior):
    """The baseline is overconfident, NACL the truth, and CE takes one class for the other."""
    if trainer == "nnUNetTrainer":
        posterior = posterior**2
    if trainer == "nnUNetTrainerCELoss":
        posterior = posterior[[0, 2, 1]]
    return (posterior / posterior.sum(0)).astype(np.float32)


def write_fold(folder, trainer, posteriors, labels):
    """Write what nnU-Net leaves of a fold: softmax files, segmentations, and debug.json."""
    (folder / "validation").mkdir(parents=True)
    for path in posteriors:
        softmax = softmax_of(trainer, np.load(path)["probabilities"].astype(float))
        np.savez_compressed(folder / "validation" / path.name, probabilities=softmax)
        image = sitk.GetImageFromArray(softmax.argmax(0).astype(np.uint8))
        image.CopyInformation(sitk.ReadImage(str(labels / f"{path.stem}.nii.gz")))
        sitk.WriteImage(image, str(folder / "validation" / f"{path.stem}.nii.gz"))
    debug = {"num_epochs": "3", "num_iterations_per_epoch": "30", "device": "cpu", "torch_version": "2.0.0+test"}
    (folder / "debug.json").write_text(json.dumps(debug))


def run_job(job):
    """Run a job of ours in this process; evaluations and merges without their figures, which nobody looks at here."""
    command = job.command
    if job.rule in ("evaluate", "evaluate_tempered"):
        output = command[command.index("-o") + 1] if "-o" in command else f"{command[2]}/calibration"
        result = evaluate_folder(command[4], command[2], command[6], command[8], 1, Settings(hd95=True))
        write(result, output)
    elif job.rule in ("merge", "merge_tempered"):
        folders = [result_folder(Path(folder)) for folder in command[2 : command.index("-o")]]
        write(merge_results({folder: read_result(folder / "calibration_bins.npz") for folder in folders}), command[-1])
    else:
        assert main(list(command[1:])) == 0


def write(result, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_summary(summarize(result), folder)
    write_result(result, folder)


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """nnU-Net's folders are the study's own."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def finished(phantom_task, dataset_files, tmp_path_factory):
    """The folder of the study; not to be changed."""
    root = tmp_path_factory.mktemp("studies") / "my study"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            patch.delenv(name, raising=False)
        patch.setenv("nnUNet_def_n_proc", "1")
        study = write_study(root, trainers=list(TRAINERS), length=LENGTH)
        places = Places(study)
        files = places.preprocessed / DATASET
        files.mkdir(parents=True)
        shutil.copytree(phantom_task / "labelsTr", files / "gt_segmentations")
        shutil.copy(dataset_files[0], files / "dataset.json")
        shutil.copy(dataset_files[1], files / f"{study.plans}.json")
        posteriors = sorted((phantom_task / "posteriorTr").glob("*.npz"))
        for base, trainer in zip(TRAINERS, study.trainers, strict=True):
            for fold in study.folds:
                folder = places.fold(DATASET, trainer, fold)
                write_fold(folder, base, posteriors[fold::2], phantom_task / "labelsTr")
        prepared = ("phantom", "import", "plan", "cpu_plans", "split", "train", "report")
        for job in all_jobs(study).values():
            if job.rule not in prepared and "curves" not in job.rule:
                run_job(job)
    return root


@pytest.fixture
def copied(finished, tmp_path):
    """A copy to change; the softmax files and the segmentations stay behind."""
    ignored = shutil.ignore_patterns("*.nii.gz", "phantom_*.npz")
    return shutil.copytree(finished, tmp_path / "my study", ignore=ignored)
