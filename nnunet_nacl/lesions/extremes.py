"""Which findings and lesions to look at first: the most confident false finding of each class, and the largest missed lesion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_nacl.lesions.case_lesions import FALSE, MISSED, CaseLesions
from nnunet_nacl.lesions.rules import Rules


def extremes(cases: Sequence[CaseLesions], rules: Rules) -> list[dict[str, Any]]:
    """Return up to two entries a class: the false finding of the highest confidence (of equal ones the largest), and the largest missed lesion."""
    found = []
    for structure in cases[0].foreground:
        for kind, outcome in (("finding", FALSE), ("lesion", MISSED)):
            entry = _extreme(cases, structure, kind, outcome, rules)
            if entry is not None:
                found.append(entry)
    return found


def _extreme(
    cases: Sequence[CaseLesions], structure: int, kind: str, outcome: str, rules: Rules
) -> dict[str, Any] | None:
    best: tuple[float, ...] | None = None
    entry = None
    for case in cases:
        rows = case.findings if kind == "finding" else case.lesions
        sizes = case.sizes(rows)
        confidence = rows.largest_p if rules.confidence == "largest" else rows.mean_p
        for row in np.flatnonzero((rows.structure == structure) & (rows.outcome == outcome)):
            rank = (confidence[row], sizes[row]) if kind == "finding" else (sizes[row],)
            if best is None or rank > best:
                best = rank
                entry = {
                    "kind": kind, "outcome": outcome, "class": case.structures[structure], "case": case.case, "number": int(rows.number[row]),
                    "size": float(sizes[row]), "largest_p": float(rows.largest_p[row]), "mean_p": float(rows.mean_p[row]),
                }  # fmt: skip
    return entry
