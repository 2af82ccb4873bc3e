"""The figures of each class over all cases: what lesions.json holds, as plain values with None where there is no number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.files.json_files import finite_or_none
from nnunet_nacl.lesions.case_lesions import DUPLICATE, FALSE, FOUND, MERGED, MISSED, TRUE, CaseLesions
from nnunet_nacl.lesions.find import DEFAULT_RULES
from nnunet_nacl.lesions.froc import RATES, Froc, average_precision, froc, froc_score, sensitivity_at
from nnunet_nacl.lesions.proportions import share_over_patients
from nnunet_nacl.lesions.rates import rate_over_patients
from nnunet_nacl.lesions.reliability import reliability
from nnunet_nacl.lesions.rules import Rules
from nnunet_nacl.lesions.table import ClassTable, table_of

CONFIDENCES = ("largest", "mean")


def summarize(
    cases: Sequence[CaseLesions], groups: Sequence[str] | None = None, rules: Rules = DEFAULT_RULES
) -> dict[str, dict[str, Any]]:
    """Return the figures of each class or region, by its name; docs/lesions.md says what each is.

    None stands where there is no figure: sensitivity, average precision and FROC without a lesion, precision and reliability without a
    finding, each interval with fewer than two patients to go by. With lesions but no finding the average precision is 0.

    Args:
        cases: what :func:`~nnunet_nacl.lesions.find_lesions` gave with the same rules, sizes in one unit (which is not checked).
        groups: the patient of each case; None: each case is its own.
        rules: those of the cases.

    Raises:
        ValueError: no case, cases of different classes, two classes of one name, or another number of groups.
    """
    if not cases or len({(case.structures, case.foreground) for case in cases}) > 1:
        raise ValueError("Expected at least one case, and all of the same classes.")
    if groups is not None and len(groups) != len(cases):
        raise ValueError(f"Expected argument `groups` to name the group of {len(cases)} cases, but got {len(groups)}.")
    first = cases[0]
    names = [first.structures[number] for number in first.foreground]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected classes of different names, but got {', '.join(names)}.")
    return {first.structures[number]: _of_structure(cases, number, groups, rules) for number in first.foreground}


def _of_structure(
    cases: Sequence[CaseLesions], structure: int, groups: Sequence[str] | None, rules: Rules
) -> dict[str, Any]:
    table = table_of(cases, structure, rules, groups)
    findings = np.concatenate([case.findings.outcome[case.findings.structure == structure] for case in cases])
    lesions = np.concatenate([case.lesions.outcome[case.lesions.structure == structure] for case in cases])
    curve = froc(table, rules.confidence)
    found_of = table.of_patients(table.lesion_patient, table.is_found), table.of_patients(table.lesion_patient)
    return {
        "n_patients": table.n_patients,
        "n_findings": len(findings),
        **{f"n_{name}": int((findings == name).sum()) for name in (TRUE, DUPLICATE, FALSE)},
        "n_left_out": int(sum(case.n_left_out[structure] for case in cases)),
        "n_lesions": len(lesions),
        **{f"n_{name}": int((lesions == name).sum()) for name in (FOUND, MERGED, MISSED)},
        "sensitivity": _plain(share_over_patients(*found_of)),
        "precision": _plain(share_over_patients(
            table.of_patients(table.finding_patient, table.is_true), table.of_patients(table.finding_patient)
        )),
        "false_findings_per_patient": _plain(
            rate_over_patients(table.of_patients(table.finding_patient, ~table.is_true))
        ),
        "average_precision": _plain(average_precision(table, rules.confidence)),
        "froc_score": _plain(froc_score(table, rules.confidence)),
        "sensitivity_at": _read_at(curve, len(table.is_found)),
        "froc": _corners(curve),
        "reliability": {which: _reliability(table, which) for which in CONFIDENCES},
        "sensitivity_by_size": _by_size(table, rules.sizes),
    }  # fmt: skip


def plain(value: Any) -> Any:
    """Return a number as JSON has it: None for NaN and infinity."""
    number = value.item() if isinstance(value, np.generic) else value
    return finite_or_none(number) if isinstance(number, float) else number


def _plain(figure: Any) -> dict[str, Any]:
    return {name: plain(value) for name, value in figure._asdict().items()}


def _read_at(curve: Froc, n_lesions: int) -> list[dict[str, Any]]:
    """Return the sensitivity at each rate, and whether the curve gets that far."""
    last = float(curve.false_per_patient[-1]) if curve.threshold.size else 0.0
    return [
        {"false_per_patient": rate, "sensitivity": plain(value), "reached": last >= rate}
        for rate, value in zip(RATES, sensitivity_at(curve, n_lesions), strict=True)
    ]


def _corners(curve: Froc) -> dict[str, list[Any]]:
    """Return the curve without the points in the middle of its horizontal pieces, which say nothing; whole without lesions."""
    if curve.threshold.size and not np.isnan(curve.sensitivity[0]):
        gained = np.diff(curve.sensitivity, prepend=0.0) > 0
        kept = gained | np.append(gained[1:], True)
        curve = Froc(*(column[kept] for column in curve))
    return {name: [plain(value) for value in column] for name, column in curve._asdict().items()}


def _reliability(table: ClassTable, which: Any) -> dict[str, Any]:
    found = reliability(table, which)
    bins = [
        {"from": each.low, "to": each.high, "confidence": plain(each.confidence), "true": _plain(each.true)}
        for each in found.bins
    ]
    return {"gap": _plain(found.gap), "ece": plain(found.ece), "bins": bins}


def _by_size(table: ClassTable, edges: Sequence[float]) -> list[dict[str, Any]]:
    ends: Float64Array = np.array([0.0, *edges, np.inf])
    bins = []
    for low, high in pairwise(ends):
        inside = (table.size >= low) & (table.size < high)
        found = share_over_patients(
            table.of_patients(table.lesion_patient, inside & table.is_found),
            table.of_patients(table.lesion_patient, inside),
        )
        bins.append({"from": plain(low), "to": plain(high), "sensitivity": _plain(found)})
    return bins
