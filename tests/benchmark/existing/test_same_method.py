"""A study that an older version began: what it recalibrated by another method is not set beside what is recalibrated now."""

import json

import pytest
from studies import write_study

from nnunet_nacl.benchmark.existing.same_method import check_methods
from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.errors import InputError

OLD = {
    "file_type": "nnunet-nacl temperature", "schema_version": 1, "kind": "softmax", "channels": ["background", "body"], "per_class": False,
    "factors": [0.5, 0.5], "temperatures": [2.0, 2.0], "cross_fit": None, "cases": [],
}  # fmt: skip
"""temperature.json as 0.1 wrote it, what is read of it."""


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", trainers=["nnUNetTrainer", "nnUNetTrainerNACL"], folds=[0, 1])


def recalibrated(study, number, content):
    """Write the marker and the file of a trainer."""
    job = [job for job in all_jobs(study).values() if job.rule == "recalibrate"][number]
    marker = Places(study).marker(job.name)
    for path, text in ((marker, "{}"), (Places(study).study.folder / job.command[-1], json.dumps(content))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def check(study):
    check_methods(Places(study), all_jobs(study).values())


def test_a_trainer_recalibrated_by_an_older_version_beside_one_to_come(study):
    check(study)
    recalibrated(study, 0, OLD)
    with pytest.raises(
        InputError, match="by the method `temperature`.* by `by-prediction`. Remove .*markers/recalibrate and run"
    ):
        check(study)


def test_what_is_done_by_one_method_stays(study):
    for number in range(2):
        recalibrated(study, number, OLD)
    check(study)


def test_a_damaged_file_is_for_the_step_that_reads_it(study):
    recalibrated(study, 0, {"schema_version": 1})
    check(study)
