"""What is there already, so that a benchmark takes it over: imported and planned data, trained folds, broken checkpoints."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.existing.same_data import check_same
from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.split import SPLITS
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.files import json_files

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
"""In the order in which ``nnUNetv2_train --c`` looks for them."""


def is_finished(study: Study, job: Job) -> bool:
    """Return whether the result of a job is there, complete, so that its command need not run.

    Evaluations, comparisons and reports are always made again: they are quick beside a training, and new versions may
    write them differently.

    Raises:
        InputError: something is there under the same name that was made differently, or from other data.
    """
    check_same(study, job)
    places = Places(study)
    preprocessed = places.preprocessed / job.dataset
    if job.rule == "phantom":
        return Path(job.command[2], "dataset.json").is_file()
    if job.rule == "import":
        return (places.raw / job.dataset / "dataset.json").is_file() or _preprocessed(study, preprocessed)
    if job.rule == "plan":
        return _preprocessed(study, preprocessed)
    if job.rule == "cpu_plans":
        return _has_cpu_plans(study, preprocessed)
    if job.rule == "split":
        return (preprocessed / SPLITS).is_file()
    if job.rule == "train":
        assert job.trainer is not None
        assert job.fold is not None
        return is_fold_finished(places.fold(job.dataset, job.trainer, job.fold, job.training), preprocessed, job.fold)
    return False


def is_fold_finished(folder: Path, preprocessed: Path, fold: int) -> bool:
    """Return whether a fold is trained, and validated with probabilities of each case of its split.

    nnU-Net writes validation/summary.json last. The softmax files are asked for by name, since a fold may have been trained
    without ``--npz``.
    """
    validation = folder / "validation"
    if not (is_readable(folder / CHECKPOINTS[0]) and (validation / "summary.json").is_file()):
        return False
    splits_file = preprocessed / SPLITS
    with _of_nnunet(splits_file):
        cases = json_files.read(splits_file, finite=False)[fold]["val"]
        return all(zipfile.is_zipfile(validation / f"{case}.npz") for case in cases)


def set_broken_checkpoints_aside(folder: Path) -> list[str]:
    """Rename the checkpoints that cannot be read, so that ``--c`` goes on from the next best; return what was done.

    nnU-Net writes a checkpoint in place. A process that is killed meanwhile leaves half a file, on which ``--c`` would die.
    """
    done = []
    for name in CHECKPOINTS:
        path = folder / name
        if path.is_file() and not is_readable(path):
            path.replace(path.with_name(f"{name}.broken"))
            done.append(f"{path} cannot be read (its writing was probably interrupted); renamed it to {name}.broken")
    if done:
        left = [name for name in CHECKPOINTS if (folder / name).is_file()]
        done.append(f"going on from {left[0]}" if left else "no checkpoint is left: starting over")
    return done


def is_readable(checkpoint: Path) -> bool:
    """Return whether a checkpoint is complete: a zip archive whose members have their checksums (nothing is unpickled)."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (
        Exception
    ):  # zipfile fails on damaged files in many ways: struct.error, NotImplementedError, RuntimeError, ...
        return False


def _preprocessed(study: Study, folder: Path) -> bool:
    """Return whether the planned configuration is there with all cases; nnU-Net writes a case's .pkl last."""
    plans_file = folder / f"{study.planned}.json"
    if not (plans_file.is_file() and (folder / "dataset.json").is_file()):
        return False
    with _of_nnunet(plans_file):
        configuration = json_files.read(plans_file, finite=False)["configurations"].get(study.configuration)
        if configuration is None:
            return False
        done = len(list((folder / configuration["data_identifier"]).glob("*.pkl")))
    with _of_nnunet(folder / "dataset.json"):
        n_cases = json_files.read(folder / "dataset.json", finite=False).get("numTraining")
    return done > 0 and done == n_cases == len(list((folder / "gt_segmentations").iterdir()))


def _has_cpu_plans(study: Study, folder: Path) -> bool:
    plans_file = folder / f"{study.plans}.json"
    if not plans_file.is_file():
        return False
    with _of_nnunet(plans_file):
        configurations = json_files.read(plans_file, finite=False)["configurations"]
        return configurations.get(study.configuration, {}).get("patch_size") is not None


@contextmanager
def _of_nnunet(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the content of a file into an InputError."""
    try:
        yield
    except InputError:
        raise
    # OSError: unreadable, or a name in it that no file can have
    except (LookupError, TypeError, AttributeError, ValueError, OSError) as error:
        raise InputError(f"{path}: is not as nnU-Net writes it ({first_line(error)}).") from error
