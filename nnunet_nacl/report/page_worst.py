"""The worst cases with their pictures, or with the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_nacl.errors import InputError
from nnunet_nacl.report.case_files import case_entry
from nnunet_nacl.report.names import score_name
from nnunet_nacl.report.not_shown import NoSliceError, NotShown, not_shown
from nnunet_nacl.report.number import fixed
from nnunet_nacl.report.pictures import Panel, run_panels, shared_panels
from nnunet_nacl.report.prepare_cases import worst_cases
from nnunet_nacl.report.prepare_scores import foreground_dice
from nnunet_nacl.report.prepare_slices import CaseSlice, prepare_slice
from nnunet_nacl.study.run import Run

SCORES = ("ECE", "gap", "NLL")


@dataclass(frozen=True)
class WorstRun:
    """What a run says of a case."""

    name: str
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
    runs: Sequence[Run], cases: Sequence[str], voxel_set: str, at_most: int, images: Path | None
) -> list[WorstCase]:
    """Return the cases with the highest ECE."""
    shown = []
    for case in worst_cases(runs, voxel_set, cases, at_most):
        try:
            picture = prepare_slice(runs, case, images)
        except NoSliceError as error:
            shown.append(_without_picture(runs, case, voxel_set, error.missing))
        except InputError as error:
            shown.append(_without_picture(runs, case, voxel_set, (not_shown(case, "pictures", error),)))
        else:
            shown.append(_pictured(runs, picture, voxel_set))
    return shown


def _without_picture(runs: Sequence[Run], case: str, voxel_set: str, missing: tuple[NotShown, ...]) -> WorstCase:
    return WorstCase(case, "", [WorstRun(run.name, _scores(run, case, voxel_set), []) for run in runs], missing)


def _pictured(runs: Sequence[Run], picture: CaseSlice, voxel_set: str) -> WorstCase:
    shared = shared_panels(picture)
    entries = []
    for run in runs:
        said = picture.runs.get(run.name)
        panels = [] if said is None else [*shared, *run_panels(picture, said, len(run.summary["mean"]))]
        shared = shared if said is None else []  # once a case
        entries.append(WorstRun(run.name, _scores(run, picture.case, voxel_set), panels))
    tall, wide = picture.extent
    return WorstCase(
        picture.case, f"{picture.where}; {wide:.0f} x {tall:.0f} mm shown", entries, picture.missing, _classes(picture)
    )


def _classes(picture: CaseSlice) -> frozenset[int]:
    arrays = (picture.labels, *(said.classes for said in picture.runs.values()))
    return frozenset(int(label) for array in arrays for label in np.unique(array))


def _scores(run: Run, case: str, voxel_set: str) -> list[tuple[str, str]]:
    entry = case_entry(run, case)
    held = entry["voxel_sets"][voxel_set]
    scores = [(score_name(key).short, fixed(held[key], signed=key == "gap")) for key in SCORES]
    return [*scores, ("Dice", fixed(foreground_dice(run, entry)))]
