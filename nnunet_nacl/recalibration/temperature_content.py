"""What temperature.json says: the fitted map, what it was fitted on, the scores before and after, and what got worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.log_probabilities import ceiling_gap_of, floor_of
from nnunet_nacl.calibration.overlap import dice_of_overlap
from nnunet_nacl.calibration.scores import mean_of_defined
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR, LOWEST_FACTOR
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.evaluation.summary import SCORE_NAMES, named_scores
from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.recalibration.ensemble import Disagreement
from nnunet_nacl.recalibration.fit import FitResult, Fitted
from nnunet_nacl.recalibration.guarantees import GUARANTEES
from nnunet_nacl.recalibration.harm import changes_of, to_json
from nnunet_nacl.recalibration.heads import Heads
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.methods.base import Fit
from nnunet_nacl.recalibration.methods.temperature import OneFactor
from nnunet_nacl.recalibration.scored_cases import ScoredCases
from nnunet_nacl.recalibration.temperature_file import FILE_TYPE, SCHEMA_VERSION

MODELS = {
    ("temperature", "softmax"): "q_k proportional to p_k ** factor, factor = 1 / temperature",
    ("by-prediction", "softmax"): "q_k proportional to p_k ** factor_c, c = argmax p, factor = 1 / temperature",
    (
        "margins",
        "softmax",
    ): "q_k proportional to exp(-(slopes[c][k] * (log p_c - log p_k) + offsets[c][k])), c = argmax p",
    ("per-class", "softmax"): "q_k proportional to p_k ** factor_k, factor = 1 / temperature",
    ("temperature", "sigmoid"): "logit q = factor * logit p, factor = 1 / temperature",
    (
        "by-prediction",
        "sigmoid",
    ): "logit q = factor * logit p, with the first factor up to p = 0.5 and the second above",
    ("margins", "sigmoid"): "as for classes, with outside (1 - p) and inside (p) of the region as the two",
    ("per-class", "sigmoid"): "logit q = factor * logit p, factor = 1 / temperature",
}
"""How the numbers make new probabilities, by method and kind."""


def content_of(result: FitResult) -> dict[str, Any]:
    """Return the content of temperature.json: plain values, NaN as None."""
    options, heads, guarantees = result.options, result.heads, GUARANTEES[result.options.method]
    float32 = np.dtype(np.float32)
    groups = None if options.groups is None else options.groups.of(case.name for case in result.cases)
    return {
        "file_type": FILE_TYPE,
        "schema_version": SCHEMA_VERSION,
        "kind": result.heads.kind,
        "channels": list(result.heads.channels),
        "ignore_label": result.ignore_label,
        "method": options.method,
        "keeps": {"argmax": guarantees.keeps_argmax, "order": guarantees.keeps_order},
        "voxel_set": options.set_to_fit_on,
        **_fitted(result, result.fitted),
        "cross_fit": _cross_fit(result),
        "groups": None if groups is None else dict(zip((case.name for case in result.cases), groups, strict=True)),
        "cases": [
            {"case": case.name, "prediction_file": str(case.probabilities), "reference_file": str(case.labels)}
            for case in result.cases
        ],
        "counts": _counts(result),
        "arithmetic": {
            "model": MODELS[options.method, heads.kind],
            "floor": {"float32": floor_of(float32), "float16": floor_of(np.dtype(np.float16))},
            "sigmoid_ceiling_gap": {
                "float32": ceiling_gap_of(float32),
                "float16": ceiling_gap_of(np.dtype(np.float16)),
            },
            "factor_bounds": [LOWEST_FACTOR, HIGHEST_FACTOR],
        },
        "scores": {
            "held_out": bool(result.held_out),
            "n_bins": options.n_bins,
            "before": _scores(heads, result.before),
            "after": _scores(heads, result.after),
        },
        "harm": to_json(changes_of(heads, result.before.cases, result.after.cases, groups)),
        "provenance": provenance(
            result.files | ({} if options.groups is None else {"groups": str(options.groups.source)})
        ),
    }


def compared(contents: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what a file says of methods that were fitted beside its own: of each its numbers, scores and harm.

    Args:
        contents: of the files that these methods would have, by method.
    """
    kept = ("voxel_set", "factors", "temperatures", "slopes", "offsets", "scores", "harm")
    return {name: {key: content[key] for key in kept if key in content} for name, content in contents.items()}


def ensemble_of(found: Disagreement, result: FitResult) -> dict[str, Any]:
    """Return what a file of the method ``temperature`` says of the ensemble of the folds that were compared."""
    factors = [fitted.maps[0].factor for fitted in result.of_folders if isinstance(fitted.maps[0], OneFactor)]
    of_folders = [1 / factor for factor in factors]
    temperature = float(np.mean(of_folders)) * found.variance_ratio
    return asdict(found) | {"temperatures_of_folders": of_folders, "temperature": temperature}


def _fitted(result: FitResult, fitted: Fitted) -> dict[str, Any]:
    """Return the numbers of the maps, and the fits: one for all channels, or one per region."""
    heads, method = result.heads, METHODS[result.options.method]
    several = len(fitted.fits) == len(heads.problems)
    return {
        **method.to_json(fitted.maps, heads.kind, len(heads.channels)),
        "fits": [
            _fit(fit, _class_names(heads, heads.problems[number] if several else "any region"))
            for number, fit in enumerate(fitted.fits)
        ],
    }


def _fit(fit: Fit, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "n_voxels": fit.n_voxels,
        "nll_before": fit.nll_before,
        "nll_after": fit.nll_after,
        "optimiser": fit.optimiser,
        "message": fit.message,
        "converged": fit.converged,
        "evaluations": fit.evaluations,
        "remarks": [
            {"what": remark.what, "where": [_place([classes[number] for number in place]) for place in remark.where]}
            for remark in fit.remarks
        ],
    }


def _class_names(heads: Heads, problem: str) -> Sequence[str]:
    return heads.channels if heads.kind == "softmax" else (f"outside of {problem}", f"inside of {problem}")


def _place(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[1]} where {names[0]} is predicted"


def _cross_fit(result: FitResult) -> dict[str, Any] | None:
    if not result.held_out:
        return None
    by_folder, by_group = len(set(result.folders)) > 1, result.options.groups is not None
    return {
        "by": "folder" if by_folder else "group" if by_group else "case",
        "seed": None if by_folder else result.options.seed,
        "parts": [
            {
                "name": held.part.name,
                "cases": [result.cases[number].name for number in held.part.members],
                **_fitted(result, held.fitted),
            }
            for held in result.held_out
        ],
    }


def _counts(result: FitResult) -> dict[str, Any]:
    counts, options = result.counts, result.options
    n_selected = int(counts.selected.sum())
    subsampled = options.max_voxels is not None and options.max_voxels < n_selected
    per_problem = {
        name: {
            "n_selected": int(counts.selected[number]),
            "n_exact_left_out": int(counts.exact[number]),
            "n_exact_and_wrong": int(counts.exact_wrong[number]),
            "n_floored": int(counts.floored[number]),
        }
        for number, name in enumerate(result.heads.problems)
    }
    return {
        "n_cases": len(result.cases),
        "n_ignored": counts.ignored,
        "n_fitted": min(n_selected, options.max_voxels) if subsampled and options.max_voxels else n_selected,
        "subsampled": {"max_voxels": options.max_voxels, "of": n_selected, "seed": options.seed}
        if subsampled
        else None,
        "n_cases_read_again_for_each_evaluation": len(result.cases) - result.n_kept_in_memory,
        "problems": per_problem,
    }


def _scores(heads: Heads, scored: ScoredCases) -> dict[str, Any]:
    """Return the scores per problem: ``pooled`` voxels, ``per_case`` means over the cases, and ``Dice`` likewise.

    Dice is that of the label map that nnU-Net writes: of regions not that of their channels.
    """
    dice = np.stack([dice_of_overlap(overlap) for overlap in scored.overlaps])
    return {
        name: {
            "pooled": {voxel_set: _pooled(scored.totals[number], voxel_set) for voxel_set in VOXEL_SETS},
            "per_case": {
                voxel_set: _mean([case[number].scores[voxel_set] for case in scored.cases]) for voxel_set in VOXEL_SETS
            },
            "Dice": _dice(dice[:, 1:] if heads.kind == "softmax" else dice[:, [number]]),
        }
        for number, name in enumerate(heads.problems)
    }


def _pooled(statistics: CalibrationStatistics, voxel_set: str) -> dict[str, float | None]:
    named = {name: finite_or_none(value) for name, value in named_scores([statistics], voxel_set).items()}
    return {"n_voxels": int(statistics.top_label_bins(voxel_set)[0].sum()), **named}


def _mean(cases: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    return {
        name: finite_or_none(float(mean_of_defined(np.array([case[name] for case in cases])))) for name in SCORE_NAMES
    }


def _dice(per_class: Float64Array) -> float | None:
    """Return the mean over classes of the mean over cases, given ``(cases, classes)``, as ``foreground_mean`` of nnU-Net."""
    return finite_or_none(float(mean_of_defined(mean_of_defined(per_class.T))))
