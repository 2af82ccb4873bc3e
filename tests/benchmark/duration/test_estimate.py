"""How long a study takes: what the estimate rests on, and that a real run lies within it."""

import json

import pytest
from data_sets import DATASET
from studies import write_study

from nnunet_nacl.benchmark.config.study import load_study
from nnunet_nacl.benchmark.config.template import write_template
from nnunet_nacl.benchmark.duration.data_size import data_size
from nnunet_nacl.benchmark.duration.estimate import basis, duration
from nnunet_nacl.benchmark.duration.pace import epochs, pace
from nnunet_nacl.benchmark.duration.span import Span
from nnunet_nacl.benchmark.plan.jobs import all_jobs, find_job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.cli import main

TRAINER = "nnUNetTrainer_20epochs"


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)


def total(study):
    jobs = list(all_jobs(study).values())
    of = basis(study, jobs)
    return sum((duration(study, job, of[job.dataset]) for job in jobs), Span(0, 0))


def mark(study, name, **content):
    path = Places(study).marker(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_the_study_to_try(tmp_path):
    """What `benchmark init --scale cpu --tasks phantom` writes: 11 minutes were measured on two idle cores."""
    write_template(tmp_path / "study", "cpu", "phantom", "local")
    spent = total(load_study(tmp_path / "study"))
    assert spent.low < 11 * 60 < spent.high
    assert spent.high < 3 * 11 * 60, "and the range says something"


def test_pace_as_assumed_logged_and_configured(tmp_path):
    study = write_study(tmp_path, length="20epochs", patch_size=[32, 40, 32])
    (task,) = study.tasks
    assumed = pace(study, task)
    assert assumed.epoch() == Span(pytest.approx(0.33 * (250 + 0.4 * 50)), pytest.approx(0.66 * (250 + 0.4 * 50)))
    assert "assumed" in assumed.source
    # any trainer's log counts, by the length in its name, but not other plans'
    for run, seconds in (
        ("nnUNetTrainer_9epochs_27iterations_0valiterations", "27"),
        ("nnUNetTrainerNACL_9epochs", "270"),
    ):
        fold = Places(study).results / DATASET / f"{run}__nnUNetPlansCPU__3d_fullres" / "fold_1"
        fold.mkdir(parents=True)
        (fold / "training_log_2026.txt").write_text(f"Epoch time: {seconds}.0 s\n")
    other = Places(study).results / DATASET / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_1"
    other.mkdir(parents=True)
    (other / "training_log_2026.txt").write_text("Epoch time: 9999.0 s\n")
    logged = pace(study, task)
    assert logged.source == "half of 2 epochs logged on this task with these plans"
    assert 0.5 < logged.iteration.low <= logged.iteration.high < 1.01
    configured = write_study(tmp_path, execution={"hours_per_epoch": 0.5})
    assert pace(configured, task).epoch() == Span(pytest.approx(1800), pytest.approx(1800))
    assert epochs("nnUNetTrainerNACL_weight0p2_7epochs_3iterations") == 7
    assert epochs("nnUNetTrainerNACL") == 1000


def test_a_step_takes_what_it_took(tmp_path):
    """The markers know; what was taken over says nothing."""
    study = write_study(tmp_path)
    job = find_job(study, f"evaluate/{DATASET}/{TRAINER}/fold_0")
    for name, start, end, taken_over in (
        (job.name, "10:00:00", "10:01:40", False),
        (job.name[:-1] + "1", "11:00:00", "11:00:50", False),
    ):
        mark(study, name, started=f"2026-11-27T{start}+00:00", ended=f"2026-11-27T{end}+00:00", taken_over=taken_over)
    mark(
        study,
        f"train/{DATASET}/{TRAINER}/fold_0",
        started="2026-11-27T10:00:00+00:00",
        ended="2026-11-27T10:00:01+00:00",
        taken_over=True,
    )
    of = basis(study, all_jobs(study).values())[DATASET]
    assert of.measured == {"evaluate": Span(50, 100)}
    assert duration(study, job, of) == Span(50, 100)
    assert duration(study, find_job(study, f"train/{DATASET}/{TRAINER}/fold_0"), of).low > 60


def test_sizes(tmp_path):
    """The phantom's, the fingerprint's, the MSD's list, the files', and a guess, which is the widest."""
    source = tmp_path / "Task98_Own"
    (source / "imagesTr").mkdir(parents=True)
    for number in range(4):
        (source / "imagesTr" / f"{number}.nii.gz").write_bytes(bytes(1000))
    tasks = [{"name": "Task99_Phantom", "phantom": {"cases": 7, "size": 20}}, "Task01_BrainTumour", {"name": "Task98_Own", "from": str(source)},
             {"name": "Task97_Gone", "from": "nowhere.tar"}]  # fmt: skip
    study = write_study(tmp_path / "study", tasks=tasks)
    phantom, msd, own, gone = (data_size(study, task) for task in study.tasks)
    assert (phantom.cases, phantom.voxels, phantom.classes) == (Span(7, 7), Span(8000, 8000), 3)
    assert (msd.cases, msd.classes, msd.channels) == (Span(484, 484), 4, 4)
    assert msd.voxels.low < 240 * 240 * 155 < msd.voxels.high
    assert own.cases == Span(4, 4)
    assert own.voxels.low < 1000 < own.voxels.high
    assert gone.source == "a wide guess"
    folder = Places(study).preprocessed / "Dataset097_Gone"
    folder.mkdir(parents=True)
    (folder / "dataset_fingerprint.json").write_text(json.dumps({"shapes_after_crop": [[10, 10, 10], [10, 10, 30]]}))
    known = data_size(study, study.tasks[3])
    assert (known.cases, known.voxels, known.source) == (Span(2, 2), Span(2000, 2000), "nnU-Net's fingerprint")


@pytest.mark.parametrize(
    "span, said",
    [(Span(0, 0), "0 s"), (Span(1.5, 90), "1.5-90 s"), (Span(300, 1200), "5-20 min"), (Span(3600, 4 * 3600), "1-4 h"), (Span(86400, 30 * 86400), "1-30 days")],
)  # fmt: skip
def test_times_in_words(span, said):
    assert span.in_time() == said


def test_plan_says_what_it_rests_on(tmp_path, capsys):
    pytest.importorskip("snakemake", reason="needs the extra `benchmark`")
    study = write_study(tmp_path, length="4epochs_50iterations_5valiterations")
    assert main(["benchmark", "plan", str(study.folder)]) == 0
    printed = capsys.readouterr().out
    assert "an epoch (assumed for two cores), 6 cases of 4096 voxels (the phantom's)." in printed
    (row,) = (line for line in printed.splitlines() if "all" in line.split())
    assert " min " in row
