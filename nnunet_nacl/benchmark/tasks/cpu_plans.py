"""nnU-Net plans for networks that train on a CPU.

A plans file of its own, beside the planned one: same preprocessed data, same configuration names, a small network on
small patches. So ``nnUNetv2_train DATASET 3d_fullres FOLD -p nnUNetPlansCPU`` needs no new preprocessing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.nnunet.dataset_folders import dataset_folders

FEATURES = (8, 16, 32, 64)
LARGEST_SIDE = {2: 128, 3: 40}
BATCH_SIZE = {2: 8, 3: 2}


def write_cpu_plans(dataset: str, plans_name: str, new_name: str, patch_size: Sequence[int] | None = None) -> Path:
    """Derive small plans from those of a preprocessed data set, write them beside and return the path.

    Args:
        dataset: data set name or ID, as nnU-Net's commands take it.
        plans_name: plans to derive from, e.g. ``nnUNetPlans``.
        new_name: name of the new plans.
        patch_size: voxels per axis for the 3D configurations; default: the planned ones, at most 40 per side.

    Raises:
        InputError: the data set is not known or not planned, or the patch does not fit the network.
    """
    (folder,) = dataset_folders(dataset, "nnUNet_preprocessed")
    source = folder / f"{plans_name}.json"
    if new_name == plans_name:
        raise InputError(f"expected a new name for the plans, got {new_name} again.")
    plans = derived_plans(source, new_name, patch_size, f"Run `nnUNetv2_plan_and_preprocess -d {dataset}` first.")
    path = source.with_name(f"{new_name}.json")
    path.write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")
    return path


def derived_plans(source: Path, new_name: str, patch_size: Sequence[int] | None, hint: str) -> dict[str, Any]:
    """Return the small plans of a plans file; see :func:`small_plans`.

    Raises:
        InputError: it is missing (``hint`` says what to do) or no plans file, or the patch does not fit the network.
    """
    planned = read_mapping(source, hint)
    try:
        return small_plans(planned, new_name, patch_size)
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{source}: is not as nnU-Net writes plans ({first_line(error)}).") from error


def small_plans(plans: dict[str, Any], new_name: str, patch_size: Sequence[int] | None = None) -> dict[str, Any]:
    """Return a copy of nnU-Net plans with at most four stages of 8 to 64 features, small patches and batches."""
    small = deepcopy(plans)
    small["plans_name"] = new_name
    for name, configuration in small["configurations"].items():
        if "patch_size" not in configuration:  # inherits everything, as the cascade does
            continue
        wanted = patch_size if patch_size is not None and len(configuration["patch_size"]) == 3 else None
        _shrink(name, configuration, wanted)
    return small


def _shrink(name: str, configuration: dict[str, Any], patch_size: Sequence[int] | None) -> None:
    architecture = configuration["architecture"]["arch_kwargs"]
    planned = architecture["n_stages"]
    n_stages = min(planned, len(FEATURES))
    for key, value in architecture.items():
        # per-stage settings; the decoder has one stage less
        if isinstance(value, list) and len(value) in (planned, planned - 1):
            architecture[key] = value[: n_stages - (planned - len(value))]
    architecture["n_stages"] = n_stages
    architecture["features_per_stage"] = list(FEATURES[:n_stages])
    strides = np.prod(architecture["strides"], axis=0)
    dimensions = len(strides)
    if patch_size is None:
        sides = np.minimum(configuration["patch_size"], LARGEST_SIDE[dimensions])
        sides = np.maximum(sides // strides, 1) * strides
    else:
        sides = np.array(patch_size)
        if len(sides) != dimensions or np.any(sides % strides):
            raise InputError(
                f"expected a patch size of {dimensions} sides, multiples of {strides.tolist()} for {name}, "
                f"got {list(patch_size)}."
            )
    configuration["patch_size"] = [int(side) for side in sides]
    configuration["batch_size"] = BATCH_SIZE[dimensions]
