"""What the commands of SLURM tell: whether there is an accounting database, and which jobs are in the queue."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.errors import InputError

STATUS_OPTION = "slurm-status-command"
INTERVAL_OPTION = "slurm-init-seconds-before-status-checks"
LONGEST_INTERVAL, MARGIN = 180, 20  # seconds: of the plugin between two questions; for an answer that is slow
PATIENCE = 60.0  # seconds for an answer


def status_options(study: Study, extra: Sequence[str]) -> list[str]:
    """Return the option that makes the executor plugin ask ``squeue``, where ``sacct`` is there but knows nothing.

    The plugin takes ``sacct`` wherever it finds that command. Without an accounting database it then waits for ever for jobs
    that have long ended. What the user has chosen, in the profile or in ``extra``, stays.

    Raises:
        InputError: there is no accounting database, and the queue may forget a job before the plugin asks about it again.
    """
    chosen = _chosen(study, extra, STATUS_OPTION)
    if study.profile != "slurm" or chosen == "sacct":
        return []
    installed = shutil.which("sacct") is not None
    if installed and has_accounting():
        return []
    _check_queue_remembers(study, extra, installed)
    return [f"--{STATUS_OPTION}", "squeue"] if installed and chosen is None else []


def _check_queue_remembers(study: Study, extra: Sequence[str], sacct_installed: bool) -> None:
    """Raise InputError where ``squeue`` forgets a job so soon after its end that the plugin could miss it.

    As long as nothing ends, the plugin (2.8.0) asks less and less often, at last every 180 seconds; of a job that ended and was
    forgotten in between it never hears. Where SLURM keeps jobs for less than three of the plugin's first intervals, it asks
    ``sacct`` whatever the option says, if that command is installed. There 0, with which SLURM forgets nothing, counts as less.
    """
    age = min_job_age()
    interval = _chosen(study, extra, INTERVAL_OPTION) or ""
    needed = max(LONGEST_INTERVAL + MARGIN, 3 * int(interval) if interval.isdigit() else 0)
    if age is None and not sacct_installed:
        return  # nobody knows; SLURM's own 300 s would do
    if age is not None and (age >= needed or (age == 0 and not sacct_installed)):
        return
    kept = (
        "does not tell how long its queue keeps a job that has ended"
        if age is None
        else f"keeps a job for {age} s after its end"
    )
    raise InputError(
        f"SLURM has no accounting database that sacct could ask, and {kept} (MinJobAge in `scontrol show config`); Snakemake's plugin needs "
        f"{needed} s or it may wait for ever for a job that has ended. Ask for `MinJobAge={max(300, needed)}` or for accounting, or submit "
        f"what `nnunet-nacl benchmark commands {study.folder} --form sbatch` prints, which needs neither."
    )


def min_job_age() -> int | None:
    """Return for how many seconds SLURM keeps a job that has ended, 0 for ever; None where ``scontrol`` does not say."""
    found = re.search(r"^MinJobAge\s*=\s*(\d+)", _ask("scontrol", "show", "config") or "", re.MULTILINE)
    return int(found[1]) if found else None


def has_accounting() -> bool:
    """Return whether ``sacct`` answers."""
    return _ask("sacct", "--allocations", "--noheader", "--format=JobID") is not None


def queued_jobs() -> set[str] | None:
    """Return the numbers of all jobs that wait or run, or None where ``squeue`` does not answer."""
    printed = _ask("squeue", "--noheader", "--format=%A")
    return None if printed is None else set(printed.split())


def _chosen(study: Study, extra: Sequence[str], option: str) -> str | None:
    """Return the value of an option of the plugin's that the user has given, on the command line or in the study's profile."""
    import yaml

    for position, part in enumerate(extra):
        name, given, value = part.partition("=")
        if name == f"--{option}":
            return value if given else next(iter(extra[position + 1 :]), "")
    try:
        profile = yaml.safe_load((study.folder / "profile" / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    items = profile.items() if isinstance(profile, dict) else ()
    return next((str(value) for key, value in items if str(key).replace("_", "-") == option), None)


def _ask(*command: str) -> str | None:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout
