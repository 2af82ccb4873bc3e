"""temperature.json: fitted factors, what they were fitted on, and the scores before and after."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl import json_files
from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.calibration.scores import mean_of_defined
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR, LOWEST_FACTOR, ceiling_gap_of, floor_of
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.output import replacing
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.evaluation.summary import SCORE_NAMES, named_scores
from nnunet_nacl.recalibration.fit import Factors, FitResult
from nnunet_nacl.recalibration.heads import Heads

SCHEMA_VERSION = 1
FILE_TYPE = "nnunet-nacl temperature"


@dataclass(frozen=True)
class TemperatureFile:
    """What ``apply`` needs of a temperature file.

    Attributes:
        kind: ``softmax`` or ``sigmoid``.
        channels: name of each channel.
        factors: ``(channels,)``, fitted on all cases.
        fitted_on: names of the cases that were fitted on.
        held_out: per case the factors that it had no part in; empty without ``--cross-fit``.
        content: the file itself.
    """

    kind: str
    channels: tuple[str, ...]
    factors: NDArray[np.float64]
    fitted_on: frozenset[str]
    held_out: dict[str, NDArray[np.float64]]
    content: dict[str, Any]

    def check_heads(self, heads: Heads, path: Path, dataset_json: Path) -> None:
        """Raise InputError unless the channels are those that the temperature was fitted for."""
        if (self.kind, self.channels) != (heads.kind, heads.channels):
            raise InputError(
                f"{path} was fitted for the {self.kind} channels {', '.join(self.channels)}, but {dataset_json} has the "
                f"{heads.kind} channels {', '.join(heads.channels)}."
            )


def content_of(result: FitResult) -> dict[str, Any]:
    """Return the content of temperature.json: plain values, NaN as None."""
    options = result.options
    float32 = np.dtype(np.float32)
    return {
        "file_type": FILE_TYPE,
        "schema_version": SCHEMA_VERSION,
        "kind": result.heads.kind,
        "channels": list(result.heads.channels),
        "ignore_label": result.ignore_label,
        "per_class": options.per_class,
        "voxel_set": options.voxel_set,
        **_factors(result.heads, result.factors),
        "cross_fit": _cross_fit(result),
        "cases": [
            {"case": case.name, "prediction_file": str(case.probabilities), "reference_file": str(case.labels)}
            for case in result.cases
        ],
        "counts": _counts(result),
        "arithmetic": {
            "model": "q_k proportional to p_k ** factor_k, factor = 1 / temperature"
            if result.heads.kind == "softmax"
            else "logit q = factor * logit p, factor = 1 / temperature",
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
            "before": _scores(result.heads, result.before),
            "after": _scores(result.heads, result.after),
        },
        "provenance": provenance(result.files),
    }


def write(content: dict[str, Any], path: Path) -> None:
    """Write a temperature file so that nobody sees half of it."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4, allow_nan=False) + "\n", encoding="utf-8")


def load(path: Path) -> TemperatureFile:
    """Read a temperature file.

    Raises:
        InputError: it is missing, damaged, of another schema version, or no temperature file.
    """
    try:
        content = json_files.read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}). Fit it again.") from error
    if not isinstance(content, dict) or content.get("file_type") != FILE_TYPE:
        raise InputError(f"{path}: is no temperature file of `nnunet-nacl recalibrate fit`.")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path}: expected schema version {SCHEMA_VERSION}, but got {content.get('schema_version')}. Fit it again."
        )
    try:
        channels = tuple(str(name) for name in content["channels"])
        held_out = {
            str(name): _read_factors(part, len(channels))
            for part in (content["cross_fit"] or {"parts": []})["parts"]
            for name in part["cases"]
        }
        return TemperatureFile(
            kind=str(content["kind"]),
            channels=channels,
            factors=_read_factors(content, len(channels)),
            fitted_on=frozenset(str(case["case"]) for case in content["cases"]),
            held_out=held_out,
            content=content,
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {first_line(error)}). Fit it again.") from error


def _read_factors(fitted: dict[str, Any], channels: int) -> NDArray[np.float64]:
    """Return the factors of a fit, which its temperatures say once more: a changed digit is noticed.

    Raises:
        ValueError: of another number, outside of what is fitted, or not one over the temperatures.
    """
    factors, temperatures = (np.asarray(fitted[key], np.float64) for key in ("factors", "temperatures"))
    within = (factors >= LOWEST_FACTOR * (1 - 1e-9)) & (factors <= HIGHEST_FACTOR * (1 + 1e-9))
    if factors.shape != (channels,) or not np.all(within):
        raise ValueError(
            f"expected {channels} factors that are finite and from {LOWEST_FACTOR} to {HIGHEST_FACTOR}, got {fitted['factors']!r:.200}"
        )
    if temperatures.shape != factors.shape or not np.allclose(factors * temperatures, 1, rtol=1e-12):
        raise ValueError("expected the factors to be one over the temperatures")
    return factors


def _factors(heads: Heads, factors: Factors) -> dict[str, Any]:
    """Return factors, temperatures and fits; the latter one for all channels, or one per region."""
    fits = [
        {
            "n_voxels": fit.n_voxels,
            "nll_before": fit.nll_before,
            "nll_after": fit.nll_after,
            "optimiser": "scipy.optimize.minimize, L-BFGS-B",
            "message": fit.message,
            "converged": fit.converged,
            "evaluations": fit.evaluations,
            "at_bound": [heads.channels[number] for number in fit.at_bound] if heads.kind == "softmax" else bool(fit.at_bound),
            "separable": fit.separable,
            "without_labelled_voxel": [heads.channels[number] for number in fit.held] if heads.kind == "softmax" else [],
        }
        for fit in factors.fits
    ]  # fmt: skip
    return {
        "factors": factors.values.tolist(),
        "temperatures": (1 / factors.values).tolist(),
        "fits": fits,
    }


def _cross_fit(result: FitResult) -> dict[str, Any] | None:
    if not result.held_out:
        return None
    by_folder = len(set(result.folders)) > 1
    return {
        "by": "folder" if by_folder else "case",
        "seed": None if by_folder else result.options.seed,
        "parts": [
            {
                "name": held.part.name,
                "cases": [result.cases[number].name for number in held.part.members],
                **_factors(result.heads, held.factors),
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


def _scores(heads: Heads, cases: Sequence[Sequence[CalibrationStatistics]]) -> dict[str, Any]:
    """Return the scores per problem: ``pooled`` voxels, ``per_case`` means over the cases, and ``Dice`` likewise."""
    return {
        name: {
            "pooled": {
                voxel_set: _named(total(of_case[number] for of_case in cases), voxel_set) for voxel_set in VOXEL_SETS
            },
            "per_case": {
                voxel_set: _mean([_named(of_case[number], voxel_set) for of_case in cases]) for voxel_set in VOXEL_SETS
            },
            "Dice": _dice([of_case[number] for of_case in cases]),
        }
        for number, name in enumerate(heads.problems)
    }


def _named(statistics: CalibrationStatistics, voxel_set: str) -> dict[str, float | None]:
    named = {name: _plain(value) for name, value in named_scores([statistics], voxel_set).items()}
    return {"n_voxels": int(statistics.top_label_bins(voxel_set)[0].sum()), **named}


def _mean(cases: list[dict[str, float | None]]) -> dict[str, float | None]:
    values = {name: np.array([np.nan if case[name] is None else case[name] for case in cases]) for name in SCORE_NAMES}
    return {name: _plain(float(mean_of_defined(of_cases))) for name, of_cases in values.items()}


def _dice(cases: list[CalibrationStatistics]) -> float | None:
    """Return the mean over the foreground classes of the mean over the cases, as ``foreground_mean`` of nnU-Net."""
    per_class = np.stack([statistics.dice() for statistics in cases])[:, 1:]
    return _plain(float(mean_of_defined(mean_of_defined(per_class.T))))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
