"""The scores of each case, read from calibration.json's ``metric_per_case``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.output import SUMMARY_FILE
from nnunet_nacl.study.run import Run, check_same_protocol

BACKGROUND = "0"


@dataclass(frozen=True)
class Quantity:
    """A number that each case has.

    Attributes:
        score: its name in calibration.json.
        voxel_set: the voxels it is computed over; None for a score of the whole case, as Dice.
        label: the class, a key of ``metrics``; None for a score of the voxel set, or the mean of the classes.
    """

    score: str
    voxel_set: str | None = None
    label: str | None = None

    @property
    def is_class_mean(self) -> bool:
        """Whether this is the mean over the classes of a case of a score that only classes have, as Dice."""
        return self.voxel_set is None and self.label is None


class CaseScores:
    """The cases of a run and what is known of each; of a trainer trained several times, the means over its runs.

    Attributes:
        folder: the run's folder, for messages.
        labels: names of the classes by their key in ``metrics``, without background.
        voxel_sets: the voxel sets that the run has scores of.
        of_sets: names of the scores of a voxel set, e.g. ECE.
        of_classes: names of the scores of a class, e.g. Dice.
        of_classes_and_sets: names of the scores of a class in a voxel set, e.g. class_wise_ECE.
    """

    def __init__(self, run: Run) -> None:
        """Read the cases of a run.

        Raises:
            InputError: calibration.json is not as `nnunet-nacl evaluate` writes it.
        """
        self.folder = run.folder
        try:
            self._entries = {str(entry["case"]): entry for entry in run.summary["metric_per_case"]}
            self._parts = {case: str(entry.get("part") or "") for case, entry in self._entries.items()}
            names = run.summary["protocol"]["labels"]
            self.labels = {label: str(name) for label, name in names.items() if label != BACKGROUND}
            first = next(iter(self._entries.values()))
            self.voxel_sets: tuple[str, ...] = tuple(first["voxel_sets"])
            of_set, of_class = (next(iter(first[key].values())) for key in ("voxel_sets", "metrics"))
            self.of_sets = tuple(name for name, value in of_set.items() if _is_score(name, value))
            self.of_classes = tuple(name for name, value in of_class.items() if _is_score(name, value))
            self.of_classes_and_sets = tuple(
                name
                for name, value in of_class.items()
                if isinstance(value, dict) and value.keys() >= set(self.voxel_sets)
            )
        except (KeyError, TypeError, AttributeError, StopIteration, RuntimeError) as error:
            raise self._unusable() from error
        self._repeats = [CaseScores(repeat) for repeat in run.repeats]
        for number, repeat in enumerate(self._repeats):
            self._check_repeat(repeat)
            for other in (self, *self._repeats[:number]):
                repeat._check_not_copied(other)

    @property
    def n_runs(self) -> int:
        """How often the trainer was trained on each fold."""
        return 1 + len(self._repeats)

    def _check_repeat(self, repeat: CaseScores) -> None:
        if repeat.cases != self.cases or any(repeat.part(case) != self.part(case) for case in self.cases):
            raise InputError(
                f"{repeat.folder} is no repetition of {self.folder}: expected the same cases in the same folds, trained again."
            )

    def _check_not_copied(self, other: CaseScores) -> None:
        """Raise InputError where a fold has the scores of another training in every case: trained twice, no two are equal."""
        same = {case for case in self.cases if _scores(self._entries[case]) == _scores(other._entries[case])}
        parts = dict.fromkeys(map(self.part, sorted(self.cases)))
        copied = [part for part in parts if all(case in same for case in self.cases if self.part(case) == part)]
        if copied:
            where = f" of {', '.join(copied)}" if any(copied) else ""
            raise InputError(
                f"{self.folder}: has the scores of {other.folder} in all cases{where}, to the last digit. A copy is no second training: "
                "leave it out."
            )

    @property
    def cases(self) -> set[str]:
        """The names of the cases."""
        return set(self._entries)

    def part(self, case: str) -> str:
        """Return the part that `nnunet-nacl merge` has a case from, as ``fold_0``; empty in a run that is not merged."""
        return self._parts[case]

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores that every training of it has, those of classes first."""
        own = dict.fromkeys((*self.of_classes, *self.of_sets, *self.of_classes_and_sets))
        return tuple(name for name in own if all(name in repeat.scores for repeat in self._repeats))

    def quantities(self, scores: Sequence[str], voxel_sets: Sequence[str], per_class: bool) -> list[Quantity]:
        """Return what there is of the given scores, in their order, and of each in the order of the voxel sets.

        Args:
            scores: names in calibration.json.
            voxel_sets: of the scores that have one.
            per_class: also for each class, not only the mean of the classes.
        """
        labels = self.labels if per_class else {}
        found: list[Quantity] = []
        for score in scores:
            if score in self.of_classes:
                found += [Quantity(score), *(Quantity(score, None, label) for label in labels)]
            for voxel_set in voxel_sets:
                found += [Quantity(score, voxel_set)] if score in self.of_sets else []
                if score in self.of_classes_and_sets:
                    found += [Quantity(score, voxel_set, label) for label in labels]
        return found

    def values(self, cases: Sequence[str], quantity: Quantity) -> Float64Array:
        """Return a quantity other than a class mean, ``(N,)``, NaN where a case does not have it in any run.

        Raises:
            InputError: a case lacks the entry, or it is no finite number and not null.
        """
        if self._repeats:
            return _mean_of_defined(
                np.stack([self._own(cases, quantity), *(each.values(cases, quantity) for each in self._repeats)])
            )
        return self._own(cases, quantity)

    def _own(self, cases: Sequence[str], quantity: Quantity) -> Float64Array:
        try:
            values = np.array([_value(self._entries[case], quantity) for case in cases], dtype=np.float64)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._unusable() from error
        if np.isinf(values).any():
            raise self._unusable()
        return values

    def reference(self, case: str) -> tuple[Any, ...]:
        """Return what depends on the labels of a case alone: voxels per class, ignored voxels, voxels in all."""
        entry = self._entries[case]
        try:
            per_class = {label: metrics.get("n_ref") for label, metrics in entry["metrics"].items()}
            return per_class, entry.get("n_ignored"), entry["voxel_sets"].get("all", {}).get("n_voxels")
        except (KeyError, AttributeError) as error:
            raise self._unusable() from error

    def _unusable(self) -> InputError:
        return InputError(
            f"{self.folder / SUMMARY_FILE}: its cases are not as `nnunet-nacl evaluate` writes them. "
            "Evaluate the folder again."
        )


def check_repeats(run: Run) -> None:
    """Raise InputError unless all trainings of a run were evaluated alike, on the same cases in the same folds."""
    CaseScores(run)
    for each in run.repeats:
        check_same_protocol(run, each)


def paired_values(
    base: CaseScores, run: CaseScores, cases: Sequence[str], quantity: Quantity
) -> tuple[Float64Array, Float64Array]:
    """Return a quantity of two runs, each ``(N,)``, NaN where it is not defined.

    Dice and HD95 are as nnU-Net counts them: a class that is neither labelled nor predicted in a case has none, and one that is only
    predicted has Dice 0. The mean of the classes of a case is over those that the run itself has. A case in which only one of
    the two has a value (the other rightly leaves out what the labels lack) is no pair by itself; there the other enters with
    its mean over its own cases, so that both means are those of nnU-Net, which leaves the case out of one of them.
    """
    if quantity.voxel_set is not None:
        return base.values(cases, quantity), run.values(cases, quantity)
    ours, theirs = (_with_class_means(each, cases, quantity) for each in (base, run))
    return _filled(ours, theirs), _filled(theirs, ours)


def predicted_where_absent(table: CaseScores, cases: Sequence[str]) -> dict[str, int]:
    """Return by class in how many cases it is predicted though the labels lack it."""
    counts = {}
    for label in table.labels:
        dice = table.values(cases, Quantity("Dice", None, label)) if "Dice" in table.of_classes else np.array([])
        absent = [table.reference(case)[0][label] == 0 for case in cases]
        counts[label] = int((~np.isnan(dice) & absent).sum()) if dice.size else 0
    return counts


def _with_class_means(table: CaseScores, cases: Sequence[str], quantity: Quantity) -> Float64Array:
    if not quantity.is_class_mean:
        return table.values(cases, quantity)
    each = np.array([table.values(cases, Quantity(quantity.score, None, label)) for label in table.labels])
    return _mean_of_defined(each.reshape(len(table.labels), len(cases)))


def _filled(values: Float64Array, others: Float64Array) -> Float64Array:
    alone = np.isnan(values) & ~np.isnan(others)
    return np.where(alone, _mean_of_defined(values), values)


def _scores(entry: dict[str, Any]) -> tuple[Any, Any]:
    return entry.get("metrics"), entry.get("voxel_sets")


def _mean_of_defined(values: Float64Array) -> Float64Array:
    """Return the mean over the first axis of what is not NaN, NaN where nothing is."""
    defined = ~np.isnan(values)
    means = np.full(values.shape[1:], np.nan)
    np.divide(np.where(defined, values, 0.0).sum(0), defined.sum(0), out=means, where=defined.any(0))
    return means


def check_same_references(base: CaseScores, run: CaseScores, cases: Iterable[str]) -> None:
    """Raise InputError if a case has other labels in one run than in the other, as far as the numbers of voxels tell."""
    differing = [case for case in cases if base.reference(case) != run.reference(case)]
    if differing:
        shown = ", ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
        raise InputError(
            f"{run.folder} was evaluated against other labels than {base.folder}: the numbers of labelled voxels differ in "
            f"{shown}. Evaluate both against the same label folder."
        )


def _value(entry: dict[str, Any], quantity: Quantity) -> float:
    if quantity.label is None:
        value = entry["voxel_sets"][quantity.voxel_set][quantity.score]
    else:
        value = entry["metrics"][quantity.label][quantity.score]
        value = value if quantity.voxel_set is None else value[quantity.voxel_set]
    return math.nan if value is None else value


def _is_score(name: str, value: Any) -> bool:
    return not name.startswith("n_") and (value is None or type(value) in (int, float))
