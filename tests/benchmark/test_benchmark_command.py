"""`nnunet-nacl benchmark` without nnU-Net: the file it writes, the lines it prints, what it refuses."""

import os
import re
import stat
import subprocess
import sys

import pytest
import yaml
from studies import write_study

from nnunet_nacl.benchmark.config.study import load_study
from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.cli import main


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("scale", ["paper", "cpu"])
@pytest.mark.parametrize("tasks", ["msd", "phantom"])
@pytest.mark.parametrize("profile", ["local", "slurm", "lsf"])
def test_init_writes_what_can_be_read(scale, tasks, profile, tmp_path, capsys):
    folder = tmp_path / "my study"
    command = ["benchmark", "init", str(folder), "--scale", scale, "--tasks", tasks, "--profile", profile]
    assert main(command) == 0
    study = load_study(folder)
    assert (study.scale, study.profile, study.name, study.shortened) == (scale, profile, "my-study", scale == "cpu")
    own = folder / "profile" / "config.yaml"
    assert own.is_file() == (profile != "local")
    if profile != "local":  # as it is written it works, without partition, queue, account or project
        assert yaml.safe_load(own.read_text()) == {"default-resources": {"mem_mb": 4000, "runtime": 60}}
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err


def test_wrong_trainer_is_named_before_anything_runs(tmp_path, capsys):
    write_study(tmp_path, trainers=["nnUNetTrainer", "nnUNetTrainerNACLE"])
    assert main(["benchmark", "commands", str(tmp_path)]) == 1
    assert "Expected `trainers[1]` to be a trainer, but got 'nnUNetTrainerNACLE'" in capsys.readouterr().err


def test_another_file_is_refused(tmp_path, capsys):
    """Its jobs would be those of the folder's benchmark.yaml."""
    write_study(tmp_path)
    (tmp_path / "benchmark.yaml").rename(tmp_path / "other.yaml")
    assert main(["benchmark", "commands", str(tmp_path / "other.yaml")]) == 1
    assert "other.yaml: expected benchmark.yaml or its folder" in capsys.readouterr().err
    (tmp_path / "other.yaml").rename(tmp_path / "benchmark.yaml")
    assert main(["benchmark", "commands", str(tmp_path / "benchmark.yaml")]) == 0


def test_trainer_of_the_users_own(tmp_path, monkeypatch, capsys):
    """Found where nnUNet_extTrainer points, and that folder stays in it, before ours."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "my_own_trainers.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerMine_20epochs(nnUNetTrainer):\n    pass\n"
    )
    study = write_study(tmp_path / "study", trainers=["nnUNetTrainer", "nnUNetTrainerMine"])
    assert main(["benchmark", "commands", str(study.folder)]) == 1
    monkeypatch.setenv("nnUNet_extTrainer", str(own))
    assert main(["benchmark", "commands", str(study.folder)]) == 0
    printed = capsys.readouterr().out
    assert f"export nnUNet_extTrainer={own}:" in printed
    assert "-tr nnUNetTrainerMine_20epochs" in printed


@pytest.mark.parametrize(
    "missing, action", [("snakemake", "run"), ("snakemake", "plan"), ("yaml", "status"), ("jsonschema", "status")]
)
def test_one_clear_line_without_the_extra(missing, action, tmp_path):
    """In a Python that cannot import the module, as in an installation without the extra."""
    write_study(tmp_path)
    program = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)\n"
        f"sys.modules[{missing!r}] = None\n"
        f"from nnunet_nacl.cli import main; sys.exit(main(['benchmark', {action!r}, {str(tmp_path)!r}]))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 1
    lines = [line for line in finished.stderr.splitlines() if line.startswith("nnunet-nacl: error:")]
    assert len(lines) == 1
    assert "which is not installed: pip install 'nnunet-nacl[benchmark]'" in lines[0]
    assert "Traceback" not in finished.stderr


def script(folder, capsys, form):
    assert main(["benchmark", "commands", str(folder), "--form", form]) == 0
    return capsys.readouterr().out


def test_shell_lines(tmp_path, capsys):
    study = write_study(tmp_path)
    printed = script(tmp_path, capsys, "shell")
    assert printed.splitlines()[-len(all_jobs(study)) :] == [" ".join(job.command) for job in all_jobs(study).values()]
    assert f"export nnUNet_raw={tmp_path}/nnUNet_raw" in printed
    assert "# shortened" in printed
    assert subprocess.run(["bash", "-n"], input=printed, text=True).returncode == 0


FAKE = {
    # each notes its arguments in a file; sbatch prints a number as the real one does
    "sbatch": 'echo "$@" >> "$NOTES"; wc -l < "$NOTES"',
    "bsub": 'printf "%s\\n" "$*" >> "$NOTES"; echo "Job <$(wc -l < "$NOTES")> is submitted"',
}


def submitted(folder, printed, program):
    """Run a script with a scheduler that only takes notes; return a note per job."""
    fake = folder / "bin" / program
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{FAKE[program]}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    notes = folder / "notes"
    environment = os.environ | {"PATH": f"{fake.parent}:{os.environ['PATH']}", "NOTES": str(notes)}
    subprocess.run(["bash", "-e"], input=printed, text=True, env=environment, check=True, capture_output=True)
    return notes.read_text().splitlines()


def test_sbatch_lines_carry_the_dependencies(tmp_path, capsys):
    study = write_study(tmp_path / "study", scale="paper", num_gpus=2)
    notes = submitted(tmp_path, script(study.folder, capsys, "sbatch"), "sbatch")
    jobs = list(all_jobs(study).values())
    assert len(notes) == len(jobs)
    number = {job.name: str(position) for position, job in enumerate(jobs, start=1)}
    for job, note in zip(jobs, notes, strict=True):
        after = re.search(r"--dependency=afterok:([\d:]+)", note)
        assert (after[1].split(":") if after else []) == [number[name] for name in job.needs]
        assert ("--gres=gpu:2" in note) == (job.rule == "train")
        assert ("--kill-on-invalid-dep=yes" in note) == bool(job.needs)
        assert ("--cpus-per-task=12 --mem=48000M --time=4320" in note) == (job.rule == "train")
        assert note.endswith(f"--wrap={' '.join(job.command)}")


def test_a_refused_job_ends_the_script(tmp_path, capsys):
    """Those after it would be submitted with a dependency on nothing."""
    study = write_study(tmp_path / "study")
    fake = tmp_path / "sbatch"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/notes\ncase "$*" in *job-name=plan*) exit 1;; esac\necho 1\n')
    fake.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    printed = script(study.folder, capsys, "sbatch")
    assert subprocess.run(["bash"], input=printed, text=True, env=environment).returncode == 1
    assert len((tmp_path / "notes").read_text().splitlines()) == 3, "phantom, import, and plan, which was refused"


def test_bsub_lines_carry_the_dependencies(tmp_path, capsys):
    study = write_study(tmp_path / "study", scale="paper")
    notes = submitted(tmp_path, script(study.folder, capsys, "bsub"), "bsub")
    jobs = list(all_jobs(study).values())
    for job, note in zip(jobs, notes, strict=True):
        assert f"-J small.{job.name} " in note
        assert re.findall(r'done\("small\.([^"]+)"\)', note) == list(job.needs)
        assert ("-gpu num=1" in note) == (job.rule == "train")
        assert (" -ti " in note) == bool(job.needs)
        assert ("-n 12 -R span[hosts=1] -W 4320" in note) == (job.rule == "train")
