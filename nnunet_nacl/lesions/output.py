"""lesions.csv and lesions.json: written whole, and the second read back for the report."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError, first_line, printable
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.files import json_files
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.lesions import proportions, rates, reliability
from nnunet_nacl.lesions.case_lesions import CaseLesions, Rows
from nnunet_nacl.lesions.extremes import extremes
from nnunet_nacl.lesions.folder import FolderLesions
from nnunet_nacl.lesions.form import misfit
from nnunet_nacl.lesions.summary import plain, summarize

JSON_FILE, CSV_FILE = "lesions.json", "lesions.csv"
RESULT_FOLDER = "lesions"
"""Where a result lies in a prediction folder."""

FILE_TYPE, SCHEMA_VERSION = "nnunet-nacl lesions", 1

COLUMNS = (
    "case", "group", "class", "kind", "number", "outcome", "partner", "voxels", "size_mm3", "x", "y", "z", "x_mm", "y_mm", "z_mm",
    "largest_p", "mean_p", "overlap_voxels", "iou",
)  # fmt: skip
"""Of lesions.csv; docs/lesions.md says what each is."""


def content_of(result: FolderLesions) -> dict[str, Any]:
    """Return what lesions.json holds."""
    cases, groups = result.cases, result.groups
    return {
        "file_type": FILE_TYPE,
        "schema_version": SCHEMA_VERSION,
        "dataset": result.dataset.name,
        "rules": {**asdict(result.rules), "sizes": list(result.rules.sizes), "in_words": result.rules.in_words},
        "unit_of_sizes": unit_of_sizes(cases),
        "unit_of_intervals": "case" if groups is None else "group",
        "intervals": {
            "shares, average_precision, froc_score": proportions.METHOD,
            "false_findings_per_patient": rates.METHOD,
            "gap": reliability.METHOD,
        },
        "cases": [case.case for case in cases],
        "classes": summarize(cases, groups, result.rules),
        "extremes": extremes(cases, result.rules),
        "remarks": result.remarks,
        "provenance": provenance(result.files),
    }


def unit_of_sizes(cases: Sequence[CaseLesions]) -> str:
    """Return ``mm3``, ``pixels`` (2D) or ``voxels`` (no file has the spacing), or several of them where cases differ."""
    return " or ".join(sorted({case.unit for case in cases}))


def write_csv(result: FolderLesions, path: Path) -> None:
    """Write lesions.csv, a row for each finding and each lesion, so that nobody sees half of it."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for case, group in zip(result.cases, result.groups or ("",) * len(result.cases), strict=True):
            for kind, rows in (("finding", case.findings), ("lesion", case.lesions)):
                writer.writerows((case.case, group, *row) for row in _rows(case, kind, rows))


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write lesions.json, with the folder that it is written into, so that nobody sees half of it."""
    placed = {**content, "provenance": {**content["provenance"], "folder": absolute(path.parent)}}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(placed, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of lesions.json.

    Raises:
        InputError: it is missing or damaged, or another file.
    """
    advice = "Run `nnunet-nacl lesions` on these predictions."
    try:
        content = json_files.read(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}). {advice}") from error
    if not isinstance(content, dict) or content.get("file_type") != FILE_TYPE:
        raise InputError(f"{path}: is no {JSON_FILE}. {advice}")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"{path}: is of another version of nnunet-nacl. {advice}")
    problem = misfit(content) or _lengths(content)
    if problem:
        raise InputError(f"{path}: is not as `nnunet-nacl lesions` writes it ({problem}). {advice}")
    return content


def _lengths(content: dict[str, Any]) -> str:
    uneven = [
        name for name, of in content["classes"].items() if len({len(column) for column in of["froc"].values()}) > 1
    ]
    return f"expected a FROC curve of columns of one length for {printable(uneven[0])}" if uneven else ""


def _rows(case: CaseLesions, kind: str, rows: Rows) -> Iterator[tuple[Any, ...]]:
    volume = case.voxel_volume_mm3
    for row in range(len(rows.number)):
        centroid = [_short(value) for value in (*rows.centroid[row], *rows.centroid_mm[row])]
        yield (
            case.structures[rows.structure[row]], kind, rows.number[row], rows.outcome[row], rows.partner[row] or "",
            rows.voxels[row], "" if plain(volume) is None else _short(rows.voxels[row] * volume), *centroid,
            _short(rows.largest_p[row]), _short(rows.mean_p[row]), rows.overlap_voxels[row], _short(rows.iou[row]),
        )  # fmt: skip


def _short(value: float) -> str:
    """Return a number without the noise of floating point; nine digits tell float32 apart. Nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.9g}"
