"""The jobs of a study: what waits for what, and that Snakemake plans the same ones under every profile."""

from collections import Counter

import pytest
from studies import write_study

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.engine import partial
from nnunet_nacl.benchmark.engine.launch import planned_jobs
from nnunet_nacl.benchmark.plan import requests
from nnunet_nacl.benchmark.plan.jobs import all_jobs, find_job
from nnunet_nacl.benchmark.plan.places import Places, environment
from nnunet_nacl.errors import InputError
from nnunet_nacl.training.trainer_path import trainer_path

RUN = "Dataset099_Phantom/nnUNetTrainerNACL_20epochs"


@pytest.fixture
def unset(monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_each_job_comes_after_what_it_needs(tmp_path):
    jobs = all_jobs(write_study(tmp_path))
    seen = set()
    for name, job in jobs.items():
        assert set(job.needs) <= seen, name
        assert name.split("/")[0] == job.rule
        seen.add(name)
    assert jobs[f"evaluate/{RUN}/fold_1"].needs == (f"train/{RUN}/fold_1",)
    assert jobs[f"merge/{RUN}"].needs == (f"evaluate/{RUN}/fold_0", f"evaluate/{RUN}/fold_1")
    trained = {name for name in jobs if name.startswith("train/")}
    assert set(jobs["curves/Dataset099_Phantom"].needs) == trained
    assert len(trained) == 4


def test_commands(tmp_path, unset):
    study = write_study(
        tmp_path,
        tasks=["Task09_Spleen"],
        scale="paper",
        num_gpus=2,
        plans="nnUNetResEncUNetMPlans",
        mirrors=["http://here"],
    )
    commands = {name: " ".join(job.command) for name, job in all_jobs(study).items()}
    data = "Dataset009_Spleen"
    assert commands[f"import/{data}"] == "nnunet-nacl import-msd Task09_Spleen --id 9 --mirror http://here"
    assert (
        commands[f"plan/{data}"]
        == "nnUNetv2_plan_and_preprocess -d 9 -c 3d_fullres -pl nnUNetPlannerResEncM --clean -npfp 8"
    )
    assert commands[f"train/{data}/nnUNetTrainerNACL/fold_1"] == (
        "nnUNetv2_train 9 3d_fullres 1 -tr nnUNetTrainerNACL -p nnUNetResEncUNetMPlans -device cuda -num_gpus 2 --npz --c"
    )
    assert f"cpu_plans/{data}" not in commands
    compared = commands[f"compare/{data}"].split()
    assert [part.split("/")[-2].split("__")[0] for part in compared[2:4]] == ["nnUNetTrainer", "nnUNetTrainerNACL"]
    own = write_study(tmp_path, plans="myPlans", patch_size=[16, 16, 16])
    assert find_job(own, "plan/Dataset099_Phantom").command[:3] == ("nnUNetv2_preprocess", "-d", "99")
    assert find_job(own, "cpu_plans/Dataset099_Phantom").command[-4:] == ("--patch-size", "16", "16", "16")


def test_hd95_is_given_to_every_evaluation_alike(tmp_path):
    """Results with and without it cannot be merged, so none may be left out."""
    evaluations = ("evaluate", "evaluate_tempered")
    for wanted in (True, False):
        jobs = all_jobs(write_study(tmp_path, hd95=wanted)).values()
        with_it = Counter(job.rule for job in jobs if "--hd95" in job.command)
        assert with_it == (dict.fromkeys(evaluations, 4) if wanted else {})
    assert not write_study(tmp_path).hd95


def test_one_trainer_or_one_fold(tmp_path):
    rules = Counter(job.rule for job in all_jobs(write_study(tmp_path, trainers=["nnUNetTrainerNACL"])).values())
    assert (rules["compare"], rules["compare_tempered"], rules["report"], rules["recalibrate"]) == (0, 0, 1, 1)
    rules = Counter(job.rule for job in all_jobs(write_study(tmp_path, folds=[3])).values())
    assert (rules["compare"], rules["recalibrate"], rules["temper"]) == (1, 0, 0), "the other folds are to fit on"
    rules = Counter(job.rule for job in all_jobs(write_study(tmp_path, recalibrate=False)).values())
    assert rules["temper"] == rules["compare_tempered"] == 0


def test_each_fold_trained_again(tmp_path, unset):
    """A second training differs from the first in where nnU-Net keeps it; a comparison takes both as one run."""
    study = write_study(tmp_path, trainings=2)
    jobs = all_jobs(study)
    assert set(all_jobs(write_study(tmp_path))) < set(jobs)
    assert Counter(job.rule for job in jobs.values())["train"] == 8
    first, second = (jobs[f"train/{RUN}{part}/fold_1"] for part in ("", "/training_2"))
    assert first.command == second.command
    assert (first.variables, first.line) == ((), " ".join(first.command))
    assert second.variables == (("nnUNet_results", f"{tmp_path}/nnUNet_results/training_2"),)
    assert second.line == f"env nnUNet_results={tmp_path}/nnUNet_results/training_2 {first.line}"
    results = f"{tmp_path}/results/Dataset099_Phantom/nnUNetTrainerNACL_20epochs__nnUNetPlansCPU__3d_fullres"
    evaluated = jobs[f"evaluate/{RUN}/training_2/fold_1"]
    assert evaluated.needs == (second.name,)
    fold = f"{results.replace('/results/', '/nnUNet_results/training_2/')}/fold_1/validation"
    assert (evaluated.command[2], evaluated.command[-1]) == (fold, f"{results}/training_2/fold_1")
    assert jobs[f"merge/{RUN}/training_2"].command[2:] == (
        f"{results}/training_2/fold_0", f"{results}/training_2/fold_1", "-o", f"{results}/training_2/merged",
    )  # fmt: skip
    assert jobs["compare/Dataset099_Phantom"].command[3] == f"{results}/merged,{results}/training_2/merged"
    assert jobs["compare_tempered/Dataset099_Phantom"].command[3:5] == (
        f"{results}/merged,{results}/training_2/merged", f"{results}/tempered,{results}/training_2/tempered",
    )  # fmt: skip
    assert len([part for part in jobs["curves/Dataset099_Phantom"].command if part.endswith("fold_1")]) == 4
    # a temperature is of one network of each fold
    fitted = jobs[f"recalibrate/{RUN}/training_2"].command
    assert all("/training_2/" in part for part in fitted[3:5])


def test_the_page_waits_for_all_that_it_shows(tmp_path):
    def needs(**changes):
        study = write_study(tmp_path, **changes)
        job = find_job(study, "results/Dataset099_Phantom")
        assert job.command[-2:] == ("-o", str(study.folder / "pages"))
        return {name.split("/")[0] for name in job.needs}

    everything = {"merge", "merge_tempered", "curves", "compare", "compare_tempered"}
    assert needs() == everything
    assert needs(recalibrate=False) == {"merge", "curves", "compare"}
    assert needs(trainers=["nnUNetTrainerNACL"]) == {"merge", "merge_tempered", "curves"}


def test_unknown_job(tmp_path):
    with pytest.raises(
        InputError, match=r"`job` to be one of small's, such as phantom/Dataset099_Phantom, but got 'train/x'"
    ):
        find_job(write_study(tmp_path), "train/x")


def planned(study: Study):
    return planned_jobs(study, environment(Places(study), trainer_path()))


@pytest.mark.parametrize("profile, scale", [("local", "cpu"), ("slurm", "paper"), ("slurm", "cpu"), ("lsf", "paper")])
def test_snakemake_plans_every_job(profile, scale, tmp_path, unset):
    pytest.importorskip("snakemake", reason="needs the extra `benchmark`")
    if profile != "local":
        pytest.importorskip(f"snakemake_executor_plugin_{profile}")
    study = write_study(tmp_path, scale=scale, execution={"profile": profile})
    expected = Counter({"import": "import_task"}.get(job.rule, job.rule) for job in all_jobs(study).values())
    assert planned(study) == expected
    assert expected["train"] == 4
    assert not (tmp_path / "markers").exists(), "a dry run makes nothing"


def test_what_steps_ask_for(tmp_path):
    cpu = write_study(tmp_path, execution={"profile": "slurm"})
    assert [requests.cpus(cpu, rule) for rule in ("train", "plan", "evaluate", "merge")] == [8, 8, 4, 1]
    assert requests.gpu_resources(cpu, "train") == {}
    capped = write_study(tmp_path, scale="paper", num_gpus=2, execution={"profile": "slurm", "cores": 6})
    assert [requests.cpus(capped, rule) for rule in ("train", "plan", "evaluate", "merge")] == [6, 6, 4, 1]
    assert requests.gpu_resources(capped, "train") == {"gpu": 2, "nodes": 1}
    assert requests.gpu_resources(capped, "evaluate") == {}
    lsf = write_study(tmp_path, scale="paper", num_gpus=2, execution={"profile": "lsf"})
    assert requests.gpu_resources(lsf, "train") == {"gpu": 2, "lsf_extra": "-gpu num=2"}
    local = write_study(tmp_path, execution={"cores": 3})
    assert requests.cpus(local, "train") == 3, "nnU-Net takes every core that it sees, so nothing runs beside it"
    assert requests.cpus(local, "plan") == 8, "Snakemake keeps to --cores"


def test_done_jobs_are_not_planned_again(tmp_path, unset):
    pytest.importorskip("snakemake", reason="needs the extra `benchmark`")
    study = write_study(tmp_path)
    jobs = all_jobs(study)
    for name in jobs:
        Places(study).marker(name).parent.mkdir(parents=True, exist_ok=True)
        Places(study).marker(name).write_text("{}")
    assert planned(study) == {}
    more = write_study(tmp_path, folds=[0, 1, 2])
    assert planned(more) == {
        "train": 2, "evaluate": 2, "merge": 2, "recalibrate": 2, "temper": 6, "evaluate_tempered": 6, "merge_tempered": 2,
        "curves": 1, "compare": 1, "compare_tempered": 1, "report": 1, "results": 1,
    }, "one more fold trains nothing that is trained"  # fmt: skip
    again = write_study(tmp_path, trainings=2)
    assert planned(again) == {
        "train": 4, "evaluate": 4, "merge": 2, "recalibrate": 2, "temper": 4, "evaluate_tempered": 4, "merge_tempered": 2,
        "curves": 1, "compare": 1, "compare_tempered": 1, "report": 1, "results": 1,
    }, "nor does a second training"  # fmt: skip


def test_a_part_of_the_trainings_is_compared(tmp_path, monkeypatch, unset):
    """The trainings of a trainer are one run as far as they have the same folds; what is missing is said."""
    study = write_study(tmp_path, trainings=2)
    base, nacl = study.trainers
    done = [f"{base}/fold_0", f"{base}/fold_1", f"{base}/training_2/fold_0", f"{base}/training_2/fold_1", f"{nacl}/fold_0", f"{nacl}/fold_1", f"{nacl}/training_2/fold_0"]  # fmt: skip
    for name in done:
        marker = Places(study).marker(f"evaluate/Dataset099_Phantom/{name}")
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}")
    called = []
    monkeypatch.setattr(partial, "_call", lambda command, _: called.append(command))
    said = list(partial.partial_report(study, {}))
    assert said[0] == f"Dataset099_Phantom: {nacl}, training_2 has 1 of 2 folds; left out so far"
    assert len(said) == 3
    merged = [command[-1] for command in called if command[1] == "merge"]
    assert [path.removeprefix(f"{tmp_path}/results/Dataset099_Phantom/so_far/") for path in merged] == [
        f"{base}__nnUNetPlansCPU__3d_fullres", f"{base}__nnUNetPlansCPU__3d_fullres/training_2", f"{nacl}__nnUNetPlansCPU__3d_fullres",
    ]  # fmt: skip
    assert [command[2:4] for command in called if command[1] in ("compare", "report")] == [
        [",".join(merged[:2]), merged[2]]
    ] * 2
