"""What a step writes beside the data that it makes, so that they are known again (data_record.py)."""

from __future__ import annotations

from contextlib import suppress

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.existing.same_data import data_set
from nnunet_nacl.benchmark.plan.job import Job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.data_record import preprocessed_cases, write_record
from nnunet_nacl.benchmark.tasks.split import read_splits


def record_preprocessed(study: Study, job: Job) -> None:
    """Write beside preprocessed data which raw data they were made from."""
    folder, cases = Places(study).preprocessed / job.dataset, data_set(study, job.dataset)
    if cases is not None and folder.is_dir():
        write_record(folder, cases)


def record_training(study: Study, job: Job) -> None:
    """Write beside a fold that starts anew which data and split it is trained on."""
    places = Places(study)
    assert job.trainer is not None
    assert job.fold is not None
    fold = places.fold(job.dataset, job.trainer, job.fold, job.training)
    preprocessed = places.preprocessed / job.dataset
    cases, splits = preprocessed_cases(preprocessed), read_splits(preprocessed)
    if cases is None or splits is None or any(fold.glob("checkpoint_*.pth")):
        return
    with suppress(OSError):  # nnU-Net says what is in its way
        fold.mkdir(parents=True, exist_ok=True)
        write_record(fold, cases, splits[job.fold])
