"""The configuration of a benchmark: one YAML file, checked against schema.json, as plain values with defaults filled in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunet_nacl.benchmark.config.check import check, check_plain
from nnunet_nacl.benchmark.tasks.msd import MIRRORS, TASKS, dataset_name
from nnunet_nacl.errors import InputError

CONFIG_FILE = "benchmark.yaml"
CPU_LENGTH = "20epochs"
_LENGTH_SETTING = re.compile(r"_[1-9]\d*(epochs?|iterations|valiterations)(?=_|$)")


@dataclass(frozen=True)
class TaskEntry:
    """A task of the study: where it comes from, and its number in nnU-Net.

    Attributes:
        name: ``TaskXX_Name``.
        source: its folder or archive; None: downloaded, or drawn where ``phantom`` is set.
        dataset_id: number in nnU-Net's name; None: the task's.
        phantom: cases and voxels a side of the phantom to draw; None: a real task.
    """

    name: str
    source: Path | None = None
    dataset_id: int | None = None
    phantom: tuple[int, int] | None = None

    @property
    def dataset(self) -> str:
        """nnU-Net's name of it."""
        return dataset_name(self.name, self.dataset_id)


@dataclass(frozen=True)
class Study:
    """A checked configuration. ``folder`` holds the configuration file and all that the benchmark writes.

    ``trainings`` is how often each fold is trained.
    """

    folder: Path
    name: str
    tasks: tuple[TaskEntry, ...]
    base_trainers: tuple[str, ...]
    base_baseline: str
    folds: tuple[int, ...]
    trainings: int
    configuration: str
    planned: str
    scale: str
    length: str | None
    patch_size: tuple[int, ...] | None
    device: str
    num_gpus: int
    phantom_seed: int
    bootstrap_seed: int
    recalibrate: bool
    hd95: bool
    mirrors: tuple[str, ...]
    profile: str
    cores: int | None
    gpus: tuple[int, ...] | None
    processes: int | None
    hours_per_epoch: float | None

    def task(self, name: str) -> TaskEntry:
        """Return a task by its name or its data set's.

        Raises:
            InputError: the study has no such task.
        """
        for task in self.tasks:
            if name in (task.name, task.dataset):
                return task
        named = ", ".join(task.dataset for task in self.tasks)
        raise InputError(f"Expected a task of {self.name}, one of {named}, but got {name!r}.")

    @cached_property
    def trainers(self) -> tuple[str, ...]:
        """The names that nnU-Net is given, with the length."""
        return tuple(self._lengthened(name) for name in self.base_trainers)

    @property
    def baseline(self) -> str:
        """The trainer that the others are compared with, with the length."""
        return self._lengthened(self.base_baseline)

    @property
    def plans(self) -> str:
        """The plans that are trained with."""
        return f"{self.planned}CPU" if self.scale == "cpu" else self.planned

    @property
    def step_processes(self) -> int:
        """Processes of a step: as configured, or nnU-Net's 8, or 2 on a CPU, where each costs as much as the work it has."""
        return self.processes or (2 if self.device == "cpu" else 8)

    @property
    def shortened(self) -> bool:
        """Whether this is anything else than nnU-Net's own plans and length (docs/protocol.md)."""
        return self.scale != "paper" or any(_LENGTH_SETTING.search(name) for name in self.trainers)

    def _lengthened(self, name: str) -> str:
        return name if self.length is None else f"{name}_{self.length}"


def load_study(path: Path) -> Study:
    """Read and check a configuration file, or the one in a folder.

    Raises:
        InputError: it cannot be read or is not as the schema says; the message names the key.
    """
    import yaml

    if path.is_dir():
        path /= CONFIG_FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). `nnunet-nacl benchmark init {path.parent}` writes one."
        ) from error
    except (
        Exception
    ) as error:  # beside its own, PyYAML hands on what Python says of a date, a number or too deep a nesting
        raise InputError(f"{path}: is not YAML ({' '.join(str(error).split())}).") from error
    try:
        check_plain(content)
        check(content)
        return _study(content, path.resolve().parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _study(content: dict[str, Any], folder: Path) -> Study:
    cpu = content["scale"] == "cpu"
    execution = content.get("execution", {})
    seeds = content.get("seeds", {})
    trainers = tuple(content["trainers"])
    study = Study(
        folder=folder,
        name=content.get("name", folder.name),
        tasks=tuple(_task(entry, folder) for entry in content["tasks"]),
        base_trainers=trainers,
        base_baseline=content.get("baseline", trainers[0]),
        folds=tuple(content["folds"]),
        trainings=content.get("trainings", 1),
        configuration=content.get("configuration", "3d_fullres"),
        planned=content.get("plans", "nnUNetPlans"),
        scale=content["scale"],
        length=content.get("length", CPU_LENGTH if cpu else None),
        patch_size=tuple(content["patch_size"]) if "patch_size" in content else None,
        device=content.get("device", "cpu" if cpu else "cuda"),
        num_gpus=content.get("num_gpus", 1),
        phantom_seed=seeds.get("phantom", 0),
        bootstrap_seed=seeds.get("bootstrap", 0),
        recalibrate=content.get("recalibrate", True),
        hd95=content.get("hd95", False),
        mirrors=tuple(content.get("mirrors", MIRRORS)),
        profile=execution.get("profile", "local"),
        cores=execution.get("cores"),
        gpus=tuple(execution["gpus"]) if "gpus" in execution else None,
        processes=execution.get("processes"),
        hours_per_epoch=execution.get("hours_per_epoch"),
    )
    _check_together(study)
    return study


def _task(entry: str | dict[str, Any], folder: Path) -> TaskEntry:
    if isinstance(entry, str):
        entry = {"name": entry}
    phantom = entry.get("phantom")
    return TaskEntry(
        name=entry["name"],
        # as a reader of the file would take it: relative to the file
        source=_source(entry["from"], folder) if "from" in entry else None,
        dataset_id=entry.get("id"),
        phantom=(phantom.get("cases", 20), phantom.get("size", 32)) if phantom is not None else None,
    )


def _source(written: str, folder: Path) -> Path:
    try:
        return (folder / Path(written).expanduser()).resolve()
    except RuntimeError as error:
        raise InputError(f"Expected `from` to be a path, but got {written!r} ({error}).") from error


def _check_together(study: Study) -> None:
    """Raise InputError where values that are right alone do not go together."""
    for number, task in enumerate(study.tasks):
        if task.source is not None and task.phantom is not None:
            raise InputError(f"Expected `tasks[{number}]` to have `from` or `phantom`, but got both.")
        if task.source is None and task.phantom is None and task.name not in TASKS:
            raise InputError(
                f"Expected `tasks[{number}]` to be one of {', '.join(TASKS)} or to have `from` or `phantom`, "
                f"but got {task.name!r}."
            )
    _check_unique_numbers([task.dataset for task in study.tasks])
    if study.base_baseline not in study.base_trainers:
        raise InputError(f"Expected `baseline` to be one of `trainers`, but got {study.base_baseline!r}.")
    for number, name in enumerate(study.base_trainers):
        if study.length is not None and _LENGTH_SETTING.search(name):
            raise InputError(
                f"Expected `trainers[{number}]` to leave its length to `length` ({study.length}, so that all are equally "
                f"long), but got {name!r}."
            )
    if study.patch_size is not None and study.scale != "cpu":
        raise InputError("Expected `patch_size` only with `scale: cpu`, but got it with `scale: paper`.")
    if study.trainings > 1 and "," in str(study.folder):
        raise InputError(
            "Expected a folder without a comma with `trainings` above 1, since `compare` joins results by commas."
        )
    if study.num_gpus > 1 and study.device != "cuda":
        raise InputError(f"Expected `num_gpus` to be 1 with `device: {study.device}`, but got {study.num_gpus}.")
    if study.gpus is not None and len(study.gpus) < study.num_gpus:
        raise InputError(f"Expected `execution.gpus` to name at least `num_gpus` ({study.num_gpus}) GPUs, but got {list(study.gpus)}.")  # fmt: skip


def _check_unique_numbers(datasets: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for dataset in datasets:
        number = dataset.split("_")[0]
        if number in seen:
            raise InputError(f"Expected `tasks` to have a number each, but {seen[number]} and {dataset} share one.")
        seen[number] = dataset
