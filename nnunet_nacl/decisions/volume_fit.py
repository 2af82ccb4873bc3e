"""volumes.json: the interval of each structure, what its cases were like, and how well it did on cases left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.decisions import fit_file
from nnunet_nacl.decisions.across import across_results, in_words
from nnunet_nacl.decisions.case_table import MM3_PER_ML, Evaluated
from nnunet_nacl.decisions.conformal import smallest_number
from nnunet_nacl.decisions.coverage import binomial_interval, coverage
from nnunet_nacl.decisions.volume_bias import KINDS, Bias, biases
from nnunet_nacl.decisions.volume_choice import fit_interval, n_for_choice
from nnunet_nacl.decisions.volumes import (
    FLOOR_VOXELS,
    SLACK,
    WAYS,
    Bounds,
    VolumeInterval,
    Volumes,
    leave_one_out,
    relative_width,
)
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import finite_or_none

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
        structures[key] = {"name": name, **entry, "across_results": across_of(reference, volumes, parts, level, groups)}
    ignored = evaluated.result.protocol.get("ignore_label") is not None
    return {
        "file_type": FILE_TYPE,
        "schema_version": SCHEMA_VERSION,
        "level": level,
        "smallest_number": needed,
        "unit": "case" if groups is None else "group of cases",
        "n_units": n_units,
        "n_units_for_choice": n_for_choice(n_units, level),
        "cases": list(evaluated.table.cases),
        "voxel_mm3": [float(evaluated.table.voxel_mm3.min()), float(evaluated.table.voxel_mm3.max())],
        "structures": structures,
        "warnings": _warnings(structures, level, needed, len(parts), ignored),
        "protocol": {
            "labels": evaluated.result.protocol["labels"],
            "regions": bool(evaluated.result.protocol["regions"]),
        },
    }


def _fit_structure(
    reference: NDArray[np.float64], volumes: Volumes, level: float, groups: Sequence[str] | None
) -> dict[str, Any]:
    interval = fit_interval(reference, volumes, level, groups)
    n_units = len(set(groups)) if groups is not None else reference.size
    ways = {}
    for way, (low, high) in leave_one_out(reference, volumes, level, groups).items():
        covered = (low <= reference + SLACK) & (reference <= high + SLACK)
        share, possible = coverage(covered, groups), bool(np.isfinite(high).all())
        ways[way] = {
            **_plain(interval.bounds[way]),
            "leave_one_out": {
                "coverage": share,
                "coverage_interval": list(binomial_interval(share, n_units)),
                "median_relative_width": float(np.median(relative_width(low, high, volumes))),
            }
            if possible
            else None,  # one patient less than the level needs
        }
    return {
        "n_absent": int((reference == 0).sum()),
        "hard_ml": [float(volumes.hard.min()), float(volumes.hard.max())],
        "bias": {kind: _finite(asdict(bias)) for kind, bias in biases(reference, volumes, groups).items()},
        "ways": ways,
        "chosen": interval.chosen,
        "chosen_bounds": {
            **_plain(interval.chosen_bounds),
            "median_relative_width": float(np.median(relative_width(*interval.apply(volumes), volumes))),
        },
    }


def _plain(bounds: Bounds) -> dict[str, Any]:
    return {"log_ratio": [bounds.low, bounds.high], "median_log_ratio": bounds.median}


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: finite_or_none(value) for name, value in values.items()}


def across_of(
    reference: NDArray[np.float64],
    volumes: Volumes,
    parts: Sequence[str],
    level: float,
    groups: Sequence[str] | None,
) -> dict[str, Any] | None:
    """Return how often the intervals that the other results give, chosen and fitted there, hold in each result.

    Result and other arguments as in :func:`~nnunet_nacl.decisions.across.across_results`.
    """

    def covers(known: NDArray[np.bool_], own: NDArray[np.bool_]) -> NDArray[np.bool_]:
        units = None if groups is None else np.asarray(groups)[known]
        low, high = fit_interval(reference[known], volumes[known], level, units).apply(volumes[own])
        return np.asarray((low <= reference[own] + SLACK) & (reference[own] <= high + SLACK))

    return across_results(parts, groups, level, covers, n_for_choice=n_for_choice)


def _warnings(structures: dict[str, Any], level: float, needed: int, n_cases: int, ignored: bool) -> list[str]:
    """Return what a user of the fit has to know, in sentences."""
    found = []
    for entry in structures.values():
        present = n_cases - entry["n_absent"]
        if present == 0:
            found.append(
                f"{entry['name']}: none of the {n_cases} cases of the fit has it, so its interval says only what is predicted where it is absent"
            )
        elif entry["n_absent"] and present < needed:
            found.append(
                f"{entry['name']}: only {present} of the {n_cases} cases of the fit have it, so its interval is mostly that of cases without it"
            )
        found += in_words(entry["name"], "the intervals", entry["across_results"], level)
    if ignored:
        found.append(
            "the labels of the fit have an ignore label: its volumes are those of annotated voxels, and whole structures of new cases need not "
            "have such errors"
        )
    return found


class VolumeFit(fit_file.FitFile):
    """A volumes.json that was read.

    Attributes:
        sentences: what a user has to know of the fit.
    """

    file_type, version = FILE_TYPE, SCHEMA_VERSION

    def _read(self, content: dict[str, Any], entries: dict[str, dict[str, Any]]) -> None:
        self.voxel_mm3 = fit_file.pair(content["voxel_mm3"])
        fit_file.expect(self.voxel_mm3[0] > 0, "voxel_mm3", "above 0", content["voxel_mm3"])
        said = content["warnings"]
        fit_file.expect(
            isinstance(said, list) and all(isinstance(each, str) for each in said), "warnings", "sentences", said
        )
        self.sentences = list(said)
        self._intervals, self.hard_ml, self.absent, self._bias = {}, {}, {}, {}
        for key, entry in entries.items():
            self.hard_ml[key] = fit_file.pair(entry["hard_ml"])
            fit_file.expect(self.hard_ml[key][0] >= 0, f"structures.{key}.hard_ml", "at least 0", entry["hard_ml"])
            fit_file.read_across(entry.get("across_results"), f"structures.{key}.across_results")
            ways = fit_file.mapping(entry["ways"], f"structures.{key}.ways")
            bounds = {way: self._read_bounds(key, way, found) for way, found in ways.items()}
            if entry["chosen"] not in bounds or WAYS[0] not in bounds:
                raise ValueError(f"the chosen way of structure {key} is not among its ways")
            chosen = self._read_bounds(key, entry["chosen"], entry["chosen_bounds"])
            self._intervals[key] = VolumeInterval(self.level, bounds, str(entry["chosen"]), chosen)
            found = fit_file.mapping(entry["bias"], f"structures.{key}.bias")
            self._bias[key] = {
                kind: _read_bias(found[kind]) for kind in KINDS if any(way.startswith(kind) for way in ways)
            }
            self.absent[key] = int(fit_file.number(entry["n_absent"])) == len(content["cases"])

    def _read_bounds(self, key: str, way: str, entry: Any) -> Bounds:
        """Return the bounds of a way; ValueError for such as no two volumes give."""
        place = f"structures.{key}.ways.{way}"
        fit_file.expect(way in WAYS, place, f"one of {', '.join(WAYS)}", way)
        bounds = fit_file.pair(fit_file.mapping(entry, place)["log_ratio"])
        # an adaptive error is divided by (spread + e) / (v + e), which is never below e / (v + e)
        most = self.hard_ml[key][1] * MM3_PER_ML / self.voxel_mm3[0]
        limit = LARGEST_LOG_RATIO * ((most + FLOOR_VOXELS) / FLOOR_VOXELS if way.endswith("adaptive") else 1)
        fit_file.expect(max(map(abs, bounds)) <= limit, f"{place}.log_ratio", f"within {limit:.3g}", list(bounds))
        median = fit_file.number(entry["median_log_ratio"])
        fit_file.expect(bounds[0] <= median <= bounds[1], f"{place}.median_log_ratio", "between the bounds", median)
        return Bounds(bounds[0], median, bounds[1])

    def interval(self, key: str) -> VolumeInterval:
        """Return the interval of a structure."""
        return self._intervals[key]

    def bias_in_words(self, key: str, way: str) -> str:
        """Return how far the volumes that a way starts from were off in the fit."""
        return self._bias[key][way.partition("_")[0]].in_words(self.structures[key])

    def warnings(self, key: str, volumes: Volumes) -> list[str]:
        """Return for each case what lies outside of what the fit saw, in words; empty where nothing does."""
        (least, most), (finest, coarsest) = self.hard_ml[key], self.voxel_mm3
        found = []
        for volume, voxel in zip(volumes.hard, volumes.voxel * MM3_PER_ML, strict=True):
            said = ["no case of the fit has it"] if self.absent[key] else []
            if not least <= volume <= most:
                said.append(f"segmentation of {volume:.4g} ml, the fit saw {least:.4g} to {most:.4g} ml")
            if not finest * 0.99 <= voxel <= coarsest * 1.01:
                said.append(f"voxels of {voxel:.3g} mm3, in the fit {finest:.3g} to {coarsest:.3g}")
            found.append("; ".join(said))
        return found


def _read_bias(entry: Any) -> Bias:
    found = fit_file.mapping(entry, "bias")
    values = {name: math.nan if value is None else fit_file.number(value) for name, value in found.items()}
    return Bias(**values)
