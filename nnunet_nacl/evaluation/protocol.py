"""What a folder was evaluated with: the part of a result that has to be the same for two results to be comparable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnunet_nacl.calibration.kernels import NLL_FLOOR, THRESHOLD
from nnunet_nacl.calibration.voxel_sets import DESCRIPTIONS
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.settings import Settings

SCHEMA_VERSION = 4
"""Of calibration.json and calibration_bins.npz. It changes whenever a stored number would come out differently."""

READABLE_VERSIONS = (3, 4)
"""In version 3 the Dice of regions, their predicted volumes and their HD95 were those of channels above 0.5."""


def protocol_of(dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """Return bins, voxel sets, labels and floors as plain values, as they stand in calibration.json."""
    of_regions = {"regions_class_order": list(dataset.region_labels)} if dataset.regions is not None else {}
    return {
        "n_bins": settings.n_bins,
        "bins": "equal width, (lower, upper], 0 in the first bin",
        "voxel_sets": dict(DESCRIPTIONS),
        "boundary_mm": settings.boundary_mm,
        "labels": dataset.target_names,
        "regions": dataset.regions is not None,
        **of_regions,
        "ignore_label": dataset.ignore_label,
        "nll_floor": NLL_FLOOR,
        "threshold": THRESHOLD,
        "hd95": settings.hd95,
    }


def check_readable(path: Path, version: Any, protocol: dict[str, Any] | None = None) -> None:
    """Raise InputError unless the figures of this schema version still mean what they say; of the protocol, where it is known."""
    if version not in READABLE_VERSIONS:
        raise InputError(
            f"{path}: expected schema version {SCHEMA_VERSION}, but got {version!r:.80}. Evaluate it again."
        )
    if version < 4 and protocol is not None and protocol.get("regions"):
        raise InputError(
            f"{path}: is of schema version {version}, in which the Dice of regions was that of each channel above 0.5 and not "
            "that of the label map that nnU-Net writes. Evaluate it again."
        )


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Return in words where two protocols differ, or an empty text; the number of cases is no part of a protocol.

    The order within ``labels`` counts: that of regions is the order of the channels.
    """
    keys = sorted((set(ours) | set(theirs)) - {"n_cases"})
    differing = [key for key in keys if json.dumps(ours.get(key)) != json.dumps(theirs.get(key))]
    return "; ".join(f"{key} {ours.get(key)!r} against {theirs.get(key)!r}" for key in differing)
