"""What a study has of one task: evaluated runs, temperatures, comparisons, learning curves; and in words what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nnunet_nacl.benchmark.config.study import Study, TaskEntry
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.output import SUMMARY_FILE
from nnunet_nacl.files import json_files
from nnunet_nacl.results_page.consistency import is_outdated
from nnunet_nacl.results_page.markdown import code, text
from nnunet_nacl.study.comparison_files import JSON_FILE
from nnunet_nacl.study.run import Run, check_same_protocol, load_run, load_summary

T = TypeVar("T")

MERGED, TEMPERED = "merged", "tempered"
TEMPERATURE_FILE = "temperature.json"
CURVES = "learning_curves"
COMPARISON, COMPARISON_TEMPERED = "comparison", "comparison_tempered"


@dataclass(frozen=True)
class TrainerResults:
    """What there is of one training of a trainer.

    Attributes:
        trainer: the name that nnU-Net was given.
        training: which of its trainings, the first is 1.
        merged: all its folds, evaluated.
        folds: content of calibration.json of each evaluated fold.
        tempered: all its folds after recalibration, or None.
        temperature: content of temperature.json, or None.
    """

    trainer: str
    training: int
    merged: Run
    folds: dict[int, dict[str, Any]]
    tempered: Run | None
    temperature: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The trainer, and which training of it where that is not the first."""
        return named(self.trainer, self.training)


def named(trainer: str, training: int) -> str:
    """Return the name of a training of a trainer."""
    return trainer if training == 1 else f"{trainer}, training {training}"


@dataclass(frozen=True)
class TaskResults:
    """What there is of one task.

    Attributes:
        study, task: whose.
        trainers: those whose folds are all evaluated, the baseline first; of each its trainings.
        comparison, comparison_tempered: content of comparison.json, or None.
        further: content of comparison.json of other folders ``comparison_...``, made by hand, by the folder's name.
        curves: content of learning_curves.json, or None.
        curves_figure: learning_curves.svg, or None.
        remarks: in Markdown, what is missing or does not fit.
        sources: the files that the numbers come from.
    """

    study: Study
    task: TaskEntry
    trainers: tuple[TrainerResults, ...]
    comparison: dict[str, Any] | None
    comparison_tempered: dict[str, Any] | None
    further: dict[str, dict[str, Any]]
    curves: Any
    curves_figure: Path | None
    remarks: tuple[str, ...]
    sources: tuple[Path, ...]

    @property
    def baseline(self) -> TrainerResults | None:
        """The results of the baseline's first training that is there, or None where it is not evaluated."""
        return next((each for each in self.trainers if each.trainer == self.study.baseline), None)


def read_task(study: Study, task: TaskEntry) -> TaskResults | None:
    """Return what there is of a task, or None where no trainer is evaluated in all folds.

    Raises:
        InputError: the runs were evaluated differently.
    """
    reader = _Reader(study, task)
    order = (study.baseline, *(name for name in study.trainers if name != study.baseline))
    numbers = range(1, study.trainings + 1)
    trainers = tuple(
        found for name in order for number in numbers if (found := reader.trainer(name, number)) is not None
    )
    if not trainers:
        return None
    for run in [run for each in trainers for run in (each.merged, each.tempered) if run is not None][1:]:
        check_same_protocol(trainers[0].merged, run)
    figure = reader.folder / f"{CURVES}.svg"
    comparisons = {folder.name: reader.comparison(folder.name) for folder in sorted(reader.folder.glob("comparison*"))}
    held = {name: content for name, content in comparisons.items() if content is not None}
    reader.check_comparisons(held, trainers)
    return TaskResults(
        study=study,
        task=task,
        trainers=trainers,
        comparison=held.pop(COMPARISON, None),
        comparison_tempered=held.pop(COMPARISON_TEMPERED, None),
        further=held,
        curves=reader.json(reader.folder / f"{CURVES}.json"),
        curves_figure=figure if figure.is_file() else None,
        remarks=tuple(reader.remarks),
        sources=tuple(reader.sources),
    )


class _Reader:
    """Reads the files of a task and notes what is wrong with them, instead of ending there."""

    def __init__(self, study: Study, task: TaskEntry) -> None:
        self.study = study
        self.places = Places(study)
        self.dataset = task.dataset
        self.folder = self.places.output(task.dataset)
        self.remarks: list[str] = []
        self.sources: list[Path] = []

    def trainer(self, trainer: str, training: int) -> TrainerResults | None:
        folder = self.places.result(self.dataset, trainer, MERGED, training).parent
        folds = {fold: held for fold in self.study.folds if (held := self._fold(folder / f"fold_{fold}")) is not None}
        merged = self._run(folder / MERGED)
        if merged is None:
            self.remarks.append(
                f"{code(named(trainer, training))} is in no table: {len(folds)} of its {len(self.study.folds)} folds are evaluated, and they are "
                "not joined."
            )
            return None
        self._check_folds(named(trainer, training), merged, folds)
        temperature = self.json(folder / TEMPERATURE_FILE)
        return TrainerResults(
            trainer=trainer,
            training=training,
            merged=merged,
            folds=folds,
            tempered=self._run(folder / TEMPERED),
            temperature=temperature if isinstance(temperature, dict) else None,
        )

    def comparison(self, name: str) -> dict[str, Any] | None:
        content = self.json(self.folder / name / JSON_FILE)
        return content if isinstance(content, dict) and isinstance(content.get("tests"), list) else None

    def check_comparisons(self, comparisons: dict[str, dict[str, Any]], trainers: Sequence[TrainerResults]) -> None:
        """Say which comparisons were made from other results than those that are there now."""
        runs = {run.folder: run for each in trainers for run in (each.merged, each.tempered) if run is not None}
        for name, content in comparisons.items():
            if is_outdated(content, runs):
                self.remarks.append(
                    f"{code(name)} was made from other results than those in the tables of scores; remove its marker and run the "
                    "study again."
                )

    def json(self, path: Path) -> Any:
        """Return the content of a file, None where there is none."""
        try:
            content = json_files.read(path, finite=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._say_unreadable(path, error)
            return None
        self.sources.append(path)
        return content

    def _fold(self, folder: Path) -> dict[str, Any] | None:
        return self._evaluated(folder, lambda: load_summary(folder / SUMMARY_FILE))

    def _run(self, folder: Path) -> Run | None:
        return self._evaluated(folder, lambda: load_run(folder))

    def _evaluated(self, folder: Path, read: Callable[[], T]) -> T | None:
        """Return what a result folder holds, None where there is none or it is damaged."""
        if not (folder / SUMMARY_FILE).is_file():
            return None
        try:
            held = read()
        except InputError as error:
            self._say_unreadable(folder, error)
            return None
        self.sources.append(folder / SUMMARY_FILE)
        return held

    def _check_folds(self, name: str, merged: Run, folds: dict[int, dict[str, Any]]) -> None:
        """Say so where the joined cases are not those of the folds: then the folds were evaluated again since."""
        of_folds = {case["case"] for held in folds.values() for case in held["metric_per_case"]}
        if len(folds) == len(self.study.folds) and of_folds != set(merged.statistics):
            self.remarks.append(
                f"{code(name)}: its joined result has other cases than its folds; remove markers/merge and run the study again."
            )

    def _say_unreadable(self, path: Path, error: object) -> None:
        shown, why = path.relative_to(self.study.folder), str(error).replace(f"{self.study.folder}/", "")
        self.remarks.append(f"{code(shown)} cannot be used ({text(why)}).")
