"""triage.json: how well each confidence finds bad cases, and what turns the soft Dice confidence into a Dice with a lower bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.decisions import fit_file
from nnunet_nacl.decisions.across import across_results
from nnunet_nacl.decisions.case_table import Evaluated
from nnunet_nacl.decisions.conformal import smallest_number
from nnunet_nacl.decisions.dice_estimate import DiceEstimate, fit_dice
from nnunet_nacl.decisions.triage import DEFAULT_SCORE, case_confidences, case_dice, class_confidences, judge
from nnunet_nacl.errors import InputError

FILE_TYPE = "nnunet-nacl triage"
SCHEMA_VERSION = 1


def fit_triage(
    evaluated: Evaluated, level: float, groups: Sequence[str] | None, agreement: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Return the content of triage.json.

    Args:
        evaluated: the cases.
        level: of the lower bounds.
        groups: the patient of each case; each case its own if None.
        agreement: ``(N, C)`` mean Dice between several networks' segmentations, if they were given.

    Raises:
        InputError: cases without confidences, or fewer patients than the level needs.
    """
    if evaluated.table.mask_sums is None:
        raise InputError(
            "Some results are of an older version and contain no confidences of cases. Run `nnunet-nacl evaluate` on their folders again."
        )
    always = evaluated.labelled.min(0) > 0
    return {
        "file_type": FILE_TYPE,
        "schema_version": SCHEMA_VERSION,
        "level": level,
        "risk": "1 - Dice",
        "unit": "case" if groups is None else "group of cases",
        "n_units": len(evaluated.table.cases if groups is None else set(groups)),
        "cases": list(evaluated.table.cases),
        "all_structures": _all_structures(
            evaluated, case_confidences(evaluated.table, always, agreement), level, groups
        ),
        "structures": _structures(
            evaluated, class_confidences(evaluated.table, always, agreement), always, level, groups
        ),
        "protocol": {
            "labels": evaluated.result.protocol["labels"],
            "regions": bool(evaluated.result.protocol["regions"]),
        },
    }


def _all_structures(
    evaluated: Evaluated, confidences: Mapping[str, NDArray[np.float64]], level: float, groups: Sequence[str] | None
) -> dict[str, Any]:
    """Return what is known of whole cases.

    Raises:
        InputError: fewer patients than the level needs.
    """
    dice = case_dice(evaluated.dice)
    # the Dice of an empty mask is known without an estimate, or not at all
    estimable = np.where((evaluated.table.predicted > 0).any(1), dice, np.nan)
    estimate = _estimate(confidences[DEFAULT_SCORE], estimable, level, groups)
    if estimate is None:
        units = range(len(estimable)) if groups is None else groups
        known = {unit for unit, value in zip(units, estimable, strict=True) if not np.isnan(value)}
        raise InputError(
            f"A bound at level {level:g} needs at least {smallest_number(level, two_sided=False)} {'cases' if groups is None else 'patients'} "
            f"with a segmentation and a Dice, but got {len(known)}. Give more results, or a lower --level."
        )
    return {
        "scores": {name: judge(values, dice, groups) for name, values in confidences.items()},
        "estimate": estimate,
        "across_results": _across_results(confidences[DEFAULT_SCORE], estimable, evaluated, level, groups),
    }


def _structures(
    evaluated: Evaluated,
    confidences: Mapping[str, NDArray[np.float64]],
    always: NDArray[np.bool_],
    level: float,
    groups: Sequence[str] | None,
) -> dict[str, Any]:
    """Return what is known of each class or region, by its key."""
    estimable = np.where(evaluated.table.predicted > 0, evaluated.dice, np.nan)
    return {
        key: {
            "name": name,
            "always": bool(always[place]),
            "scores": {
                score: judge(values[:, place], evaluated.dice[:, place], groups)
                for score, values in confidences.items()
            },
            "estimate": _estimate(confidences[DEFAULT_SCORE][:, place], estimable[:, place], level, groups),
        }
        for place, (key, name) in enumerate(evaluated.structures.items())
    }


def _estimate(
    confidence: NDArray[np.float64], dice: NDArray[np.float64], level: float, groups: Sequence[str] | None
) -> dict[str, Any] | None:
    """Return what is added to the soft Dice confidence; None where too few patients have a Dice."""
    both = ~np.isnan(confidence) & ~np.isnan(dice)
    units = None if groups is None else np.asarray(groups)[both]
    n_units = int(both.sum()) if units is None else np.unique(units).size
    if n_units < smallest_number(level, two_sided=False):
        return None
    fitted = fit_dice(confidence[both], dice[both], level, units)
    return {"median": fitted.median, "lower": fitted.lower, "n_units": n_units}


def _across_results(
    confidence: NDArray[np.float64],
    dice: NDArray[np.float64],
    evaluated: Evaluated,
    level: float,
    groups: Sequence[str] | None,
) -> dict[str, Any] | None:
    """Return how often the lower bound holds in a result left out."""
    both = ~np.isnan(confidence) & ~np.isnan(dice)
    sure, truth = confidence[both], dice[both]
    parts = [case.part for case, there in zip(evaluated.result.cases, both, strict=True) if there]
    units = None if groups is None else [group for group, there in zip(groups, both, strict=True) if there]

    def covers(known: NDArray[np.bool_], own: NDArray[np.bool_]) -> NDArray[np.bool_]:
        of = None if units is None else np.asarray(units)[known]
        _, bound = fit_dice(sure[known], truth[known], level, of).apply(sure[own])
        return np.asarray(truth[own] >= bound)

    return across_results(parts, units, level, covers, two_sided=False)


class TriageFit(fit_file.FitFile):
    """A triage.json that was read.

    Attributes:
        always: ``(C,)`` bool, whether every case of the fit had it.
    """

    file_type, version = FILE_TYPE, SCHEMA_VERSION

    def _read(self, content: dict[str, Any], entries: dict[str, dict[str, Any]]) -> None:
        for key, entry in entries.items():
            fit_file.expect(
                isinstance(entry["always"], bool), f"structures.{key}.always", "true or false", entry["always"]
            )
        self.always = np.array([entry["always"] for entry in entries.values()])
        whole = fit_file.mapping(content["all_structures"], "all_structures")
        self.of_cases = self._read_estimate(whole["estimate"], "all_structures")
        self.across = fit_file.read_across(whole.get("across_results"), "all_structures.across_results")
        self.of_classes = [
            None if entry["estimate"] is None else self._read_estimate(entry["estimate"], f"structures.{key}")
            for key, entry in entries.items()
        ]

    def _read_estimate(self, value: Any, place: str) -> DiceEstimate:
        entry = fit_file.mapping(value, f"{place}.estimate")
        lower, median = fit_file.pair([entry["lower"], entry["median"]])
        fit_file.expect(lower >= -1 and median <= 1, f"{place}.estimate", "from -1 to 1", [lower, median])
        return DiceEstimate(self.level, median, lower)

    def estimates(
        self, of_cases: Float64Array, of_classes: Float64Array, predicted: Float64Array
    ) -> tuple[list[Float64Array], list[Float64Array]]:
        """Return estimated Dice and lower bound of the whole case, then of each structure, each ``(N,)``; NaN where there is none.

        The Dice of an empty mask is 0 if each case of the fit had the structure, else unknown: 0, or none if the structure is absent. That
        of a case in which nothing is predicted is 0 if each had one of the structures.

        Args:
            of_cases: ``(N,)`` soft Dice confidence.
            of_classes: ``(N, C)`` of each structure.
            predicted: ``(N, C)`` voxels of the masks.
        """
        columns = [
            (self.of_cases, of_cases, predicted.sum(1) == 0, self.always.any()),
            *zip(self.of_classes, of_classes.T, predicted.T == 0, self.always, strict=True),
        ]
        ends = []
        for fitted, confidence, empty, always in columns:
            found = (np.full(len(empty), np.nan),) * 2 if fitted is None else fitted.apply(confidence)
            ends.append([np.where(empty, 0.0 if always else np.nan, end) for end in found])
        return [estimate for estimate, _ in ends], [bound for _, bound in ends]
