"""A study runs on the data that its file names: what lies there under the same name is compared by content, and refused where it differs."""

import gzip
import json
import shutil
import sys
import tarfile
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from data_sets import DATASET, INTENSITIES, PLANS, imported, preprocessed
from studies import write_study

from nnunet_nacl.benchmark.engine.step import run_step
from nnunet_nacl.benchmark.existing.finished import is_finished
from nnunet_nacl.benchmark.existing.same_data import check_same, check_study
from nnunet_nacl.benchmark.existing.step_records import record_preprocessed, record_training
from nnunet_nacl.benchmark.plan.jobs import find_job
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.cpu_plans import small_plans
from nnunet_nacl.benchmark.tasks.data_identity import BLOCK, WHOLE, difference, digest, of_task
from nnunet_nacl.benchmark.tasks.data_record import RECORD, preprocessed_cases, raw_cases, write_record
from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.benchmark.tasks.split import _own_split
from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError

TRAINER = "nnUNetTrainer_20epochs"
CASES = [f"phantom_{number:03d}" for number in range(6)]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def task(phantom_task, tmp_path):
    """A copy of the task that a test may change."""
    return shutil.copytree(phantom_task, tmp_path / "data" / phantom_task.name)


@pytest.fixture
def study(folders, task):
    """A study on the task, imported and preprocessed by hand, with nnU-Net's own split."""
    raw = imported(task, folders / "raw")
    folder = preprocessed(raw, folders / "preprocessed")
    (folder / "splits_final.json").write_text(json.dumps(_own_split(CASES)))
    return from_task(folders, task)


def from_task(folders, source, **changes):
    return write_study(folders / "study", tasks=[{"name": "Task99_Phantom", "from": str(source)}], **changes)


def job_of(study, rule):
    return find_job(study, f"{rule}/{DATASET}" + (f"/{TRAINER}/fold_0" if rule == "train" else ""))


def refusal(study, rule):
    """Return why what is there for a job is refused."""
    with pytest.raises(InputError) as caught:
        check_same(study, job_of(study, rule))
    with pytest.raises(InputError):
        is_finished(study, job_of(study, rule))
    return str(caught.value)


def change_image(path):
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), path)


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# what is imported


def test_a_phantom_of_another_size_is_not_taken_over(folders, task, capsys):
    """Neither by `plan` nor by `run` nor by a step nor by import-msd; and nothing of it is touched."""
    raw = imported(task, folders / "raw")
    before = {path: path.stat().st_mtime_ns for path in folders.joinpath("raw").rglob("*")}
    study = write_study(folders / "study", tasks=[{"name": "Task99_Phantom", "phantom": {"cases": 10, "size": 16}}])
    for action in ("plan", "run"):
        assert main(["benchmark", action, str(study.folder)]) == 1
        assert f"{raw} holds other data than 10 phantoms of 16 voxels a side" in capsys.readouterr().err
    write_task(Places(study).source(study.tasks[0]), n_cases=10, size=16)
    for action in ("plan", "run"):
        assert main(["benchmark", action, str(study.folder)]) == 1
        said = capsys.readouterr().err
        assert "4 of 10 cases are missing (phantom_006, phantom_007, phantom_008, phantom_009)" in said
        assert "Nothing of it is changed. Give the task another number" in said
    assert main(["benchmark", "step", str(study.folder), f"import/{DATASET}"]) == 1
    assert (
        main(["import-msd", "Task99_Phantom", "--id", "99", "--from", str(Places(study).source(study.tasks[0]))]) == 1
    )
    assert {path: path.stat().st_mtime_ns for path in folders.joinpath("raw").rglob("*")} == before
    assert not Places(study).marker(f"import/{DATASET}").exists()


def test_the_same_data_imported_by_hand_are_taken_over(study):
    check_study(study)
    assert all(is_finished(study, job_of(study, rule)) for rule in ("import", "plan", "split"))


@pytest.mark.parametrize("form", ["folder", "parent", "tar", "tgz"])
@pytest.mark.parametrize(
    "change, said",
    [
        (lambda task: None, None),
        (lambda task: shutil.copy(task / "labelsTr/phantom_001.nii.gz", task / "labelsTr/phantom_000.nii.gz"),
         "1 have other labels (phantom_000)"),
        (lambda task: change_image(task / "imagesTr/phantom_002.nii.gz"), "1 have other images (phantom_002)"),
        (lambda task: (task / "labelsTr/phantom_003.nii.gz").unlink(), "1 are too many (phantom_003)"),
    ],
)  # fmt: skip
def test_imported_data_are_compared_with_their_source(change, said, form, study, folders, task):
    change(task)
    source = {"folder": task, "parent": task.parent}.get(form, folders / f"Task99_Phantom.{form}")
    if form in ("tar", "tgz"):
        with tarfile.open(source, "w:gz" if form == "tgz" else "w") as archive:
            archive.add(task, "Task99_Phantom")
    study = from_task(folders, source)
    if said is None:
        assert is_finished(study, job_of(study, "import"))
    else:
        assert said in refusal(study, "import")
        shutil.rmtree(folders / "raw")
        if "images" not in said:  # the preprocessed data alone know their labels
            assert said in refusal(study, "import")


def test_a_phantom_is_drawn_as_the_study_asks(folders):
    def asked(cases=6, size=16, seed=0):
        tasks = [{"name": "Task99_Phantom", "phantom": {"cases": cases, "size": size}}]
        return write_study(folders / "study", tasks=tasks, seeds={"phantom": seed})

    write_task(folders / "study/tasks/Task99_Phantom", n_cases=6, size=16)
    assert is_finished(asked(), job_of(asked(), "phantom"))
    for other in ({"cases": 5}, {"cases": 7}, {"size": 18}, {"seed": 1}):
        assert "holds other phantoms than" in refusal(asked(**other), "phantom")


def test_a_task_of_the_msd_without_its_archive(folders, task):
    """Its number of cases and its labels are known; and the data set that is there can be named as such."""
    raw = imported(task, folders / "raw", "Dataset004_Hippocampus")
    study = write_study(folders / "study", tasks=["Task04_Hippocampus"])
    with pytest.raises(InputError) as caught:
        check_study(study)
    assert "it has 6 cases instead of 260, its labels are body, cap instead of Anterior, Posterior" in str(caught.value)
    assert f"`from: {raw}`" in str(caught.value)
    named = write_study(folders / "study", tasks=[{"name": "Task04_Hippocampus", "from": str(raw)}])
    check_study(named)
    assert is_finished(named, find_job(named, "import/Dataset004_Hippocampus"))
    assert main(["import-msd", "Task04_Hippocampus", "--from", str(raw)]) == 0


def test_a_kept_archive_of_the_msd_is_compared(folders, task):
    imported(task, folders / "raw", "Dataset004_Hippocampus")
    archive = folders / "raw/.msd/Task04_Hippocampus.tar"
    archive.parent.mkdir()
    with tarfile.open(archive, "w") as tar:
        tar.add(task, "Task04_Hippocampus")
    study = write_study(folders / "study", tasks=["Task04_Hippocampus"])
    check_study(study)
    change_image(task / "imagesTr/phantom_002.nii.gz")
    with tarfile.open(archive, "w") as tar:
        tar.add(task, "Task04_Hippocampus")
    with pytest.raises(InputError, match="1 have other images"):
        check_study(study)


def test_a_source_that_is_gone(study, folders, task):
    """What was imported is known by the marker; without one, nobody can tell."""
    job = job_of(study, "import")
    assert run_step(study, job, {"PATH": ""}) == 0
    marker = json.loads(Places(study).marker(job.name).read_text())
    assert marker["data"] == digest(raw_cases(folders / "raw" / DATASET))
    shutil.rmtree(task)
    assert is_finished(study, job)
    change_image(folders / "raw" / DATASET / "imagesTr/phantom_000_0000.nii.gz")
    assert "Expected `--from` to be the folder Task99_Phantom" in refusal(study, "import")


@pytest.mark.nnunet
def test_four_dimensional_images_are_known_by_what_they_were_split_from(folders, task):
    """nnU-Net's converter writes new files of them, so the import records the file that they come from."""
    for path in (task / "imagesTr").iterdir():
        image = nibabel.load(path)
        values = np.stack([np.asarray(image.dataobj)] * 2, axis=-1)
        nibabel.save(nibabel.Nifti1Image(values, image.affine), path)
    change_json(task / "dataset.json", modality={"0": "a", "1": "b"})
    command = ["import-msd", "Task99_Phantom", "--from", str(task), "-np", "1"]
    assert main(command) == 0
    raw = folders / "raw" / DATASET
    assert len(list((raw / "imagesTr").iterdir())) == 12
    study = from_task(folders, task)
    check_study(study)
    change_image(task / "imagesTr/phantom_004.nii.gz")
    assert "1 have other images (phantom_004)" in refusal(study, "import")
    assert main(command) == 1
    (raw / RECORD).unlink()  # as if imported by hand: labels and names are all that can be compared
    check_study(study)


# what the digests notice


def test_any_change_of_a_large_compressed_image_is_noticed(task):
    """Also one between the blocks that are read: a gzip file ends with the checksum of all."""
    path = task / "imagesTr/phantom_000.nii.gz"
    values = np.random.default_rng(0).integers(0, 255, (140, 140, 140), dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    assert path.stat().st_size > WHOLE + 2 * BLOCK
    before = of_task(task)
    for position in ((0, 0, 0), (70, 70, 70), (3, 5, 139)):
        values[position] ^= 1
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
        assert difference(before, of_task(task)) == "1 have other images (phantom_000)"
        values[position] ^= 1
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    assert difference(before, of_task(task)) is None


def test_damaged_sources_are_one_line(task, tmp_path):
    (tmp_path / "Task99_Phantom.tar").write_bytes(b"no archive")
    with pytest.raises(InputError, match="Task99_Phantom.tar: cannot be read"):
        of_task(tmp_path / "Task99_Phantom.tar")
    (task / "imagesTr/phantom_000.nii.gz").write_bytes(gzip.compress(b"short"))
    assert of_task(task)["phantom_000"].images is None


# what is preprocessed


@pytest.mark.parametrize("changed", ["labels", "images", "dataset.json", "fewer"])
def test_preprocessed_from_other_raw_data(changed, study, folders):
    """Images are compared where a step of ours preprocessed them."""
    raw = folders / "raw" / DATASET
    record_preprocessed(study, job_of(study, "plan"))
    assert is_finished(study, job_of(study, "plan"))
    if changed == "labels":
        shutil.copy(raw / "labelsTr/phantom_001.nii.gz", raw / "labelsTr/phantom_000.nii.gz")
    elif changed == "images":
        change_image(raw / "imagesTr/phantom_000_0000.nii.gz")
    elif changed == "fewer":
        for path in (raw / "labelsTr/phantom_005.nii.gz", raw / "imagesTr/phantom_005_0000.nii.gz"):
            path.unlink()
    else:
        change_json(raw / "dataset.json", labels={"background": 0, "cap": 1, "body": 2})
    said = {
        "labels": "1 have other labels (phantom_000)",
        "images": "1 have other images (phantom_000)",
        "dataset.json": "`labels` of its dataset.json is another",
        "fewer": "1 are too many (phantom_005)",
    }[changed]
    assert said in refusal(study, "plan")


def test_labels_that_nnunet_left_as_they_were(study, folders):
    """Its command copies a label file only over an older one; what it leaves is looked at when it has ended."""
    raw, job = folders / "raw" / DATASET, job_of(study, "plan")
    shutil.rmtree(folders / "preprocessed" / DATASET / "data")
    program = f"import shutil; shutil.copy({str(raw / 'labelsTr/phantom_001.nii.gz')!r}, {str(folders / 'preprocessed' / DATASET / 'gt_segmentations/phantom_000.nii.gz')!r})"
    assert run_step(study, replace(job, command=(sys.executable, "-c", program)), {"PATH": ""}) == 1
    assert "1 have other labels (phantom_000)" in Places(study).log(job.name).read_text()
    assert not (folders / "preprocessed" / DATASET / RECORD).exists()


def test_plans_of_another_planner_or_data_set(study, folders):
    path = folders / "preprocessed" / DATASET / "nnUNetPlans.json"
    change_json(path, experiment_planner_used="nnUNetPlannerResEncL")
    assert "was made by nnUNetPlannerResEncL, but `plans: nnUNetPlans` are those of ExperimentPlanner" in refusal(
        study, "plan"
    )
    change_json(path, experiment_planner_used="ExperimentPlanner", dataset_name="Dataset004_Hippocampus")
    assert "is of Dataset004_Hippocampus" in refusal(study, "plan")
    change_json(path, dataset_name=DATASET, **{INTENSITIES: {"0": {"mean": 99.0}}})
    assert "was made from other images" in refusal(study, "plan")


def test_small_plans_of_another_profile(study, folders):
    folder = folders / "preprocessed" / DATASET
    path = folder / "nnUNetPlansCPU.json"
    path.write_text(json.dumps(small_plans(PLANS, "nnUNetPlansCPU")))
    assert is_finished(study, job_of(study, "cpu_plans"))
    other = small_plans(PLANS, "nnUNetPlansCPU")
    other["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 16]
    path.write_text(json.dumps(other))
    assert "architecture.arch_kwargs.features_per_stage differs" in refusal(study, "cpu_plans")
    path.write_text(json.dumps(small_plans(PLANS, "nnUNetPlansCPU", [8, 8, 8])))
    assert "patch_size differs" in refusal(study, "cpu_plans"), "the study leaves the patch to the plans"


# what is split


def test_folds_beyond_the_users_split(study, folders, capsys):
    """nnU-Net would train them on a random split, hours before anything went wrong."""
    path = folders / "preprocessed" / DATASET / "splits_final.json"
    path.write_text(json.dumps([{"train": CASES[:3], "val": CASES[3:]}, {"train": CASES[3:], "val": CASES[:3]}]))
    check_study(study)
    beyond = from_task(folders, study.tasks[0].source, folds=[0, 1, 2])
    for action in ("plan", "run"):
        assert main(["benchmark", action, str(beyond.folder)]) == 1
        assert f"{path} has 2 folds, counted from 0, but `folds` asks for 2" in capsys.readouterr().err
    for rule in ("split", f"train/{DATASET}/{TRAINER}/fold_2"):
        name = rule if "/" in rule else f"{rule}/{DATASET}"
        assert main(["benchmark", "step", str(beyond.folder), name]) == 1
        assert "`folds` asks for 2" in Places(beyond).log(name).read_text()
    assert not (folders / "results").joinpath(DATASET).exists()


def test_splits_of_other_data(study, folders):
    path = folders / "preprocessed" / DATASET / "splits_final.json"
    path.write_text(json.dumps(_own_split([*CASES, "phantom_006"])))
    assert "names 1 cases that the data set does not have, such as phantom_006" in refusal(study, "split")
    path.write_text(json.dumps(_own_split(CASES[:5])))
    assert "is nnU-Net's own split of 5 cases, but the data set has 6" in refusal(study, "train")
    path.write_text(json.dumps([{"train": CASES[:2], "val": CASES[2:4]}] * 2))
    assert is_finished(study, job_of(study, "split")), "a split of one's own may leave cases out"
    path.write_text(json.dumps([{"train": [1, 2], "val": ["a"]}]))
    assert "is not as nnU-Net writes it" in refusal(study, "split")


# what is trained


@pytest.fixture
def fold(study, folders):
    """A fold whose training began, as a step of the study began it."""
    path = folders / "preprocessed" / DATASET / "nnUNetPlansCPU.json"
    path.write_text(json.dumps(small_plans(PLANS, "nnUNetPlansCPU")))
    record_preprocessed(study, job_of(study, "plan"))
    record_training(study, job_of(study, "train"))
    fold = Places(study).fold(DATASET, TRAINER, 0)
    (fold / "checkpoint_latest.pth").touch()
    (fold / "debug.json").write_text(json.dumps({"plans_manager": str(small_plans(PLANS, "nnUNetPlansCPU"))}))
    return fold


def test_a_fold_of_the_same_data_goes_on(study, fold):
    assert not is_finished(study, job_of(study, "train"))
    (fold / RECORD).unlink()
    assert not is_finished(study, job_of(study, "train"))


def test_a_fold_of_other_data(study, fold, folders):
    raw = folders / "raw" / DATASET
    change_image(raw / "imagesTr/phantom_000_0000.nii.gz")
    record_preprocessed(study, job_of(study, "plan"))
    assert "was trained on other data" in refusal(study, "train")


def test_a_fold_of_other_plans_or_images(study, fold):
    """Known from what nnU-Net noted in the fold, so also where the training was started by hand."""
    (fold / RECORD).unlink()
    plans = small_plans(PLANS, "nnUNetPlansCPU")
    plans["configurations"]["3d_fullres"]["batch_size"] = 4
    change_json(fold / "debug.json", plans_manager=str(plans))
    assert "other plans: batch_size differs" in refusal(study, "train")
    change_json(fold / "debug.json", plans_manager=str(small_plans(PLANS, "nnUNetPlansCPU") | {INTENSITIES: {}}))
    assert "was trained with other images" in refusal(study, "train")


def test_a_fold_of_another_split(study, fold, folders):
    path = folders / "preprocessed" / DATASET / "splits_final.json"
    kept = path.read_text()
    path.write_text(json.dumps([{"train": CASES[1:], "val": CASES[:1]}] * 2))
    assert "was trained on another split" in refusal(study, "train")
    path.write_text(kept)
    (fold / RECORD).unlink()
    (fold / "validation").mkdir()
    (more,) = [case for case in json.loads(kept)[1]["val"]]
    (fold / "validation" / f"{more}.npz").touch()
    assert f"holds 1 cases that are not validated in this fold of {path}, such as {more}" in refusal(study, "train")


def test_a_damaged_record_is_none(study, folders):
    folder = folders / "preprocessed" / DATASET
    write_record(folder, raw_cases(folders / "raw" / DATASET))
    assert preprocessed_cases(folder)["phantom_000"].images is not None
    for text in ("{", '{"cases": []}', '{"cases": {"phantom_000": {"labels": 1, "other": 2}}}'):
        (folder / RECORD).write_text(text)
        assert preprocessed_cases(folder)["phantom_000"].images is None
