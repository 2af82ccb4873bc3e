"""What the commands of SLURM tell: whether there is an accounting database, and which jobs are in the queue."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from nnunet_nacl.benchmark.config import Study

STATUS_OPTION = "slurm-status-command"
PATIENCE = 60.0  # seconds for an answer


def status_options(study: Study, extra: Sequence[str]) -> list[str]:
    """Return the option that makes the executor plugin ask ``squeue``, where ``sacct`` is there but knows nothing.

    The plugin takes ``sacct`` wherever it finds that command. Without an accounting database it then waits for ever for jobs
    that have long ended. What the user has chosen, in the profile or in ``extra``, stays.
    """
    if study.profile != "slurm" or _is_chosen(study, extra) or shutil.which("sacct") is None or has_accounting():
        return []
    return [f"--{STATUS_OPTION}", "squeue"]


def has_accounting() -> bool:
    """Return whether ``sacct`` answers."""
    return _ask("sacct", "--allocations", "--noheader", "--format=JobID") is not None


def queued_jobs() -> set[str] | None:
    """Return the numbers of all jobs that wait or run, or None where ``squeue`` does not answer."""
    printed = _ask("squeue", "--noheader", "--format=%A")
    return None if printed is None else set(printed.split())


def _is_chosen(study: Study, extra: Sequence[str]) -> bool:
    import yaml

    if any(option.split("=")[0] == f"--{STATUS_OPTION}" for option in extra):
        return True
    try:
        profile = yaml.safe_load((study.folder / "profile" / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(profile, dict) and any(str(key).replace("_", "-") == STATUS_OPTION for key in profile)


def _ask(*command: str) -> str | None:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout
