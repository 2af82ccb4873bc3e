"""The slurm profile against SLURM's commands replaced by small scripts that run the jobs on this machine."""

import os
import stat
import subprocess
import sys
from dataclasses import replace

import pytest
from studies import write_study

from nnunet_nacl.benchmark.engine.slurm import status_options
from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError

pytest.importorskip("snakemake_executor_plugin_slurm", reason="the profile's plugin is not installed")

FAKES = {
    "sbatch": """
exec 9> "$FAKE/lock"; flock 9
echo "$@" >> "$FAKE/submitted"
[ -z "$REFUSE" ] || { echo "Requested node configuration is not available" >&2; exit 1; }
for argument in "$@"; do case "$argument" in --wrap=*) command="${argument#--wrap=}";; esac; done
number=$(wc -l < "$FAKE/submitted")
exec 9>&-
echo RUNNING > "$FAKE/job$number"
(SLURM_JOB_ID=$number bash -c "$command" > "$FAKE/log$number" 2>&1
 if [ $? = 0 ]; then echo COMPLETED; else echo FAILED; fi > "$FAKE/state$number"
 mv "$FAKE/state$number" "$FAKE/job$number") > /dev/null 2>&1 &
echo $number
""",
    # jobs as "number|state"; without --name or --format it is asked for an account, of which there is none
    "squeue": 'cd "$FAKE"; for job in job*; do echo "${job#job}|$(cat $job)"; done',
    # notes that it was asked about jobs; in a cluster without a database it has no answer
    "sacct": """
[ -z "$NO_ACCOUNTING" ] || { echo "Slurm accounting storage is disabled" >&2; exit 1; }
case "$*" in *--name*) echo "$@" >> "$FAKE/asked"; exec squeue;; esac
""",
    "sinfo": 'echo "PARTITION"; echo "cpu*"',
    "srun": 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
    "scontrol": '[ -z "$MIN_JOB_AGE" ] || echo "MinJobAge               = $MIN_JOB_AGE sec"',
    "sacctmgr": "",
    "sshare": "",
    "scancel": "",
}


@pytest.fixture
def slurm(tmp_path):
    """Environment in which SLURM seems to be there, and the folder in which it keeps its jobs."""
    programs, jobs = tmp_path / "bin", tmp_path / "jobs"
    programs.mkdir()
    jobs.mkdir()
    for name, text in FAKES.items():
        path = programs / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")} | {
        "NO_ACCOUNTING": "", "MIN_JOB_AGE": "300",
    }  # fmt: skip
    return inherited | {"REFUSE": "", "PATH": f"{programs}:{os.environ['PATH']}", "FAKE": str(jobs)}, jobs


@pytest.mark.parametrize("accounting", [True, False])
def test_jobs_go_through_sbatch(accounting, slurm, tmp_path):
    """One of two jobs fails: the other is done, the run says so, and each was submitted with its resources.

    Without an accounting database, sacct is installed but knows nothing: squeue is asked, as it would otherwise go on for ever.
    """
    environment, jobs = slurm
    if not accounting:
        environment = environment | {"NO_ACCOUNTING": "1"}
    tasks = [{"name": f"Task{name}", "phantom": {"cases": 5, "size": 16}} for name in ("98_Blocked", "99_Phantom")]
    study = write_study(tmp_path / "study", tasks=tasks, scale="paper", execution={"profile": "slurm"})
    blocked = study.folder / "tasks" / "Task98_Blocked"
    blocked.mkdir(parents=True)
    (blocked / "something").touch()
    markers = [f"markers/phantom/{task.dataset}.json" for task in study.tasks]
    finished = subprocess.run(
        [sys.executable, "-m", "nnunet_nacl.cli", "benchmark", "run", study.folder, "--", *markers,
         "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    logs = "".join(path.read_text()[-2000:] for path in sorted(jobs.glob("log*")))
    assert finished.returncode == 1, finished.stderr + logs
    assert Places(study).marker("phantom/Dataset099_Phantom").is_file(), finished.stderr + logs
    assert not Places(study).marker("phantom/Dataset098_Blocked").exists()
    submitted = (jobs / "submitted").read_text().splitlines()
    assert len(submitted) == 2
    assert all("-p cpu" in line and "--mem 4000" in line and "-t 60" in line for line in submitted)
    assert (jobs / "asked").exists() == accounting
    assert not (study.folder / "tasks" / ".snakemake").exists()


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"scale": "cpu"}, ["--cpus-per-task=8", "--mem 8000", "-t 4320", "--ntasks=1"]),
        ({"scale": "paper", "num_gpus": 2}, ["--cpus-per-task=12", "--mem 48000", "-t 4320", "--gpus=2", "--nodes=1"]),
    ],
)
def test_what_a_training_is_submitted_with(changes, expected, slurm, tmp_path):
    """A training without a GPU as well; and where the scheduler refuses it, the run ends and says why."""
    environment, jobs = slurm
    study = write_study(tmp_path / "study", execution={"profile": "slurm"}, **changes)
    training = next(job for job in all_jobs(study).values() if job.rule == "train")
    for needed in training.needs:
        path = Places(study).marker(needed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    finished = subprocess.run(
        [sys.executable, "-m", "nnunet_nacl.cli", "benchmark", "run", study.folder, "--", f"markers/{training.name}.json",
         # it sleeps that long before it ends
         "--slurm-init-seconds-before-status-checks", "1"],
        env=environment | {"REFUSE": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert finished.returncode == 1
    assert "Requested node configuration is not available" in finished.stderr
    (submitted,) = (jobs / "submitted").read_text().splitlines()
    assert [option for option in expected if option not in submitted] == []


def test_the_users_choice_of_a_status_command_stays(slurm, tmp_path, monkeypatch):
    """On the command line or in the profile; and nobody asks sacct for another profile than slurm."""
    environment, _ = slurm
    monkeypatch.setenv("PATH", environment["PATH"])
    monkeypatch.setenv("NO_ACCOUNTING", "1")
    monkeypatch.setenv("MIN_JOB_AGE", "300")
    study = write_study(tmp_path / "study", execution={"profile": "slurm"})
    assert status_options(study, []) == ["--slurm-status-command", "squeue"]
    assert status_options(study, ["--slurm-status-command=sacct"]) == []
    assert status_options(study, ["--slurm-status-command", "sacct"]) == []
    assert status_options(replace(study, profile="local"), []) == []
    profile = study.folder / "profile" / "config.yaml"
    profile.parent.mkdir()
    profile.write_text("jobs: 3\n")
    assert status_options(study, []) == ["--slurm-status-command", "squeue"]
    profile.write_text("slurm-status-command: sacct\n")
    assert status_options(study, []) == []


@pytest.mark.parametrize("age, needed", [("60", "200"), ("199", "200"), ("0", "200"), ("", "200"), ("300", "303")])
def test_a_queue_that_forgets_too_soon_is_refused(age, needed, slurm, tmp_path, monkeypatch, capsys):
    """Before the first job: the plugin would wait for ever for one that ended and was forgotten between two of its questions."""
    environment, jobs = slurm
    for name, value in (environment | {"NO_ACCOUNTING": "1", "MIN_JOB_AGE": age}).items():
        monkeypatch.setenv(name, value)
    study = write_study(tmp_path / "study", execution={"profile": "slurm"})
    extra = ["--", "--slurm-init-seconds-before-status-checks", "101"] if needed == "303" else []
    assert main(["benchmark", "run", str(study.folder), *extra]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error:" in line)
    assert (f"keeps a job for {age} s after its end" if age else "does not tell how long") in line
    assert f"needs {needed} s" in line
    assert f"benchmark commands {study.folder} --form sbatch" in line
    assert not (jobs / "submitted").exists()


def test_when_the_queue_need_not_remember(slurm, tmp_path, monkeypatch):
    """With a database, or with a queue that keeps jobs longer than the plugin waits; a sacct that the user chose is asked."""
    environment, _ = slurm
    study = write_study(tmp_path / "study", execution={"profile": "slurm"})
    monkeypatch.setenv("PATH", environment["PATH"])
    for accounting, age, extra, expected in (
        ("", "2", [], []),
        ("", "2", ["--slurm-status-command=squeue"], []),
        ("1", "200", [], ["--slurm-status-command", "squeue"]),
        ("1", "2", ["--slurm-status-command", "sacct"], []),
    ):
        monkeypatch.setenv("NO_ACCOUNTING", accounting)
        monkeypatch.setenv("MIN_JOB_AGE", age)
        assert status_options(study, extra) == expected
    monkeypatch.setenv("MIN_JOB_AGE", "60")
    with pytest.raises(InputError, match="keeps a job for 60 s"):
        status_options(study, ["--slurm-status-command=squeue"])
    # without the command, the plugin asks squeue whatever MinJobAge is: 0 keeps jobs for ever
    (tmp_path / "bin" / "sacct").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for age, refused in (("0", False), ("", False), ("300", False), ("60", True)):
        (tmp_path / "bin" / "scontrol").write_text(f"#!/bin/sh\n[ -z '{age}' ] || echo 'MinJobAge = {age} sec'\n")
        if refused:
            with pytest.raises(InputError, match="keeps a job for 60 s"):
                status_options(study, [])
        else:
            assert status_options(study, []) == []
