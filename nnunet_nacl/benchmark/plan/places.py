"""Where a benchmark keeps what: nnU-Net's three folders, and markers, logs, states and results beside its configuration.

nnU-Net knows a training by the names of trainer, plans and configuration and the fold. Where a fold is trained several times, the
others than the first lie in results folders of their own, ``training_2`` and so on in nnUNet_results: ``nnUNetv2_train --c`` finds
them again under the trainer's own name, and so does ``nnUNetv2_predict`` where nnUNet_results is that folder.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nnunet_nacl.benchmark.config.study import Study, TaskEntry

_LATER = re.compile(r"training_([1-9]\d*)")
NNUNET_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@dataclass(frozen=True)
class Places:
    """The folders of a study."""

    study: Study

    @property
    def raw(self) -> Path:
        """nnUNet_raw."""
        return self._nnunet("nnUNet_raw")

    @property
    def preprocessed(self) -> Path:
        """nnUNet_preprocessed."""
        return self._nnunet("nnUNet_preprocessed")

    @property
    def results(self) -> Path:
        """nnUNet_results."""
        return self._nnunet("nnUNet_results")

    def run_name(self, trainer: str) -> str:
        """nnU-Net's name of a trainer's result folder."""
        return f"{trainer}__{self.study.plans}__{self.study.configuration}"

    def results_of(self, training: int) -> Path:
        """The nnUNet_results of the first, second, ... training of each fold."""
        return self.results.joinpath(*later(training))

    def fold(self, dataset: str, trainer: str, fold: int, training: int = 1) -> Path:
        """nnU-Net's result folder of one fold."""
        return self.results_of(training) / dataset / self.run_name(trainer) / f"fold_{fold}"

    def source(self, task: TaskEntry) -> Path | None:
        """Where a task is imported from; None where it is downloaded."""
        return self.study.folder / "tasks" / task.name if task.phantom is not None else task.source

    def output(self, dataset: str, *parts: str) -> Path:
        """Our own results of a data set."""
        return self.study.folder.joinpath("results", dataset, *parts)

    def result(self, dataset: str, trainer: str, part: str, training: int = 1) -> Path:
        """Our results of a trainer: a fold, all folds merged, and so on."""
        return self.output(dataset, self.run_name(trainer), *later(training), part)

    @property
    def pages(self) -> Path:
        """The pages of results."""
        return self.study.folder / "pages"

    def marker(self, job: str) -> Path:
        """The file that says that a job is done, and how it was done."""
        return self.study.folder / f"markers/{job}.json"

    def log(self, job: str) -> Path:
        """What a job printed."""
        return self.study.folder / f"logs/{job}.log"

    def state(self, job: str) -> Path:
        """What was last heard of a job; ``.lock`` beside it is locked while it runs."""
        return self.study.folder / f"state/{job}.json"

    def _nnunet(self, variable: str) -> Path:
        return Path(os.environ.get(variable) or self.study.folder / variable)


def later(training: int) -> tuple[str, ...]:
    """Return the folder that keeps a training apart; none for the first."""
    return () if training == 1 else (f"training_{training}",)


def training_of(fold: Path) -> int:
    """Return which training of a fold lies in nnU-Net's folder ``.../<data set>/<trainer>__.../fold_X``."""
    found = _LATER.fullmatch(fold.parent.parent.parent.name)
    return int(found[1]) if found else 1


def environment(places: Places, trainer_folder: Path) -> dict[str, str]:
    """Return the environment variables that nnU-Net's commands run with.

    What the user has set stays. Unset folders lie in the benchmark's own; the commands of this Python come first.
    """
    variables = dict(os.environ)
    for variable, folder in zip(NNUNET_FOLDERS, (places.raw, places.preprocessed, places.results), strict=True):
        variables[variable] = str(folder)
    external = [part for part in variables.get("nnUNet_extTrainer", "").split(os.pathsep) if part]
    if str(trainer_folder) not in external:
        external.append(str(trainer_folder))
    variables["nnUNet_extTrainer"] = os.pathsep.join(external)
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables.get("PATH", os.defpath)])
    if places.study.device == "cpu":
        variables.setdefault("nnUNet_compile", "f")  # compiling takes longer than it gains in a short training
        variables.setdefault("nnUNet_n_proc_DA", "2")
        variables.setdefault("nnUNet_def_n_proc", str(places.study.step_processes))
    if places.study.processes is not None:
        variables["nnUNet_def_n_proc"] = str(places.study.processes)
    return variables
