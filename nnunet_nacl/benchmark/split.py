"""nnU-Net's own five-fold split, written before the first training.

nnU-Net makes it in the first training, in place; of several that start together, one could read half a file.
"""

from __future__ import annotations

import json
from pathlib import Path

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.output import replacing
from nnunet_nacl.json_files import read_mapping


def write_split(dataset: str, configuration: str, plans_name: str) -> Path:
    """Write splits_final.json as nnU-Net would, unless it is there, and return its path.

    Args:
        dataset: data set name or ID.
        configuration: e.g. ``3d_fullres``; its preprocessed cases are split.
        plans_name: e.g. ``nnUNetPlans``.

    Raises:
        InputError: the data set or configuration is not preprocessed.
    """
    import numpy as np
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    from nnunet_nacl.nnunet_folders import dataset_folders

    (folder,) = dataset_folders(dataset, "nnUNet_preprocessed")
    path = folder / "splits_final.json"
    if path.is_file():
        return path
    try:
        plans = read_mapping(folder / f"{plans_name}.json", "Plan and preprocess first.")
        data = folder / plans["configurations"][configuration]["data_identifier"]
        cases = infer_dataset_class(str(data)).get_identifiers(str(data))
    except (OSError, KeyError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(f"{folder}: {configuration} of {plans_name} is not preprocessed ({error}).") from error
    splits = generate_crossval_split([str(case) for case in np.sort(list(cases))], seed=12345, n_splits=5)
    plain = [{part: [str(case) for case in names] for part, names in split.items()} for split in splits]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=4), encoding="utf-8")
    return path
