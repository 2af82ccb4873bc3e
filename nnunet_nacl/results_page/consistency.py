"""Whether a comparison was made from the results that are there now: its means have to be theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_nacl.study.run import Run

CHECKED = ("ECE", "predicted")
TOLERANCE = 1e-9


def is_outdated(comparison: dict[str, Any], runs: Mapping[Path, Run]) -> bool:
    """Return whether a mean in comparison.json is not that of the run's present cases.

    Args:
        comparison: content of comparison.json.
        runs: by their folders; a run that is not among them is not looked at.
    """
    files = (comparison.get("provenance") or {}).get("files") or {}
    # the study may have been moved since: the parts from the trainer's folder on tell its runs apart
    by_end = {_end(folder): run for folder, run in runs.items()}
    repeats = comparison.get("repeats") or {}
    held = {
        name: [by_end.get(_end(Path(str(each)))) for each in (folder, *(repeats.get(name) or []))]
        for name, folder in files.items()
    }
    for test in comparison["tests"]:
        if (test.get("score"), test.get("voxel_set")) != CHECKED or test.get("class") is not None:
            continue
        # both means are over the cases in which both have a score
        pair = [held.get(name) for name in (comparison.get("base"), test.get("run"))]
        values = [_mean_values(trainings, comparison.get("cases") or []) for trainings in pair]
        if values[0] is None or values[1] is None:
            continue
        both = [(base, run) for base, run in zip(*values, strict=True) if not (math.isnan(base) or math.isnan(run))]
        said = (test.get("base_mean"), test.get("run_mean"))
        for number, mean in enumerate(said):
            now = math.fsum(pair[number] for pair in both) / len(both) if both else None
            if (now is None) != (mean is None) or (now is not None and abs(now - mean) > TOLERANCE):
                return True
    return False


def _end(folder: Path) -> tuple[str, ...]:
    """Return the end of a result's path from the folder ``<trainer>__<plans>__<configuration>`` on, else its last two parts."""
    places = [number for number, part in enumerate(folder.parts) if part.count("__") == 2]
    return folder.parts[places[-1] if places else -2 :]


def _mean_values(trainings: Sequence[Run | None] | None, cases: list[str]) -> list[float] | None:
    """Return the mean over a run's trainings of the score of each case; None where one of them is not known."""
    known = [run for run in trainings or () if run is not None]
    if not known or len(known) < len(trainings or ()):
        return None
    means = []
    for of_case in zip(*(_values(run, cases) for run in known), strict=True):
        defined = [value for value in of_case if not math.isnan(value)]
        means.append(math.fsum(defined) / len(defined) if defined else math.nan)
    return means


def _values(run: Run, cases: list[str]) -> list[float]:
    """Return the score that is checked of each case, NaN where it is not defined or the case is gone."""
    score, voxel_set = CHECKED
    held = {case["case"]: case["voxel_sets"][voxel_set][score] for case in run.summary["metric_per_case"]}
    return [math.nan if held.get(case) is None else held[case] for case in cases]
