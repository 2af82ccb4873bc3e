"""What lesions.json has to look like before anything is taken from it."""

from __future__ import annotations

from typing import Any

NUMBER, SHARE, EDGE = "a finite number or null", "a number from 0 to 1 or null", "a number from 0 to 1"
COUNT, TEXT = "a whole number from 0", "text"

LARGEST = 1e300

FIGURE = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
PROPORTION = {"value": SHARE, "low": SHARE, "high": SHARE, "n": COUNT, "n_patients": COUNT}
BIN = {"from": EDGE, "to": EDGE, "confidence": NUMBER, "true": PROPORTION}
RELIABILITY = {"gap": FIGURE, "ece": NUMBER, "bins": [BIN]}
OF_CLASS = {
    **dict.fromkeys(
        ("n_patients", "n_findings", "n_true", "n_duplicate", "n_false", "n_left_out", "n_lesions", "n_found", "n_merged", "n_missed"), COUNT
    ),
    "sensitivity": PROPORTION,
    "precision": PROPORTION,
    "false_findings_per_patient": FIGURE,
    "average_precision": FIGURE,
    "froc_score": FIGURE,
    "sensitivity_at": [{"false_per_patient": NUMBER, "sensitivity": NUMBER}],
    "froc": {"false_per_patient": [NUMBER], "sensitivity": [SHARE], "threshold": [NUMBER]},
    "reliability": {"largest": RELIABILITY, "mean": RELIABILITY},
    "sensitivity_by_size": [{"from": NUMBER, "to": NUMBER, "sensitivity": PROPORTION}],
}  # fmt: skip
EXTREME = {
    "kind": TEXT, "class": TEXT, "case": TEXT, "number": COUNT, "size": NUMBER, "largest_p": NUMBER, "mean_p": NUMBER,
}  # fmt: skip
FORM = {
    "dataset": TEXT,
    "rules": {"overlap": TEXT, "iou": NUMBER, "confidence": TEXT, "duplicates": TEXT, "connectivity": COUNT, "in_words": TEXT, "sizes": [NUMBER]},
    "unit_of_sizes": TEXT,
    "unit_of_intervals": TEXT,
    "cases": [TEXT],
    "classes": {...: OF_CLASS},
    "extremes": [EXTREME],
    "provenance": {"folder": TEXT, "files": {"labels": TEXT, "dataset_json": TEXT, "plans_json": TEXT, "cases": {...: [TEXT]}}},
}  # fmt: skip


def misfit(value: Any, form: Any = FORM, where: str = "") -> str:
    """Return what is wrong with a value and where, or an empty text.

    >>> misfit({"a": [1, -1]}, {"a": [COUNT]})
    'expected a[1] to be a whole number from 0, but got -1'
    """
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f"expected {where or 'the file'} to be a mapping, but got {value!r:.40}"
        parts = form if ... not in form else dict.fromkeys(value, form[...])
        missing = next((key for key in parts if key not in value), None)
        if missing is not None:
            return f"expected {missing} in {where or 'the file'}"
        inner = ((value[key], part, f"{where}.{key}".lstrip(".")) for key, part in parts.items())
    elif isinstance(form, list):
        if not isinstance(value, list):
            return f"expected {where} to be a list, but got {value!r:.40}"
        inner = ((item, form[0], f"{where}[{place}]") for place, item in enumerate(value))
    else:
        return "" if _is(value, form) else f"expected {where} to be {form}, but got {value!r:.40}"
    return next((said for part in inner if (said := misfit(*part))), "")


def _is(value: Any, form: str) -> bool:
    if form == TEXT:
        return isinstance(value, str)
    if form == COUNT:
        return type(value) is int and 0 <= value < 2**63
    if value is None:
        return form != EDGE
    # whole numbers of JSON may be larger than any float
    return type(value) in (int, float) and (-LARGEST <= value <= LARGEST if form == NUMBER else 0 <= value <= 1)
