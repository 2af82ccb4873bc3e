"""How a slice of a volume is laid out so that it looks as on a reading workstation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEFT, POSTERIOR, SUPERIOR = 0, 1, 2
VIEWS = {LEFT: "sagittal", POSTERIOR: "coronal", SUPERIOR: "axial"}


@dataclass(frozen=True)
class Layout:
    """How to lay out the two axes that remain of ``(z, y, x)`` when a slice is taken.

    Attributes:
        view: axial, coronal or sagittal; empty where the file does not tell.
        transpose: exchange rows and columns first.
        flip_rows, flip_columns: then turn them round.
        sides: what is on the left and on the top, in words; empty where the file does not tell.
    """

    view: str = ""
    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False
    sides: str = ""

    def lay_out(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a slice ``(rows, columns)`` as it is shown."""
        plane = plane.T if self.transpose else plane
        plane = plane[::-1] if self.flip_rows else plane
        return plane[:, ::-1] if self.flip_columns else plane


AS_STORED = Layout()


def layout_of(properties: Mapping[str, Any], axis: int) -> Layout:
    """Return the layout of slices along an axis of ``(z, y, x)``: radiological, anterior or superior on top.

    Args:
        properties: of nnU-Net's reader; those of SimpleITKIO hold direction cosines, for others slices stay as stored.
        axis: 0, 1 or 2.
    """
    direction = properties.get("sitk_stuff", {}).get("direction", ())
    if len(direction) != 9:
        return AS_STORED
    # column i: the direction of index axis x, y or z in LPS; reversed to the axis order of arrays, z, y, x
    cosines = np.reshape(direction, (3, 3))[:, ::-1]
    patient = [int(np.abs(cosines[:, number]).argmax()) for number in range(3)]
    rising = [bool(cosines[patient[number], number] > 0) for number in range(3)]
    if len(set(patient)) < 3:
        return AS_STORED
    rows, columns = (number for number in range(3) if number != axis)
    # superior is drawn upwards, or posterior downwards; left goes to the right of the picture, or posterior does
    vertical = SUPERIOR if SUPERIOR in (patient[rows], patient[columns]) else POSTERIOR
    transpose = patient[rows] != vertical
    if transpose:
        rows, columns = columns, rows
    return Layout(
        view=VIEWS[patient[axis]],
        transpose=transpose,
        flip_rows=rising[rows] == (vertical == SUPERIOR),
        flip_columns=not rising[columns],
        sides=_sides(vertical, patient[columns]),
    )


def _sides(vertical: int, horizontal: int) -> str:
    left = "the patient's right" if horizontal == LEFT else "anterior"
    top = "superior" if vertical == SUPERIOR else "anterior"
    return f"{left} on the left, {top} on top"
