"""Runs side by side over the cases they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_nacl.calibration import VOXEL_SETS
from nnunet_nacl.calibration.scores import mean_of_defined
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.summary import named_scores
from nnunet_nacl.study.run import Run, check_same_protocol

SCORES = ("ECE", "class_wise_ECE", "gap", "NLL", "Brier")


@dataclass(frozen=True)
class SideBySide:
    """Means over the common cases: ``rows`` maps (score, voxel set) to one value per run, in the order of ``runs``."""

    runs: tuple[str, ...]
    cases: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]
    rows: dict[tuple[str, str], tuple[float, ...]]


def side_by_side(runs: Sequence[Run]) -> SideBySide:
    """Compare runs over the cases that all of them have.

    Raises:
        InputError: the runs were evaluated differently or share no case.
    """
    for run in runs[1:]:
        check_same_protocol(runs[0], run)
    common = sorted(set.intersection(*(set(run.statistics) for run in runs)))
    if not common:
        raise InputError(f"{' and '.join(str(run.folder) for run in runs)} have no case in common.")
    rows = {("Dice", "class mean"): tuple(_mean_dice(run, common) for run in runs)}
    for voxel_set in VOXEL_SETS:
        per_run = [_mean_scores(run, common, voxel_set) for run in runs]
        for name in SCORES:
            rows[name, voxel_set] = tuple(scores[name] for scores in per_run)
    left_out = {run.name: tuple(sorted(set(run.statistics) - set(common))) for run in runs}
    return SideBySide(tuple(run.name for run in runs), tuple(common), left_out, rows)


def _mean_dice(run: Run, cases: list[str]) -> float:
    per_class = np.stack([run.statistics[case].dice() for case in cases])[:, 1:]
    return mean_of_defined(np.array([mean_of_defined(values) for values in per_class.T]))


def _mean_scores(run: Run, cases: list[str], voxel_set: str) -> dict[str, float]:
    per_case = [named_scores(run.statistics[case].scores(voxel_set)) for case in cases]
    return {name: mean_of_defined(np.array([scores[name] for scores in per_case])) for name in SCORES}
