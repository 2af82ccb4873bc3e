"""The worst cases with their pictures, or with the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.errors import InputError
from nnunet_nacl.report.case_files import Given, case_entry
from nnunet_nacl.report.names import score_name
from nnunet_nacl.report.not_shown import NoSliceError, NotShown, not_shown
from nnunet_nacl.report.number import fixed
from nnunet_nacl.report.pictures import Panel, run_panels, shared_panels
from nnunet_nacl.report.prepare_cases import worst_cases
from nnunet_nacl.report.prepare_scores import foreground_dice
from nnunet_nacl.report.prepare_slices import CaseSlice, prepare_slices
from nnunet_nacl.study.run import Run

SCORES = ("ECE", "gap", "NLL")


@dataclass(frozen=True)
class WorstRun:
    """What a run says of a case, or of a region of it; scores stand with the first region."""

    name: str
    region: str
    scores: list[tuple[str, str]]
    panels: list[Panel]


@dataclass(frozen=True)
class WorstCase:
    """A case: where its slice lies, what each run says, what could not be shown, and the classes in the pictures."""

    name: str
    where: str
    runs: list[WorstRun]
    missing: tuple[NotShown, ...]
    classes: frozenset[int] = frozenset()

    @property
    def pictured(self) -> bool:
        """Whether there is a picture."""
        return any(run.panels for run in self.runs)


def prepare_worst(
    runs: Sequence[Run], cases: Sequence[str], voxel_set: str, at_most: int, given: Given
) -> list[WorstCase]:
    """Return the cases with the highest ECE."""
    shown = []
    for case in worst_cases(runs, voxel_set, cases, at_most):
        try:
            pictures = prepare_slices(runs, case, given)
        except NoSliceError as error:
            shown.append(_without_picture(runs, case, voxel_set, error.missing))
        except InputError as error:
            shown.append(_without_picture(runs, case, voxel_set, (not_shown(case, "pictures", error),)))
        else:
            shown.append(_pictured(runs, pictures, voxel_set))
    return shown


def _without_picture(runs: Sequence[Run], case: str, voxel_set: str, missing: tuple[NotShown, ...]) -> WorstCase:
    return WorstCase(case, "", [WorstRun(run.name, "", _scores(run, case, voxel_set), []) for run in runs], missing)


def _pictured(runs: Sequence[Run], pictures: Sequence[CaseSlice], voxel_set: str) -> WorstCase:
    entries = []
    for number, picture in enumerate(pictures):
        shared = shared_panels(picture)
        for run in runs:
            said = picture.runs.get(run.name)
            num_classes = 2 if picture.region else len(run.summary["mean"])
            panels = [] if said is None else [*shared, *run_panels(picture, said, num_classes)]
            shared = shared if said is None else []  # once a case or region
            scores = _scores(run, picture.case, voxel_set) if number == 0 else []
            entries.append(WorstRun(run.name, picture.region, scores, panels))
    first = pictures[0]
    tall, wide = first.extent
    return WorstCase(
        first.case, f"{first.where}; {wide:.0f} x {tall:.0f} mm shown", entries, first.missing, _classes(pictures)
    )


def _classes(pictures: Sequence[CaseSlice]) -> frozenset[int]:
    arrays = [array for one in pictures for array in (one.labels, *(said.classes for said in one.runs.values()))]
    return frozenset(int(label) for array in arrays for label in np.unique(array))


def _scores(run: Run, case: str, voxel_set: str) -> list[tuple[str, str]]:
    entry = case_entry(run, case)
    held = entry["voxel_sets"][voxel_set]
    scores = [(score_name(key).short, fixed(held[key], signed=key == "gap")) for key in SCORES]
    return [*scores, ("Dice", fixed(foreground_dice(run, entry)))]
