"""volumes.json: the interval of each structure, what its cases were like, and how well it did on cases left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.intervals import mean_interval
from nnunet_nacl.decisions import fit_file
from nnunet_nacl.decisions.across import across_results, in_words
from nnunet_nacl.decisions.case_table import MM3_PER_ML, Evaluated
from nnunet_nacl.decisions.conformal import smallest_number
from nnunet_nacl.decisions.coverage import binomial_interval, coverage
from nnunet_nacl.decisions.volumes import (
    FLOOR_VOXELS,
    SLACK,
    WAYS,
    VolumeInterval,
    Volumes,
    choose_way,
    fit_bounds,
    leave_one_out,
    relative_width,
)
from nnunet_nacl.errors import InputError

FILE_TYPE = "nnunet-nacl volumes"
SCHEMA_VERSION = 1

LARGEST_LOG_RATIO = 50.0
"""More than any two volumes of a case have: a label map has fewer than exp(50) voxels."""


def fit_volumes(evaluated: Evaluated, level: float, groups: Sequence[str] | None) -> dict[str, Any]:
    """Return the content of volumes.json.

    Raises:
        InputError: fewer patients than the level needs, or 2D cases.
    """
    n_units = len(set(groups)) if groups is not None else len(evaluated.table.cases)
    needed = smallest_number(level)
    if n_units < needed:
        unit = "cases" if groups is None else "patients"
        raise InputError(
            f"An interval at level {level:g} needs at least {needed} {unit}, but got {n_units}. Give more results, or a lower --level."
        )
    structures = {}
    parts = [case.part for case in evaluated.result.cases]
    for place, (key, name) in enumerate(evaluated.structures.items()):
        volumes = evaluated.table.volumes(place)
        reference = evaluated.labelled[:, place] * volumes.voxel
        entry = _fit_structure(reference, volumes, level, groups)
        across = _across_results(reference, volumes, entry["chosen"], parts, level, groups)
        structures[key] = {"name": name, **entry, "across_results": across}
    return {
        "file_type": FILE_TYPE,
        "schema_version": SCHEMA_VERSION,
        "level": level,
        "smallest_number": needed,
        "unit": "case" if groups is None else "group of cases",
        "n_units": n_units,
        "cases": list(evaluated.table.cases),
        "voxel_mm3": [float(evaluated.table.voxel_mm3.min()), float(evaluated.table.voxel_mm3.max())],
        "structures": structures,
        "protocol": {
            "labels": evaluated.result.protocol["labels"],
            "regions": bool(evaluated.result.protocol["regions"]),
        },
    }


def _fit_structure(
    reference: NDArray[np.float64], volumes: Volumes, level: float, groups: Sequence[str] | None
) -> dict[str, Any]:
    bounds = fit_bounds(reference, volumes, level, groups)
    left_out = leave_one_out(reference, volumes, level, groups)
    ways = {}
    for way, (low, high) in left_out.items():
        covered = (low <= reference + SLACK) & (reference <= high + SLACK)
        share, possible = coverage(covered, groups), bool(np.isfinite(high).all())
        n_units = len(set(groups)) if groups is not None else reference.size
        ways[way] = {
            "log_ratio": list(bounds[way]),
            "leave_one_out": {
                "coverage": share,
                "coverage_interval": list(binomial_interval(share, n_units)),
                "mean_relative_width": float(relative_width(low, high, volumes).mean()),
            }
            if possible
            else None,  # one patient less than the level needs
        }
    return {
        "n_absent": int((reference == 0).sum()),
        "hard_ml": [float(volumes.hard.min()), float(volumes.hard.max())],
        "bias": _biases(reference, volumes, groups),
        "ways": ways,
        "chosen": choose_way(reference, volumes, left_out, level, groups),
    }


def _across_results(
    reference: NDArray[np.float64],
    volumes: Volumes,
    way: str,
    parts: Sequence[str],
    level: float,
    groups: Sequence[str] | None,
) -> dict[str, Any] | None:
    """Return how often the chosen way's intervals hold in a result left out."""

    def covers(known: NDArray[np.bool_], own: NDArray[np.bool_]) -> NDArray[np.bool_]:
        units = None if groups is None else np.asarray(groups)[known]
        bounds = fit_bounds(reference[known], volumes[known], level, units)
        low, high = VolumeInterval(level, bounds, way).apply(volumes[own], way)
        return np.asarray((low <= reference[own] + SLACK) & (reference[own] <= high + SLACK))

    return across_results(parts, groups, level, covers)


def across_in_words(content: dict[str, Any]) -> list[str]:
    """Return a sentence for each structure whose intervals hold less often in a result left out than chance explains."""
    return [
        sentence
        for entry in content["structures"].values()
        for sentence in in_words(entry["name"], "the intervals", entry["across_results"], content["level"])
    ]


def _biases(
    reference: NDArray[np.float64], volumes: Volumes, groups: Sequence[str] | None
) -> dict[str, dict[str, Any] | None]:
    """Return, for hard and soft volume, the mean of (predicted - true) / true over cases that have the structure, with its interval."""
    present = reference > 0
    units = None if groups is None else [group for group, there in zip(groups, present, strict=True) if there]
    found: dict[str, dict[str, Any] | None] = {}
    for kind, values in (("hard", volumes.hard), ("soft", volumes.soft)):
        if values is None or not present.any():
            found[kind] = None
            continue
        relative = (values[present] - reference[present]) / reference[present]
        low, high = (float(end) for end in mean_interval(relative, groups=units))
        found[kind] = {"mean": float(relative.mean()), "interval": None if math.isnan(low) else [low, high]}
    return found


class VolumeFit:
    """A volumes.json that was read.

    Attributes:
        level: of the intervals.
        structures: name of each structure by its key.
        content: the file.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            InputError: it is missing, damaged or no volumes.json.
        """
        self.path = path
        self.content = fit_file.load(path, FILE_TYPE, SCHEMA_VERSION, self._parse)

    def _parse(self, content: dict[str, Any]) -> None:
        entries = fit_file.read_structures(content)
        self.level = float(content["level"])
        self.structures = {key: str(entry["name"]) for key, entry in entries.items()}
        self.voxel_mm3 = fit_file.pair(content["voxel_mm3"])
        fit_file.expect(self.voxel_mm3[0] > 0, "voxel_mm3", "above 0", content["voxel_mm3"])
        self._intervals, self.hard_ml = {}, {}
        for key, entry in entries.items():
            self.hard_ml[key] = fit_file.pair(entry["hard_ml"])
            fit_file.expect(self.hard_ml[key][0] >= 0, f"structures.{key}.hard_ml", "at least 0", entry["hard_ml"])
            fit_file.read_across(entry.get("across_results"), f"structures.{key}.across_results")
            ways = fit_file.mapping(entry["ways"], f"structures.{key}.ways")
            bounds = {way: self._read_bounds(key, way, found) for way, found in ways.items()}
            if entry["chosen"] not in bounds or WAYS[0] not in bounds:
                raise ValueError(f"the chosen way of structure {key} is not among its ways")
            self._intervals[key] = VolumeInterval(self.level, bounds, str(entry["chosen"]))

    def _read_bounds(self, key: str, way: str, entry: Any) -> tuple[float, float]:
        """Return the bounds of a way; ValueError for such as no two volumes give."""
        place = f"structures.{key}.ways.{way}"
        fit_file.expect(way in WAYS, place, f"one of {', '.join(WAYS)}", way)
        bounds = fit_file.pair(fit_file.mapping(entry, place)["log_ratio"])
        # an adaptive error is divided by (spread + e) / (v + e), which is never below e / (v + e)
        most = self.hard_ml[key][1] * MM3_PER_ML / self.voxel_mm3[0]
        limit = LARGEST_LOG_RATIO * ((most + FLOOR_VOXELS) / FLOOR_VOXELS if way.endswith("adaptive") else 1)
        fit_file.expect(max(map(abs, bounds)) <= limit, f"{place}.log_ratio", f"within {limit:.3g}", list(bounds))
        return bounds

    def interval(self, key: str) -> VolumeInterval:
        """Return the interval of a structure."""
        return self._intervals[key]

    def warnings(self, key: str, volumes: Volumes) -> list[str]:
        """Return for each case what lies outside of what the fit saw, in words; empty where nothing does."""
        (least, most), (finest, coarsest) = self.hard_ml[key], self.voxel_mm3
        found = []
        for volume, voxel in zip(volumes.hard, volumes.voxel * MM3_PER_ML, strict=True):
            said = []
            if not least <= volume <= most:
                said.append(f"the fit saw {least:.3g} to {most:.3g} ml")
            if not finest * 0.99 <= voxel <= coarsest * 1.01:
                said.append(f"voxels of {voxel:.3g} mm3, in the fit {finest:.3g} to {coarsest:.3g}")
            found.append("; ".join(said))
        return found
