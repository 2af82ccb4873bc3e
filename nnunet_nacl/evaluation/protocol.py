"""What a folder was evaluated with: the part of a result that has to be the same for two results to be comparable."""

from __future__ import annotations

from typing import Any

from nnunet_nacl.calibration.kernels import NLL_FLOOR
from nnunet_nacl.evaluation.dataset import Dataset

SCHEMA_VERSION = 2
"""Of calibration.json and calibration_bins.npz. It changes whenever a stored number would come out differently."""


def protocol_of(dataset: Dataset, n_bins: int) -> dict[str, Any]:
    """Return bins, voxel sets, labels and floors as plain values, as they stand in calibration.json."""
    return {
        "n_bins": n_bins,
        "bins": "equal width, (lower, upper], 0 in the first bin",
        "voxel_sets": {
            "all": "every voxel that is not ignored",
            "foreground": "label is not background",
            "union": "label or prediction is not background",
            "predicted": "prediction is not background",
        },
        "labels": {str(label): name for label, name in enumerate(dataset.label_names)},
        "ignore_label": dataset.ignore_label,
        "nll_floor": NLL_FLOOR,
    }


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Return in words where two protocols differ, or an empty text; the number of cases is no part of a protocol."""
    keys = sorted((set(ours) | set(theirs)) - {"n_cases"})
    differing = [key for key in keys if ours.get(key) != theirs.get(key)]
    return "; ".join(f"{key} {ours.get(key)!r} against {theirs.get(key)!r}" for key in differing)
