"""An evaluated run, read back from its result folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.arrays import FloatArray
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.bins_file import BINS_FILE, RESULT_FOLDER, read_result, result_folder
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.output import SUMMARY_FILE
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION, check_readable, difference
from nnunet_nacl.evaluation.summary import summarize
from nnunet_nacl.files import json_files
from nnunet_nacl.study.summary_check import check_summary


@dataclass(frozen=True)
class Run:
    """A result folder of ``nnunet-nacl evaluate``: its name, its summary and the statistics of each case and problem.

    ``repeats`` are the results of the same trainer trained again on the same folds, where a comparison takes several as one run.
    ``result`` is what calibration_bins.npz holds, where the run was read from one. ``predict_again`` gives the probabilities ``(K, z, y, x)`` of a case of which no softmax file was written, where that can be done.
    """

    name: str
    folder: Path
    summary: dict[str, Any]
    problems: dict[str, tuple[CalibrationStatistics, ...]]
    repeats: tuple[Run, ...] = ()
    predict_again: Callable[[str], FloatArray] | None = None
    result: FolderResult | None = None

    @cached_property
    def statistics(self) -> dict[str, CalibrationStatistics]:
        """The statistics of each case, its problems (one per region of a region model) added up."""
        return {case: total(problems) for case, problems in self.problems.items()}


def load_run(folder: Path) -> Run:
    """Read calibration.json and calibration_bins.npz of a folder, or of a prediction folder that was evaluated.

    Raises:
        InputError: a file is missing, damaged, or of another schema version.
    """
    folder = result_folder(folder)
    summary = load_summary(folder / SUMMARY_FILE)
    read = read_result(folder / BINS_FILE)
    cases = read.cases
    if [entry["case"] for entry in summary["metric_per_case"]] != [result.case.name for result in cases]:
        raise InputError(f"{folder}: {SUMMARY_FILE} and {BINS_FILE} hold other cases. Evaluate it again.")
    if summary["schema_version"] < SCHEMA_VERSION:
        summary = _with_present_scores(summary, read)
    return Run(_name(folder), folder, summary, {result.case.name: result.problems for result in cases}, result=read)


def _with_present_scores(summary: dict[str, Any], result: FolderResult) -> dict[str, Any]:
    """Return the calibration.json of an older version with the intervals and the scores without bins of this one.

    Its intervals were made in another way, so beside those of a newer result they would say something else. Means are the same.
    """
    present = summarize(result)
    cases = [
        {**stored, "voxel_sets": computed["voxel_sets"]}
        for stored, computed in zip(summary["metric_per_case"], present["metric_per_case"], strict=True)
    ]
    of_cases = {name: present[name] for name in ("foreground_mean", "mean", "per_case", "pooled", "intervals")}
    return {**summary, **of_cases, "metric_per_case": cases}


def load_repeated(folders: Path) -> Run:
    """Read one folder, or several of one trainer joined by commas as one run, ``first,second``.

    Raises:
        InputError: as from :func:`load_run`.
    """
    parts = str(folders).split(",")
    if folders.exists() or len(parts) == 1:
        return load_run(folders)
    first, *others = (load_run(Path(part)) for part in parts)
    if len({run.folder.resolve() for run in (first, *others)}) < len(parts):
        raise InputError(f"{folders}: one folder came twice. Expected results of several trainings.")
    return replace(first, repeats=tuple(others))


def trainings_of(run: Run) -> tuple[Run, ...]:
    """Return a run, or where it stands for several trainings, each of them under a name of its own."""
    if not run.repeats:
        return (run,)
    return tuple(
        replace(each, name=f"{run.name} (training {number})", repeats=())
        for number, each in enumerate((run, *run.repeats), start=1)
    )


def check_same_protocol(base: Run, other: Run) -> None:
    """Raise InputError unless two runs were evaluated alike (bins, labels, voxel sets)."""
    differing = difference(base.summary["protocol"], other.summary["protocol"])
    if differing:
        raise InputError(f"{other.folder} was evaluated differently from {base.folder}: {differing}.")


def _name(folder: Path) -> str:
    """Return the trainer where the folder is nnU-Net's ``<trainer>__<plans>__<configuration>/fold_X/...``."""
    folder = folder.resolve()
    trained = [part for part in folder.parts if part.count("__") == 2]
    if trained:
        return trained[-1].split("__")[0]
    return folder.parent.name if folder.name == RESULT_FOLDER else folder.name


def load_summary(path: Path) -> dict[str, Any]:
    """Read a calibration.json.

    Raises:
        InputError: it is missing, damaged, or of another schema version.
    """
    try:
        summary: dict[str, Any] = json_files.read(path)
        version = summary["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error, path)}). {_advice(path.parent)}") from error
    check_readable(path, version)
    try:
        check_summary(summary)
    except ValueError as error:
        raise InputError(f"{path}: is not as `nnunet-nacl evaluate` writes it ({error}). Evaluate it again.") from error
    check_readable(path, version, summary["protocol"])
    return summary


def _advice(folder: Path) -> str:
    """Return where results lie below a model's folder, as `validate -f 0` writes them, or else how to make one."""
    below = sorted({found.parent.parent for found in folder.glob(f"fold_*/{RESULT_FOLDER}/calibration.json")})
    if below:
        return f"Results are in {', '.join(path.name for path in below)} of this folder: pass these."
    return "Run `nnunet-nacl evaluate` on this folder first, or `nnunet-nacl validate` on a trained model's."
