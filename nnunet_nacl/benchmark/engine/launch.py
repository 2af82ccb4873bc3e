"""Starting Snakemake on a study."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from nnunet_nacl.benchmark.config.study import CONFIG_FILE, Study
from nnunet_nacl.benchmark.engine import locks, slurm
from nnunet_nacl.benchmark.engine.child import forwarding, signalled_with_parent
from nnunet_nacl.errors import InputError

INSTALL = "pip install 'nnunet-nacl[benchmark]'"
EXECUTOR_PLUGINS = {"slurm": "snakemake_executor_plugin_slurm", "lsf": "snakemake_executor_plugin_lsf"}


def check_installed(profile: str) -> None:
    """Raise InputError, with one clear line, where Snakemake or the profile's executor plugin is missing."""
    if importlib.util.find_spec("snakemake") is None:
        raise InputError(f"`benchmark run` and `plan` need Snakemake, which is not installed: {INSTALL}. `benchmark commands` does not.")  # fmt: skip
    plugin = EXECUTOR_PLUGINS.get(profile)
    if plugin is not None and importlib.util.find_spec(plugin) is None:
        raise InputError(f"The profile {profile} needs {plugin.replace('_', '-')}, which is not installed: pip install {plugin.replace('_', '-')}.")  # fmt: skip


def snakemake_command(study: Study, extra: Sequence[str] = ()) -> list[str]:
    """Return the command that runs a study's workflow."""
    workflow = Path(str(resources.files("nnunet_nacl.benchmark.engine"))) / "workflow"
    command = [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(workflow / "Snakefile"),
        "--directory", str(study.folder),
        "--config", f"study={study.folder / CONFIG_FILE}",
        "--profile", str(workflow / "profiles" / study.profile),
        # a job is run again if its input is newer or other, not if some code changed: trainings are dear
        "--rerun-triggers", "mtime", "input",
        "--keep-going", "--rerun-incomplete", "--nolock", "--show-failed-logs",
    ]  # fmt: skip
    own_profile = study.folder / "profile"
    if (own_profile / "config.yaml").is_file():
        command += ["--workflow-profile", str(own_profile)]
    if study.profile == "local":
        command += ["--cores", str(study.cores or os.cpu_count() or 1)]
        if study.device == "cuda":
            n_gpus = len(study.gpus if study.gpus is not None else locks.visible_gpus())
            command += ["--resources", f"gpu={max(n_gpus, 1)}"]
    return [*command, *extra]


def run_workflow(study: Study, variables: Mapping[str, str], extra: Sequence[str] = ()) -> int:
    """Run a study's workflow and return Snakemake's exit status: 0 if every job is done.

    Snakemake's own lock outlives a kill, so this process holds one of the operating system's in its place. Snakemake takes a
    SIGTERM as: finish the jobs that run, start no more. It gets those that this process is sent, and one if this process is killed.

    Raises:
        InputError: Snakemake is missing, or the same study is being run already.
    """
    check_installed(study.profile)
    lock = locks.try_lock(study.folder / "state" / "run.lock")
    if lock is None:
        raise InputError(f"{study.folder}: `benchmark run` works on this study already.")
    with lock:
        command = snakemake_command(study, [*slurm.status_options(study, extra), *extra])
        process = subprocess.Popen(command, env=dict(variables), preexec_fn=signalled_with_parent(signal.SIGTERM))
        with forwarding(process, (signal.SIGTERM,), os.kill):
            return process.wait()


def planned_jobs(study: Study, variables: Mapping[str, str]) -> dict[str, int]:
    """Return how many jobs of each rule Snakemake would run, from a dry run.

    Raises:
        InputError: Snakemake is missing or refuses the workflow.
    """
    check_installed(study.profile)
    command = snakemake_command(study, ["--dry-run", "--quiet", "rules"])
    finished = subprocess.run(command, env=dict(variables), capture_output=True, text=True, check=False)
    printed = finished.stdout + finished.stderr
    if finished.returncode:
        raise InputError(f"Snakemake's dry run failed:\n{printed.strip()}")
    table = printed.partition("Job stats:")[2].partition("\ntotal")[0]
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    counts.pop("all", None)
    return counts
