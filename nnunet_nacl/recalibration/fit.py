"""Fitting a recalibration on validation folders, and scoring it on cases that it was not fitted on.

A map is never judged on the cases that it was fitted on: folders, or parts of the cases of a single one, take turns, and each case is
scored with the map of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from nnunet_nacl.calibration.temperature import NoVoxelsError
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_groups import Groups
from nnunet_nacl.evaluation.cases import Case, find_cases
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.recalibration.guarantees import DEFAULT_METHOD, GUARANTEES
from nnunet_nacl.recalibration.heads import Heads, heads_of
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.methods.base import Fit, Map
from nnunet_nacl.recalibration.scored_cases import ScoredCases
from nnunet_nacl.recalibration.splits import Part, at_random, by_folder, without
from nnunet_nacl.recalibration.voxels import Counts, Reader, Voxels

Item = TypeVar("Item")
Result = TypeVar("Result")

GIBIBYTE = 2**30
DEFAULT_PARTS = 5

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Options:
    """How to fit.

    Attributes:
        method: see :data:`~nnunet_nacl.recalibration.methods.METHODS`.
        voxel_set: see :data:`~nnunet_nacl.recalibration.selection.FIT_SETS`; None for that of the method.
        parts: number of random parts of a single folder; None for :data:`DEFAULT_PARTS`, or one a case where there are fewer.
        max_voxels: fit on that many, drawn at random; None for all.
        seed: of the random parts and voxels.
        memory: bytes for the probabilities of a case, and again for the selected voxels of all cases. What does not fit goes
            to a scratch file, or is read again.
        n_bins: equal-width confidence bins of the scores.
        groups: cases that are one unit, so that none of them is fitted on where another is held out; None where each is its own.
        each_folder: fit on each folder alone as well.
    """

    method: str = DEFAULT_METHOD
    voxel_set: str | None = None
    parts: int | None = None
    max_voxels: int | None = None
    seed: int = 0
    memory: int = 2 * GIBIBYTE
    n_bins: int = 15
    groups: Groups | None = None
    each_folder: bool = False

    @property
    def set_to_fit_on(self) -> str:
        """The voxel set, asked for or that of the method."""
        return self.voxel_set or GUARANTEES[self.method].voxel_set


@dataclass(frozen=True)
class Fitted:
    """The map of each problem, and the fits behind them: one for all problems together, or one for each."""

    maps: tuple[Map, ...]
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class HeldOut:
    """What was fitted on all cases but a part's own."""

    part: Part
    fitted: Fitted


@dataclass(frozen=True)
class FitResult:
    """What was fitted, on what, and what each case is scored by before and after.

    Attributes:
        fitted: on all cases.
        of_folders: on each folder alone, where that was asked for.
        after: with the maps of ``held_out``, each case with those that it had no part in; with a single case there are none, and it
            is scored with what was fitted on it.
    """

    heads: Heads
    ignore_label: int | None
    options: Options
    cases: tuple[Case, ...]
    folders: tuple[str, ...]
    fitted: Fitted
    held_out: tuple[HeldOut, ...]
    of_folders: tuple[Fitted, ...]
    counts: Counts
    n_kept_in_memory: int
    before: ScoredCases
    after: ScoredCases
    files: dict[str, str]


def fit_folders(
    folders: Sequence[Path],
    labels: Path,
    dataset_json: Path,
    plans_json: Path,
    options: Options,
    scratch: Path,
    progress: Progress = lambda what, done, of: None,
) -> FitResult:
    """Fit a recalibration of the softmax files in one or more folders.

    Args:
        folders: validation folders with ``<case>.npz``.
        labels: folder with the label files.
        dataset_json: nnU-Net's ``dataset.json``.
        plans_json: nnU-Net's plans file.
        options: how.
        scratch: existing folder for scratch files.
        progress: called after each case and fit.

    Raises:
        InputError: files that cannot be used, a case in two folders, or no voxel to fit on.
    """
    dataset = load_dataset(dataset_json, plans_json)
    found = [(case, str(folder)) for folder in folders for case in find_cases(labels, folder, dataset.file_ending)]
    files = {
        "labels": str(labels),
        "predictions": ", ".join(map(str, folders)),
        "dataset_json": str(dataset_json),
        "plans_json": str(plans_json),
    }
    return fit_cases(found, dataset, heads_of(dataset), options, scratch, files, progress)


def fit_cases(
    found: Sequence[tuple[Case, str]],
    dataset: Dataset,
    heads: Heads,
    options: Options,
    scratch: Path,
    files: dict[str, str],
    progress: Progress = lambda what, done, of: None,
    voxels: Voxels | None = None,
) -> FitResult:
    """Fit a recalibration of cases, each given with the name of its folder; see :func:`fit_folders`.

    ``voxels`` are those of the cases, where they come from elsewhere than from files.
    """
    cases, folders = [case for case, _ in found], [folder for _, folder in found]
    _check_distinct(found)
    groups = None if options.groups is None else options.groups.of(case.name for case in cases)
    parts = _parts(folders, options, groups)
    if voxels is None:
        reader = Reader(dataset, heads, options.n_bins, options.memory, scratch)
        voxels = Voxels(reader, cases, options.set_to_fit_on, options.memory)
    reader = voxels.reader
    numbers = range(len(cases))
    counts, before = _scan(voxels, options, progress)
    fitted = _fit(voxels, numbers, options)

    def fit_without(part: Part) -> HeldOut:
        return HeldOut(part, _fit(voxels, without(part, len(cases), groups), options, start=fitted))

    held_out = _each("fitting", fit_without, parts, progress)
    each = by_folder(folders) if options.each_folder else []
    of_folders = tuple(_fit(voxels, part.members, options, start=fitted) for part in each)
    own = {number: held.fitted for held in held_out for number in held.part.members}

    after = ScoredCases()

    def score(number: int) -> None:
        after.add(reader.score_recalibrated(cases[number], own.get(number, fitted).maps))

    _each("scoring", score, numbers, progress)
    return FitResult(
        heads=heads,
        ignore_label=dataset.ignore_label,
        options=options,
        cases=tuple(cases),
        folders=tuple(folders),
        fitted=fitted,
        held_out=tuple(held_out),
        of_folders=of_folders,
        counts=counts,
        n_kept_in_memory=sum(kept is not None for kept in voxels.kept),
        before=before,
        after=after,
        files=files,
    )


def _scan(voxels: Voxels, options: Options, progress: Progress) -> tuple[Counts, ScoredCases]:
    """Read all cases for the first time, and draw some of the selected voxels where not all are wanted."""
    before = ScoredCases()

    def scan(number: int) -> Counts:
        counted, scored = voxels.scan(number)
        before.add(scored)
        return counted

    counts = _each("reading", scan, range(len(voxels.cases)), progress)
    selected = np.stack([counted.selected for counted in counts])
    if options.max_voxels is not None and options.max_voxels < selected.sum():
        voxels.draw(selected, options.max_voxels, options.seed)
    return sum(counts[1:], counts[0]), before


def _each(what: str, work: Callable[[Item], Result], items: Sequence[Item], progress: Progress) -> list[Result]:
    results = []
    for done, item in enumerate(items, start=1):
        results.append(work(item))
        progress(what, done, len(items))
    return results


def _fit(voxels: Voxels, numbers: Sequence[int], options: Options, start: Fitted | None = None) -> Fitted:
    """Fit on some cases; ``start`` saves time."""
    everything = range(len(voxels.reader.heads.problems))
    if METHODS[options.method].one_for_all_regions:
        fit = _fit_problems(voxels, numbers, everything, options, start)
        return Fitted((fit.map,) * len(everything), (fit,))
    fits = tuple(_fit_problems(voxels, numbers, [problem], options, start) for problem in everything)
    return Fitted(tuple(fit.map for fit in fits), fits)


def _fit_problems(
    voxels: Voxels, numbers: Sequence[int], problems: Sequence[int], options: Options, start: Fitted | None
) -> Fit:
    heads = voxels.reader.heads
    try:
        return METHODS[options.method].fit(
            lambda: voxels.of(numbers, problems),
            heads.num_classes(problems[0]),
            heads.kind,
            None if start is None else start.maps[problems[0]],
        )
    except NoVoxelsError as error:
        where = ", ".join(heads.problems[problem] for problem in problems)
        raise InputError(
            f"no voxel of the set {options.set_to_fit_on!r} to fit on ({where}) in {len(numbers)} of the cases; "
            "those with all probability on one class do not count."
        ) from error


def _parts(folders: Sequence[str], options: Options, groups: Sequence[str] | None) -> list[Part]:
    if len(set(folders)) > 1:
        return by_folder(folders)
    n_units = len(folders if groups is None else set(groups))
    if n_units == 1 and options.parts is None:
        return []
    return at_random(len(folders), options.parts or min(DEFAULT_PARTS, n_units), options.seed, groups)


def _check_distinct(found: Sequence[tuple[Case, str]]) -> None:
    first: dict[str, str] = {}
    for case, folder in found:
        if case.name in first:
            raise InputError(
                f"{case.name} is in {first[case.name]} and in {folder}. A case may be fitted on once only, or it would "
                "count twice and leak from one fold into another."
            )
        first[case.name] = folder
