"""calibration.json: the shape of nnU-Net's summary.json, with calibration scores in it.

What happens at the edges, in one table (the same stands in the documentation):

=============================================  ======================================================================
a voxel set has no voxel in a case              its scores are null there; the mean over cases skips and counts it
a class has no labelled voxel in a case         its class-wise scores are null there, skipped and counted likewise
a class is neither labelled nor predicted       its Dice is null, as in nnU-Net; predicted only: Dice is 0
the label's probability is below 1e-12          enters the NLL as 1e-12 and is counted in ``n_floored``
a voxel has the ignore label                    left out everywhere and counted in ``n_ignored``
=============================================  ======================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics, Scores
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION
from nnunet_nacl.evaluation.provenance import provenance

SCORE_NAMES = ("accuracy", "confidence", "gap", "ECE", "ACE", "MCE", "class_wise_ECE", "NLL", "Brier")
"""Scores of a voxel set, by the names in calibration.json and calibration_cases.csv."""


def summarize(result: FolderResult) -> dict[str, Any]:
    """Return the content of calibration.json: plain values, NaN as None.

    Keys as in nnU-Net's summary.json: ``foreground_mean`` (mean over the foreground classes of ``mean``), ``mean`` (per
    class, mean over cases) and ``metric_per_case``. Beside them: ``per_case`` (mean over cases of each voxel set's
    scores), ``pooled`` (scores of all cases' voxels together), ``protocol`` and ``provenance``.
    """
    cases = [_case_entry(case) for case in result.cases]
    labels = list(result.protocol["labels"])
    mean = {label: _class_mean([case["metrics"][label] for case in cases]) for label in labels}
    return {
        "schema_version": SCHEMA_VERSION,
        "foreground_mean": _class_mean([mean[label] for label in labels if label != "0"]),
        "mean": mean,
        "per_case": {
            voxel_set: _per_case([case["voxel_sets"][voxel_set] for case in cases]) for voxel_set in VOXEL_SETS
        },
        "pooled": {voxel_set: _set_entry(result.pooled, voxel_set) for voxel_set in VOXEL_SETS},
        "metric_per_case": cases,
        "protocol": {**result.protocol, "n_cases": len(result.cases)},
        "provenance": provenance(result.files),
    }


def _case_entry(result: CaseResult) -> dict[str, Any]:
    statistics = result.statistics
    return {
        "case": result.case.name,
        "reference_file": str(result.case.labels),
        "prediction_file": str(result.case.probabilities),
        "metrics": _class_entries(statistics),
        "voxel_sets": {voxel_set: _set_entry(statistics, voxel_set) for voxel_set in VOXEL_SETS},
        "n_ignored": int(statistics.ignored),
    }


def _class_entries(statistics: CalibrationStatistics) -> dict[str, dict[str, Any]]:
    dice = statistics.dice()
    by_set = {voxel_set: statistics.scores(voxel_set).class_wise_ece for voxel_set in VOXEL_SETS}
    return {
        str(label): {
            "Dice": _plain(dice[label]),
            "class_wise_ECE": {voxel_set: _plain(values[label]) for voxel_set, values in by_set.items()},
            "n_ref": int(statistics.confusion[label].sum()),
            "n_pred": int(statistics.confusion[:, label].sum()),
        }
        for label in range(statistics.num_classes)
    }


def _set_entry(statistics: CalibrationStatistics, voxel_set: str) -> dict[str, Any]:
    scores = statistics.scores(voxel_set)
    return {
        "n_voxels": scores.n_voxels,
        "n_floored": int(statistics.floored[list(VOXEL_SETS[voxel_set])].sum()),
        **{name: _plain(value) for name, value in named_scores(scores).items()},
    }


def named_scores(scores: Scores) -> dict[str, float]:
    """Return the scores of a voxel set under their names in the files, in the order of :data:`SCORE_NAMES`."""
    values = (
        scores.accuracy,
        scores.confidence,
        scores.gap,
        scores.ece,
        scores.ace,
        scores.mce,
        scores.mean_class_wise_ece,
        scores.nll,
        scores.brier,
    )
    return dict(zip(SCORE_NAMES, values, strict=True))


def _class_mean(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the defined values, with the number of entries that had one."""
    return {
        "Dice": _mean(entry["Dice"] for entry in entries),
        "class_wise_ECE": {
            voxel_set: _mean(entry["class_wise_ECE"][voxel_set] for entry in entries) for voxel_set in VOXEL_SETS
        },
        "n_defined": sum(entry["Dice"] is not None for entry in entries),
    }


def _per_case(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "n_cases": sum(entry["n_voxels"] > 0 for entry in entries),
        **{name: _mean(entry[name] for entry in entries) for name in SCORE_NAMES},
    }


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def _plain(value: float | np.floating[Any]) -> float | None:
    return None if math.isnan(value) else float(value)
