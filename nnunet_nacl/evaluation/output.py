"""Writing calibration.json and calibration_cases.csv."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.evaluation.summary import CLASS_SCORES, CONFIDENCES, SCORE_NAMES, VOLUMES
from nnunet_nacl.files.whole_file import replacing

SUMMARY_FILE = "calibration.json"
CASES_FILE = "calibration_cases.csv"

OF_CASE = ("Dice", "HD95")


def write_summary(summary: dict[str, Any], folder: Path) -> Path:
    """Write calibration.json, with the folder that it is written into beside the other provenance, and return its path.

    Args:
        summary: of :func:`~nnunet_nacl.evaluation.summarize`.
        folder: an existing folder; a file of this name in it is replaced, and never half written.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / SUMMARY_FILE
    placed = {**summary, "provenance": {**summary["provenance"], "folder": absolute(folder)}}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(placed, indent=4, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_cases(summary: dict[str, Any], folder: Path) -> Path:
    """Write calibration_cases.csv, one row per case and voxel set, and return its path."""
    path = folder / CASES_FILE
    labels = list(summary["mean"])
    header = ["case", "voxel_set", "n_voxels", *SCORE_NAMES]
    header += [f"{name}_{label}" for name in CLASS_SCORES for label in labels]
    header += [f"{name}_{label}" for name in OF_CASE for label in labels]
    header += [f"volume_ml_{kind}_{label}" for kind in VOLUMES for label in labels]
    header += [f"confidence_{name}_{label}" for name in CONFIDENCES for label in labels]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for case in summary["metric_per_case"]:
            per_class = [case["metrics"][label] for label in labels]
            of_case = [entry[name] for name in OF_CASE for entry in per_class]
            of_case += [entry["volume_ml"][kind] for kind in VOLUMES for entry in per_class]
            of_case += [entry["confidence"][name] for name in CONFIDENCES for entry in per_class]
            for voxel_set, scores in case["voxel_sets"].items():
                row = [case["case"], voxel_set, scores["n_voxels"], *(scores[name] for name in SCORE_NAMES)]
                row += [entry[name][voxel_set] for name in CLASS_SCORES for entry in per_class]
                writer.writerow(row + of_case)
    return path
