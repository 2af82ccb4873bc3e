"""What is said of a case's files: whether its saved segmentation is that of its probabilities, and whether all lie at the same place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.geometry import SHEAR_TOLERANCE, difference
from nnunet_nacl.evaluation.label_files import LabelMap, read_label_map, spacing_files
from nnunet_nacl.evaluation.remarks import GEOMETRY_DIFFERS, SEGMENTATION_DIFFERS, SHEARED, SPACING_ASSUMED


def remarks_on_geometry(label_map: LabelMap) -> dict[str, str]:
    """Return what is to be said of a label map's geometry alone, by kind."""
    remarks = {} if label_map.is_known else {SPACING_ASSUMED: ""}
    shear = label_map.geometry.shear
    if shear > SHEAR_TOLERANCE:
        remarks[SHEARED] = f"{np.degrees(np.arccos(shear)):.1f} degrees"
    return remarks


def remarks_on_saved(case: Case, dataset: Dataset, segmentation: NDArray[Any], label_map: LabelMap) -> dict[str, str]:
    """Return what is to be said of the segmentation that nnU-Net saved, by kind; ignored voxels are looked at too.

    Args:
        case: whose saved segmentation is read, where it is there.
        dataset: how it is read.
        segmentation: ``(z, y, x)``, the label map that nnU-Net writes for the probabilities.
        label_map: of the label file.
    """
    if case.segmentation is None:
        return {}
    try:
        saved = read_label_map(case.segmentation, dataset, spacing_files(case, dataset))
    except InputError as error:
        return {SEGMENTATION_DIFFERS: f"it cannot be read: {error}"}
    if saved.values.shape != segmentation.shape:
        return {SEGMENTATION_DIFFERS: f"it has shape {saved.values.shape}, the probabilities {segmentation.shape}"}
    remarks = {}
    n_differing = int(np.count_nonzero(saved.values != segmentation))
    if n_differing:
        remarks[SEGMENTATION_DIFFERS] = f"{n_differing:,} voxels"
    apart = difference(label_map.geometry, saved.geometry, segmentation.shape)
    if apart and label_map.is_known and saved.is_known:
        remarks[GEOMETRY_DIFFERS] = apart
    return remarks
