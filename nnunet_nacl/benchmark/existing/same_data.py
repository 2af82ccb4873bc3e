"""Whether what lies in nnU-Net's folders was made from the data, the plans and the split that a study names.

nnU-Net knows a data set by its name, and so would a study that takes over what is there. Each step here compares the content instead
(data_identity.py) and refuses what differs; nothing is removed. Where a folder was made by hand and has no record, what it holds by
itself is compared: names and labels of its cases, the planner, and the plans that a training noted.
"""

from __future__ import annotations

from pathlib import Path

from nnunet_nacl.benchmark.config.study import Study, TaskEntry
from nnunet_nacl.benchmark.existing.same_method import check_methods
from nnunet_nacl.benchmark.existing.same_plans import check_cpu_plans, check_planner, check_trained_plans
from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.data_identity import Cases, difference, digest
from nnunet_nacl.benchmark.tasks.data_record import preprocessed_cases, raw_cases, read_record
from nnunet_nacl.benchmark.tasks.imported import check_imported, other_data
from nnunet_nacl.benchmark.tasks.phantom import is_phantom
from nnunet_nacl.benchmark.tasks.split import SPLITS, Split, check_split, read_splits
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import mapping_if_any, read_mapping

_TASK_KEYS = ("labels", "regions_class_order", "channel_names", "file_ending")
"""Of dataset.json: what a training learns and from what."""


def check_study(study: Study) -> None:
    """Raise InputError where anything that a study would run on, or has run on, is other than its file says."""
    jobs = all_jobs(study).values()
    for job in jobs:
        check_same(study, job)
    check_methods(Places(study), jobs)


def check_same(study: Study, job: Job) -> None:
    """Raise InputError where what is there for a job, whoever made it, was made from something else; the message says how it differs."""
    places = Places(study)
    raw, preprocessed = places.raw / job.dataset, places.preprocessed / job.dataset
    if job.rule == "phantom":
        _check_phantom(study, study.task(job.dataset), Path(job.command[2]))
    elif job.rule == "import":
        _check_import(study, job, raw, preprocessed)
    elif job.rule == "plan":
        check_preprocessed(raw, preprocessed)
        check_planner(study, preprocessed)
    elif job.rule == "cpu_plans":
        check_cpu_plans(study, preprocessed)
    elif job.rule == "split":
        check_split(preprocessed, study.folds, preprocessed_cases(preprocessed))
    elif job.rule == "train":
        assert job.trainer is not None
        assert job.fold is not None
        check_split(preprocessed, (job.fold,), preprocessed_cases(preprocessed))
        fold = places.fold(job.dataset, job.trainer, job.fold, job.training)
        _check_fold(study, fold, preprocessed, job.fold)


def data_set(study: Study, dataset: str) -> Cases | None:
    """Return the cases that a study runs on, as they lie in nnUNet_raw or else nnUNet_preprocessed; None where there are none yet."""
    places = Places(study)
    raw = places.raw / dataset
    return raw_cases(raw) if (raw / "dataset.json").is_file() else preprocessed_cases(places.preprocessed / dataset)


def check_preprocessed(raw: Path, preprocessed: Path) -> None:
    """Raise InputError where preprocessed data were made from other raw data than are there now."""
    held = preprocessed_cases(preprocessed)
    if held is None or not (raw / "dataset.json").is_file():
        return
    what = difference(raw_cases(raw), held)
    if what is None:
        now, then = (read_mapping(folder / "dataset.json", "") for folder in (raw, preprocessed))
        what = next(
            (f"`{key}` of its dataset.json is another" for key in _TASK_KEYS if now.get(key) != then.get(key)), None
        )
    if what is not None:
        raise other_data(preprocessed, str(raw), what)


def _check_phantom(study: Study, task: TaskEntry, folder: Path) -> None:
    if not (folder / "dataset.json").is_file():
        return
    assert task.phantom is not None
    if not is_phantom(folder / "labelsTr", *task.phantom, study.phantom_seed):
        cases, size = task.phantom
        wanted = f"{cases} phantoms of {size} voxels a side with seed {study.phantom_seed}"
        raise InputError(
            f"{folder} holds other phantoms than {wanted}, for which the study asks. Nothing of it is changed. Give the task another "
            f"name, or move the folder away with what was made from it in nnU-Net's folders."
        )


def _check_import(study: Study, job: Job, raw: Path, preprocessed: Path) -> None:
    cases = data_set(study, job.dataset)
    if cases is None:
        return
    folder = raw if (raw / "dataset.json").is_file() else preprocessed
    places, task = Places(study), study.task(job.dataset)
    source = places.source(task)
    if source is not None and not source.exists():
        # gone since it was imported: the marker knows what that was
        if mapping_if_any(places.marker(job.name)).get("data") == digest(cases):
            return
        if task.phantom is not None:
            _check_drawn(study, task, folder)
            return
    check_imported(task.name, source, folder, cases, places.raw / ".msd")


def _check_drawn(study: Study, task: TaskEntry, folder: Path) -> None:
    """Raise InputError where a folder of nnU-Net's holds other phantoms than those that are not drawn yet."""
    assert task.phantom is not None
    labels = next(path for path in (folder / "labelsTr", folder / "gt_segmentations") if path.is_dir())
    if not is_phantom(labels, *task.phantom, study.phantom_seed):
        cases, size = task.phantom
        raise other_data(folder, f"{cases} phantoms of {size} voxels a side", "it was drawn with other numbers")


def _check_fold(study: Study, folder: Path, preprocessed: Path, fold: int) -> None:
    if not any(folder.glob("checkpoint_*.pth")):
        return
    record, cases = read_record(folder), preprocessed_cases(preprocessed)
    if record is not None and cases is not None:
        what = difference(cases, record.cases)
        if what is not None:
            raise InputError(
                f"{folder} was trained on other data than {preprocessed} holds: {what}. Move it away to train it anew."
            )
    splits = read_splits(preprocessed)
    if splits is not None:
        _check_trained_split(folder, splits[fold], record.split if record is not None else None, preprocessed / SPLITS)
    check_trained_plans(study, folder, preprocessed)


def _check_trained_split(folder: Path, split: Split, trained: Split | None, path: Path) -> None:
    if trained is not None and any(set(trained[part]) != set(split[part]) for part in ("train", "val")):
        raise InputError(f"{folder} was trained on another split than {path} has now. Move it away to train it anew.")
    validated = {file.stem for file in (folder / "validation").glob("[!.]*.npz")}
    more = sorted(validated.difference(split["val"]))
    if more:
        raise InputError(
            f"{folder / 'validation'} holds {len(more)} cases that are not validated in this fold of {path}, such as {more[0]}: it is of "
            f"another split. Move the fold's folder away to train it anew, or those files if they are left over."
        )
