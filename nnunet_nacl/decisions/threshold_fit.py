"""thresholds.json: of each structure the threshold that keeps the miss rate, what it costs, and how it did on cases left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.threshold_counts import thresholds
from nnunet_nacl.decisions import fit_file
from nnunet_nacl.decisions.case_table import Evaluated
from nnunet_nacl.decisions.interval_over_patients import interval_over_patients
from nnunet_nacl.decisions.miss_rate import by_patient, controlled, left_out, mean_over_patients, smallest_number
from nnunet_nacl.decisions.threshold_across import across_results, in_words
from nnunet_nacl.decisions.threshold_cases import StructureCases, at, structure_cases
from nnunet_nacl.decisions.threshold_trade import trade_of
from nnunet_nacl.files.json_files import finite_or_none

FILE_TYPE = "nnunet-nacl thresholds"
SCHEMA_VERSION = 1

GRID = frozenset(thresholds()[1:].tolist())
"""What a threshold of a fit may be."""


def fit_thresholds(
    evaluated: Evaluated, level: float, groups: Sequence[str] | None, trade: bool = False
) -> dict[str, Any]:
    """Return the content of thresholds.json.

    Args:
        evaluated: cases with labels.
        level: of the miss rate, above 0 and below 1.
        groups: the patient of each case; None where each case is its own.
        trade: also find the threshold with the best mean Dice.

    Raises:
        InputError: cases were evaluated before probabilities were counted by threshold.
    """
    parts = [case.part for case in evaluated.result.cases]
    structures = {}
    for (key, name), cases in zip(evaluated.structures.items(), structure_cases(evaluated), strict=True):
        entry = {"name": name, **fit_structure(cases, level, parts, groups)}
        structures[key] = entry | ({"trade": trade_of(cases, parts, groups)} if trade else {})
    protocol = evaluated.result.protocol
    return {
        "file_type": FILE_TYPE,
        "schema_version": SCHEMA_VERSION,
        "level": level,
        "smallest_number": smallest_number(level),
        "unit": "case" if groups is None else "group of cases",
        "n_units": len(parts) if groups is None else len(set(groups)),
        "cases": list(evaluated.table.cases),
        "structures": structures,
        "warnings": _warnings(structures, level, protocol.get("ignore_label") is not None),
        "protocol": {"labels": protocol["labels"], "regions": bool(protocol["regions"])},
    }


def fit_structure(
    cases: StructureCases, level: float, parts: Sequence[str], groups: Sequence[str] | None
) -> dict[str, Any]:
    """Return the threshold of a structure, how it did on cases left out and what it costs, as plain values.

    Arguments as in :func:`fit_thresholds`, and the result of each case, ``(N,)``.
    """
    rates, patient = by_patient(cases.missed, groups)
    place = controlled(rates, level)
    held = {"n_cases": int(patient.size), "n_units": len(rates)}
    needed = smallest_number(level)
    unit = "cases" if groups is None else "patients"
    if place is None:
        why = f"a miss rate of {level:g} needs at least {needed} {unit} that have it, and {len(rates)} {'has' if len(rates) == 1 else 'have'} it"
        return {**held, "threshold": None, "why_not": why}
    if place == 0:
        why = f"no threshold down to {thresholds()[1]:.2g} keeps a miss rate of {level:g}: so much of the reference has a probability of next to 0"
        return {**held, "threshold": None, "why_not": why}
    of_others = left_out(rates, level)
    return {
        **held,
        "threshold": float(thresholds()[place]),
        "why_not": None,
        "miss_rate": float(rates[:, place].mean()),
        "argmax_miss_rate": mean_over_patients(cases.argmax_missed, groups),
        "left_out": None if of_others is None else _left_out(at(rates, of_others)),
        "price": _price(cases, np.maximum(_places(cases, place, of_others, patient, groups), 1), groups),
        "across_results": across_results(cases.missed, level, parts, groups),
    }


def _places(
    cases: StructureCases,
    place: int,
    of_others: NDArray[np.intp] | None,
    patient: NDArray[np.intp],
    groups: Sequence[str] | None,
) -> NDArray[np.intp]:
    """Return the number of each case's threshold, ``(N,)``: that of the other patients, of all where its patient was not fitted on."""
    if of_others is None:
        return np.full(len(cases.missed), place)
    held = np.flatnonzero(~np.isnan(cases.missed[:, 0]))
    units: Sequence[Any] = range(len(cases.missed)) if groups is None else groups
    of_unit = {units[case]: of_others[number] for case, number in zip(held.tolist(), patient, strict=True)}
    return np.array([of_unit.get(unit, place) for unit in units])


def _left_out(missed: NDArray[np.float64]) -> dict[str, Any]:
    ends = interval_over_patients(missed, within=(0.0, 1.0))
    return {"miss_rate": float(missed.mean()), "miss_rate_interval": [None, None] if ends is None else list(ends)}


def _price(cases: StructureCases, places: NDArray[np.intp], groups: Sequence[str] | None) -> dict[str, Any]:
    """Return what masks at these thresholds hold beside what nnU-Net's label map holds, as means over patients of all cases."""
    false = at(cases.false, places)
    volume = at(cases.found, places) + false
    pairs = {"volume_ml": (cases.argmax.sum(1), volume), "false_positive_ml": (cases.argmax[:, 1], false)}
    found: dict[str, Any] = {
        name: {
            way: finite_or_none(mean_over_patients(voxels * cases.voxel_ml, groups))
            for way, voxels in zip(("argmax", "threshold"), pair, strict=True)
        }
        for name, pair in pairs.items()
    }
    before, after = found["volume_ml"]["argmax"], found["volume_ml"]["threshold"]
    if before is None or after is None:  # 2D, which has voxels only
        before, after = (mean_over_patients(voxels, groups) for voxels in pairs["volume_ml"])
    return found | {"volume_ratio": after / before if before > 0 else None}


def _warnings(structures: dict[str, Any], level: float, ignored: bool) -> list[str]:
    """Return what a user of the fit has to know, in sentences."""
    found = [f"{entry['name']}: {entry['why_not']}" for entry in structures.values() if entry["why_not"]]
    for entry in structures.values():
        found += in_words(entry["name"], entry.get("across_results"), level)
        if entry["threshold"] is not None and entry["miss_rate"] > entry["argmax_miss_rate"]:
            # of regions that overlap, masks can be larger and miss more all the same: nnU-Net's label map gives a voxel to the last of them
            ratio = entry["price"]["volume_ratio"]
            found.append(
                f"{entry['name']}: nnU-Net's segmentation misses {entry['argmax_miss_rate']:.3f}, less than {level:g} already; masks at "
                f"{entry['threshold']:.3g} {'are smaller and ' if ratio is not None and ratio < 1 else ''}miss more than it does"
            )
    if ignored:
        found.append("the labels of the fit have an ignore label: what is missed where nobody annotated is not known")
    return found


class ThresholdFit(fit_file.FitFile):
    """A thresholds.json that was read.

    Attributes:
        thresholds: of each structure, by its key; None where it has none.
        sentences: what a user has to know of the fit.
        why_not: why structures have no threshold, in sentences; empty where the file does not say it.
    """

    file_type, version = FILE_TYPE, SCHEMA_VERSION

    def _read(self, content: dict[str, Any], entries: dict[str, dict[str, Any]]) -> None:
        said = content["warnings"]
        fit_file.expect(
            isinstance(said, list) and all(isinstance(each, str) for each in said), "warnings", "sentences", said
        )
        self.sentences = list(said)
        self.why_not = [
            f"{self.structures[key]}: {entry['why_not']}"
            for key, entry in entries.items()
            if isinstance(entry.get("why_not"), str)
        ]
        self.thresholds: dict[str, float | None] = {}
        for key, entry in entries.items():
            value = entry["threshold"]
            if value is not None:
                place = f"structures.{key}.threshold"
                fit_file.expect(fit_file.number(value) in GRID, place, "a threshold that `fit` can write", value)
            self.thresholds[key] = None if value is None else float(value)
