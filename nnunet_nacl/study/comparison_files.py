"""comparison.csv and comparison.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import scipy

from nnunet_nacl.calibration.intervals import METHOD
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.study import paired, signed_rank, trained_again
from nnunet_nacl.study import verdict as rules
from nnunet_nacl.study.cautions import cautions
from nnunet_nacl.study.comparison import Comparison, Difference
from nnunet_nacl.study.decision_quality import DecisionQuality, quality_content, write_quality
from nnunet_nacl.study.parts import common_sign, in_order
from nnunet_nacl.study.trained_again import THESE_NETWORKS
from nnunet_nacl.study.trained_again import TRAINED_AGAIN as AGAIN

CSV_FILE = "comparison.csv"
JSON_FILE = "comparison.json"
SCHEMA_VERSION = 2


def write_comparison(comparison: Comparison, folder: Path, quality: DecisionQuality | None = None) -> list[Path]:
    """Write comparison.csv, comparison.json and, where there is any, comparison_decisions.csv into a folder that exists.

    Args:
        comparison: of runs.
        folder: to write to.
        quality: what the runs are worth for decisions.

    Returns:
        The paths.
    """
    written = [_write_csv(comparison, folder / CSV_FILE), _write_json(comparison, quality, folder / JSON_FILE)]
    return [*written, *(write_quality(quality, folder) if quality is not None else [])]


def comparison_content(comparison: Comparison, quality: DecisionQuality | None = None) -> dict[str, Any]:
    """Return the content of comparison.json: plain values, NaN as None."""
    origin = provenance({run.name: str(run.folder) for run in (comparison.base, *comparison.runs)})
    origin["versions"]["scipy"] = scipy.__version__
    return {
        "schema_version": SCHEMA_VERSION,
        "base": comparison.base.name,
        "runs": [run.name for run in comparison.runs],
        "repeats": {
            run.name: [str(each.folder) for each in run.repeats]
            for run in (comparison.base, *comparison.runs)
            if run.repeats
        },
        "questions": {
            "tests": f"{THESE_NETWORKS}: difference, low, high, p, p_holm, verdict of each test",
            "trained_again": f"{AGAIN}: trained_again of each test, and the verdicts",
        },
        "n_tests": comparison.n_tests,
        "tests": [
            _row(comparison, difference) | {"parts": _parts(difference), "trained_again": _again(difference)}
            for difference in comparison.differences
        ],
        "verdicts": [_verdict(verdict) for verdict in rules.verdicts_of(comparison)],
        "cases": list(comparison.cases),
        "groups": None if comparison.groups is None else dict(zip(comparison.cases, comparison.groups, strict=True)),
        "parts": list(comparison.parts) or None,
        "of_other_parts": list(comparison.of_other_parts),
        "left_out": {name: list(cases) for name, cases in comparison.left_out.items()},
        "given_more_than_once": list(comparison.repeated),
        "predicted_where_absent": comparison.predicted_where_absent,
        "decisions": None if quality is None else quality_content(quality),
        "cautions": cautions(comparison),
        "protocol": _protocol(comparison),
        "provenance": origin,
    }


def _protocol(comparison: Comparison) -> dict[str, Any]:
    settings = comparison.settings
    return {
        "evaluation": {key: value for key, value in comparison.base.summary["protocol"].items() if key != "n_cases"},
        "unit": "case" if comparison.groups is None else "group of cases",
        "difference": "run - base; absolute values where nearer to zero is better",
        "interval": {
            "method": f"{METHOD}, not adjusted for the number of intervals",
            "level": settings.level,
        },
        "test": {
            "method": "two-sided Wilcoxon signed-rank",
            "zero_method": "wilcox",
            "equal_within": f"{paired.EQUAL_WITHIN:g} of the largest value of the score; magnitudes no further apart tie",
            "exact": f"permutation distribution, ties or not, up to {signed_rank.EXACT_UP_TO} unequal pairs; otherwise normal "
            "approximation with tie and continuity correction",
            "at_least": signed_rank.MIN_DIFFERENCES,
        },
        "adjustment": "Holm over all tests made",
        "p_both_holm": "Holm over the larger of p and p_mean, the p of the interval; verdicts take p_holm and the interval by itself",
        "alpha": settings.alpha,
        "effect_size": "matched-pairs rank-biserial correlation",
        "parts": "mean difference over the cases of each merged result (fold), no tests",
        "trained_again": {
            "method": trained_again.METHOD,
            "assumed_correlation": trained_again.ASSUMED_CORRELATION,
            "at_least": trained_again.MIN_TRAININGS,
            "adjustment": "none; in the verdicts Holm over their three scores",
        },
        "verdict": {
            "source": rules.SOURCE,
            "version": rules.VERSION,
            "dice_margin": rules.DICE_MARGIN,
            "ece_margin": f"{rules.ECE_MARGIN:g} of the mean of base and run",
            "p_holm_below": rules.SIGNIFICANT_BELOW,
            "level": rules.INTERVAL_LEVEL,
            "greyed_out_below": rules.GREYED_OUT_BELOW,
            "primary_voxel_sets": list(rules.PRIMARY_SETS),
        },
    }


def _row(comparison: Comparison, difference: Difference) -> dict[str, Any]:
    quantity, result = difference.quantity, asdict(difference.result)
    p, method, reason = (result.pop(key) for key in ("p", "method", "reason"))
    row = {
        "run": difference.run,
        "score": quantity.score,
        "voxel_set": quantity.voxel_set,
        "class": "mean" if quantity.is_class_mean else quantity.label,
        "class_name": comparison.labels[quantity.label] if quantity.label is not None else None,
        "absolute": difference.absolute,
        **{f"{key}_mean" if key in ("base", "run") else key: value for key, value in result.items()},
        "p": p,
        "p_holm": difference.p_holm,
        "p_both_holm": difference.p_both_holm,
        "method": method or None,
        "reason": reason or None,
        "verdict": difference.verdict,
        "in_words": difference.in_words,
        "same_sign": common_sign(difference.parts) != 0 if difference.parts else None,
    }
    return {key: _plain(value) for key, value in row.items()}


def _parts(difference: Difference) -> dict[str, dict[str, Any]]:
    return {part.part: {"n_pairs": part.n_pairs, "difference": _plain(part.difference)} for part in difference.parts}


def _again(difference: Difference) -> dict[str, Any]:
    again = asdict(difference.again)
    trainings = list(again.pop("trainings"))
    held = {key: _plain(value) for key, value in again.items()}
    return {"trainings": trainings, "n_trainings": len(trainings), **held, "reason": again["reason"] or None}


def _flat_parts(difference: Difference, names: Sequence[str]) -> dict[str, Any]:
    """Return a column of pairs and one of the difference for each part that any row has."""
    held = _parts(difference)
    empty = {"n_pairs": None, "difference": None}
    return {f"{key}_{name}": value for name in names for key, value in held.get(name, empty).items()}


def _verdict(verdict: rules.Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "kind": verdict.kind.value, "reasons": list(verdict.reasons)}


def _plain(value: Any) -> Any:
    return finite_or_none(value) if isinstance(value, float) else value


def _write_json(comparison: Comparison, quality: DecisionQuality | None, path: Path) -> Path:
    content = json.dumps(comparison_content(comparison, quality), indent=4, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(content + "\n", encoding="utf-8")
    return path


def _write_csv(comparison: Comparison, path: Path) -> Path:
    names = in_order([part.part for difference in comparison.differences for part in difference.parts])
    rows = [
        _row(comparison, difference)
        | {f"trained_again_{key}": value for key, value in _again(difference).items() if key != "trainings"}
        | _flat_parts(difference, names)
        for difference in comparison.differences
    ]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
