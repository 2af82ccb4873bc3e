"""The findings and lesions of one class over all cases, as columns, with the patient of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.lesions.case_lesions import DUPLICATE, FOUND, TRUE, CaseLesions
from nnunet_nacl.lesions.rules import Confidence, Rules


class ClassTable(NamedTuple):
    """A class, or region.

    Attributes:
        n_patients: all, also those without finding or lesion.
        finding_patient: ``(n,)``, patient of each finding, from 0; findings that do not count are left out.
        is_true: ``(n,)``.
        largest_p, mean_p: ``(n,)``.
        lesion_patient: ``(m,)``.
        is_found: ``(m,)``.
        size: ``(m,)``, of the lesions in mm^3, in 2D in pixels.
    """

    n_patients: int
    finding_patient: Int64Array
    is_true: NDArray[np.bool_]
    largest_p: Float64Array
    mean_p: Float64Array
    lesion_patient: Int64Array
    is_found: NDArray[np.bool_]
    size: Float64Array

    def confidence(self, which: Confidence) -> Float64Array:
        """Return the confidence of each finding, ``(n,)``."""
        return self.largest_p if which == "largest" else self.mean_p

    def of_patients(self, rows: Int64Array, counted: NDArray[np.bool_] | None = None) -> Int64Array:
        """Return how many rows each patient has, ``(n_patients,)``; of those that are counted."""
        return np.bincount(rows if counted is None else rows[counted], minlength=self.n_patients)


def table_of(cases: Sequence[CaseLesions], structure: int, rules: Rules, groups: Sequence[str] | None) -> ClassTable:
    """Return the table of one class, or region.

    Args:
        cases: all cases.
        structure: which one.
        rules: say whether duplicates count.
        groups: the patient of each case; None: each case is its own.
    """
    names = [str(number) for number in range(len(cases))] if groups is None else list(groups)
    places = {name: number for number, name in enumerate(dict.fromkeys(names))}
    patients = [places[name] for name in names]
    findings, lesions = [], []
    for case, patient in zip(cases, patients, strict=True):
        found, true = case.findings, case.lesions
        counts = found.structure == structure
        if rules.duplicates == "ignored":
            counts &= found.outcome != DUPLICATE
        findings.append(
            (
                np.full(counts.sum(), patient),
                found.outcome[counts] == TRUE,
                found.largest_p[counts],
                found.mean_p[counts],
            )
        )
        its = true.structure == structure
        lesions.append((np.full(its.sum(), patient), true.outcome[its] == FOUND, case.sizes(true)[its]))
    return ClassTable(
        len(places),
        *(np.concatenate(column) for column in zip(*findings, strict=True)),
        *(np.concatenate(column) for column in zip(*lesions, strict=True)),
    )
