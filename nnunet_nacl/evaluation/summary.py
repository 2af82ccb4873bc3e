"""calibration.json: the shape of nnU-Net's summary.json, with calibration scores in it.

What happens at the edges, in one table (the same stands in docs/scores.md):

=============================================  ======================================================================
a voxel set has no voxel in a case              its scores are null there; the mean over cases skips and counts it
a class has no labelled voxel in a case         its class-wise scores are null there, skipped and counted likewise
a class is neither labelled nor predicted       its Dice and HD95 are null, Dice as in nnU-Net
a class is only labelled, or only predicted     its Dice is 0, its HD95 the diagonal of the volume
the label's probability is below 1e-12          enters the NLL as 1e-12 and is counted in ``n_floored``
all probabilities of a voxel are exactly 0 or 1  evaluated as any other and counted in ``n_certain``: nnU-Net writes them outside
                                                 the region it crops to, and a network's output may be saturated
a voxel has the ignore label                    left out everywhere and counted in ``n_ignored``
probabilities sum to 1 only within 1e-2         evaluated as they are; further away: refused
the image is 2D                                 its volumes are null
a class is not predicted                        its mean probability and entropy are null, its soft Dice confidence 0
the file is older than these confidences        they are null, as is ``spread``
a score is defined in fewer than two cases      its interval is null
the model is region-based                       scores of a voxel set are means over the regions, each a binary problem;
                                                 ``n_...`` are sums over them
=============================================  ======================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics, Scores
from nnunet_nacl.calibration.arrays import Int64Array
from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL, METHOD, METHOD_POOLED, mean_interval, where_units_differ
from nnunet_nacl.calibration.mask_confidence import PROBABILITY, mask_means, soft_dice_confidence
from nnunet_nacl.calibration.overlap import LABELLED, PREDICTED, dice_of_overlap
from nnunet_nacl.evaluation.case_groups import Groups
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.pooled_intervals import pooled_intervals
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.evaluation.remarks import gather
from nnunet_nacl.evaluation.score_ranges import ranges_of
from nnunet_nacl.files.json_files import finite_or_none

ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "accuracy",
        "confidence": "confidence",
        "gap": "gap",
        "ECE": "ece",
        "ACE": "ace",
        "MCE": "mce",
        "equal_mass_ECE": "equal_mass_ece",
        "class_wise_ECE": "mean_class_wise_ece",
        "class_wise_ACE": "mean_class_wise_ace",
        "class_wise_MCE": "mean_class_wise_mce",
        "thresholded_class_wise_ECE": "mean_thresholded_class_wise_ece",
        "NLL": "nll",
        "Brier": "brier",
        "Brier_reliability": "brier_reliability",
        "Brier_resolution": "brier_resolution",
        "Brier_uncertainty": "brier_uncertainty",
        "smooth_ECE": "smooth_ece",
        "CORP_Brier": "corp_brier",
        "CORP_Brier_miscalibration": "corp_brier_miscalibration",
        "CORP_Brier_discrimination": "corp_brier_discrimination",
        "CORP_Brier_uncertainty": "corp_brier_uncertainty",
        "CORP_NLL": "corp_nll",
        "CORP_NLL_miscalibration": "corp_nll_miscalibration",
        "CORP_NLL_discrimination": "corp_nll_discrimination",
        "CORP_NLL_uncertainty": "corp_nll_uncertainty",
    }
)
"""Attribute of :class:`Scores` by the name of the score in calibration.json and calibration_cases.csv."""

SCORE_NAMES = tuple(ATTRIBUTES)

WITHOUT_BINS = tuple(name for name in SCORE_NAMES if name == "smooth_ECE" or name.startswith("CORP_"))
"""Scores that older files do not have."""

CLASS_SCORES: Mapping[str, str] = MappingProxyType(
    {
        "class_wise_ECE": "class_wise_ece",
        "class_wise_ACE": "class_wise_ace",
        "class_wise_MCE": "class_wise_mce",
        "thresholded_class_wise_ECE": "thresholded_class_wise_ece",
    }
)
"""The same for the scores that each class has of its own."""

VOLUMES = ("reference", "predicted", "soft", "spread")
"""Under ``volume_ml`` of each class of a case; the last is the sum of p (1 - p)."""

CONFIDENCES = ("soft_Dice", "mean_probability", "mean_entropy")
"""Under ``confidence`` of each class of a case, see :mod:`nnunet_nacl.calibration.mask_confidence`; null in older files."""

MM3_PER_ML = 1000


def summarize(result: FolderResult, groups: Groups | None = None) -> dict[str, Any]:
    """Return the content of calibration.json: plain values, NaN as None.

    Keys as in nnU-Net's summary.json: ``foreground_mean`` (mean over the foreground classes of ``mean``), ``mean`` (per
    class or region, mean over cases) and ``metric_per_case``. Beside them: ``per_case`` (mean over cases of each voxel set's
    scores), ``pooled`` (scores of all cases' voxels together), ``protocol`` and ``provenance``. Beside a score in ``mean``,
    ``per_case`` and ``pooled`` stands its 95 % interval over cases, or over ``groups`` of them where such were given, as
    ``<score>_interval``; ``intervals`` says how they were made. A case of a merged result says which ``part`` it is of.
    ``remarks`` is what a reader should know of some cases.

    Args:
        result: of :func:`~nnunet_nacl.evaluation.evaluate_folder`, or read back.
        groups: which cases are of one patient; each its own if None.
    """
    labels = list(result.protocol["labels"])
    cases = [_case_entry(case, labels) for case in result.cases]
    units = None if groups is None else groups.of(case["case"] for case in cases)
    mean = {label: _class_mean([case["metrics"][label] for case in cases], units) for label in labels}
    foreground = [label for label in labels if result.protocol["regions"] or label != "0"]
    return {
        "schema_version": SCHEMA_VERSION,
        "foreground_mean": _foreground_mean([mean[label] for label in foreground]),
        "mean": mean,
        "per_case": {
            voxel_set: _per_case([case["voxel_sets"][voxel_set] for case in cases], units) for voxel_set in VOXEL_SETS
        },
        "pooled": {
            voxel_set: {
                **_set_entry(result.pooled_problems, voxel_set),
                **_intervals(pooled_intervals([case.problems for case in result.cases], voxel_set, ATTRIBUTES, units)),
            }
            for voxel_set in VOXEL_SETS
        },
        "remarks": gather([(case.case.name, case.remarks) for case in result.cases]),
        "intervals": {
            "level": DEFAULT_LEVEL,
            "means": METHOD,
            "pooled": METHOD_POOLED,
            "unit": "case" if units is None else "group of cases",
            "n_units": len(cases if units is None else set(units)),
        },
        "metric_per_case": cases,
        "protocol": {**result.protocol, "n_cases": len(result.cases)},
        "provenance": provenance(result.files),
    }


def named_scores(problems: Sequence[CalibrationStatistics], voxel_set: str) -> dict[str, float]:
    """Return the scores of a voxel set under their names in the files: of the one problem, or means over regions."""
    return _named([problem.scores(voxel_set) for problem in problems])


def _named(scores: Sequence[Scores]) -> dict[str, float]:
    return {name: _mean_or_nan([getattr(each, attribute) for each in scores]) for name, attribute in ATTRIBUTES.items()}


def _case_entry(result: CaseResult, labels: list[str]) -> dict[str, Any]:
    scores = {name: [problem.scores(name) for problem in result.problems] for name in VOXEL_SETS}
    return {
        "case": result.case.name,
        **({"part": result.part} if result.part else {}),
        "reference_file": str(result.case.labels),
        "prediction_file": str(result.case.probabilities),
        "metrics": dict(zip(labels, _class_entries(result, scores), strict=True)),
        "voxel_sets": {
            name: {**_counts(result.problems, name), **_plain_values(_named(of_set))} for name, of_set in scores.items()
        },
        # each region's problem leaves out the same voxels
        "n_ignored": int(result.problems[0].ignored),
    }


def _class_entries(result: CaseResult, scores: Mapping[str, Sequence[Scores]]) -> list[dict[str, Any]]:
    """Return the entry of each channel: the classes of the one problem, or the inside of each region.

    Args:
        scores: of each problem, by voxel set.
    """
    problems = result.problems
    if len(problems) == 1 and problems[0].num_classes == len(result.hd95_mm):
        places = [(0, label) for label in range(problems[0].num_classes)]
    else:
        places = [(number, 1) for number in range(len(problems))]
    dice = dice_of_overlap(result.overlap)
    volumes, confidences = _volumes_ml(result), _confidences(result)
    return [
        {
            "Dice": finite_or_none(dice[channel]),
            "HD95": finite_or_none(float(result.hd95_mm[channel])),
            **_class_entry(label, {name: of_set[problem] for name, of_set in scores.items()}, result.overlap[channel]),
            "volume_ml": volumes[channel],
            "confidence": confidences[channel],
        }
        for channel, (problem, label) in enumerate(places)
    ]


def _class_entry(label: int, scores: dict[str, Scores], overlap: Int64Array) -> dict[str, Any]:
    return {
        **{
            name: {voxel_set: finite_or_none(getattr(of_set, attribute)[label]) for voxel_set, of_set in scores.items()}
            for name, attribute in CLASS_SCORES.items()
        },
        "n_ref": int(overlap[LABELLED]),
        "n_pred": int(overlap[PREDICTED]),
    }


def _volumes_ml(result: CaseResult) -> list[dict[str, float | None]]:
    """Return the volumes of each channel in ml, and the spread of its soft volume: the sum of p (1 - p)."""
    labelled, predicted = result.overlap[:, LABELLED], result.overlap[:, PREDICTED]
    columns = np.stack([labelled, predicted, result.soft_volumes, result.spread], -1)
    columns = columns * (result.voxel_volume_mm3 / MM3_PER_ML)
    return [dict(zip(VOLUMES, map(finite_or_none, row), strict=True)) for row in columns]


def _confidences(result: CaseResult) -> list[dict[str, float | None]]:
    """Return what the probabilities say of the mask of each channel, without its label."""
    predicted = result.overlap[:, PREDICTED]
    soft_dice = soft_dice_confidence(result.mask_sums[:, PROBABILITY], result.soft_volumes, predicted)
    columns = np.concatenate([soft_dice[:, None], mask_means(result.mask_sums, predicted)], -1)
    return [dict(zip(CONFIDENCES, map(finite_or_none, row), strict=True)) for row in columns]


def _set_entry(problems: Sequence[CalibrationStatistics], voxel_set: str) -> dict[str, Any]:
    return {**_counts(problems, voxel_set), **_plain_values(named_scores(problems, voxel_set))}


def _plain_values(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: finite_or_none(value) for name, value in values.items()}


def _counts(problems: Sequence[CalibrationStatistics], voxel_set: str) -> dict[str, int]:
    strata = list(VOXEL_SETS[voxel_set])
    return {
        "n_voxels": sum(int(problem.top_count[strata].sum()) for problem in problems),
        "n_floored": sum(int(problem.floored[strata].sum()) for problem in problems),
        "n_certain": sum(int(problem.certain[strata].sum()) for problem in problems),
    }


def _class_mean(entries: list[dict[str, Any]], groups: Sequence[str] | None) -> dict[str, Any]:
    """Return the means over cases of a class's scores, with the number of cases that have a Dice."""
    return {
        **_means({name: [entry[name] for entry in entries] for name in ("Dice", "HD95")}, groups),
        **{
            name: _means({key: [entry[name][key] for entry in entries] for key in VOXEL_SETS}, groups)
            for name in CLASS_SCORES
        },
        "n_defined": sum(entry["Dice"] is not None for entry in entries),
    }


def _foreground_mean(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over classes of their means."""
    return {
        **{name: _mean(entry[name] for entry in entries) for name in ("Dice", "HD95")},
        **{name: {key: _mean(entry[name][key] for entry in entries) for key in VOXEL_SETS} for name in CLASS_SCORES},
        "n_defined": sum(entry["Dice"] is not None for entry in entries),
    }


def _per_case(entries: list[dict[str, Any]], groups: Sequence[str] | None) -> dict[str, Any]:
    return {
        "n_cases": sum(entry["n_voxels"] > 0 for entry in entries),
        **_means({name: [entry[name] for entry in entries] for name in SCORE_NAMES}, groups),
    }


def _means(values: dict[str, list[float | None]], groups: Sequence[str] | None) -> dict[str, Any]:
    """Return the mean of each list's defined values, and beside it its interval over the cases."""
    table = np.array([[math.nan if value is None else value for value in column] for column in values.values()])
    low, high = mean_interval(table.T, groups=groups, within=ranges_of(values))
    return {
        **{name: _mean(column) for name, column in values.items()},
        **_intervals({name: (low[number], high[number]) for number, name in enumerate(values)}),
    }


def _intervals(ends: Mapping[str, tuple[Any, Any]]) -> dict[str, list[float] | None]:
    told = {name: where_units_differ(*map(float, each)) for name, each in ends.items()}
    return {
        f"{name}_interval": [low, high] if math.isfinite(high - low) else None for name, (low, high) in told.items()
    }


def _mean(values: Iterable[float | None]) -> float | None:
    return finite_or_none(_mean_or_nan([value for value in values if value is not None]))


def _mean_or_nan(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
