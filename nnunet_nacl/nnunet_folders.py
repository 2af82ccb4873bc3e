"""Finding a data set in nnU-Net's folders, by name or ID, and reading its JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nnunetv2 import paths
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunet_nacl.errors import InputError, first_line


def dataset_folders(dataset: str, *variables: str) -> list[Path]:
    """Return the data set's folder in each of nnU-Net's folders that are named; its name is the data set's.

    Args:
        dataset: data set name or ID, as nnU-Net's commands take it.
        variables: ``nnUNet_raw``, ``nnUNet_preprocessed`` or ``nnUNet_results``.

    Raises:
        InputError: a variable is not set, or nnU-Net does not know the data set.
    """
    for variable in variables:
        if not getattr(paths, variable).is_set():
            raise InputError(f"{variable} is not set. Run `nnunet-nacl doctor` for what to set.")
    try:
        name = maybe_convert_to_dataset_name(int(dataset) if dataset.isdigit() else dataset)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(f"{dataset}: nnU-Net knows no such data set ({first_line(error)}).") from error
    return [Path(str(getattr(paths, variable)), name) for variable in variables]


def read_json(path: Path, hint: str) -> dict[str, Any]:
    """Read a JSON file of nnU-Net's that holds a mapping: dataset.json, plans.

    Args:
        path: the file.
        hint: what to do where it is missing.

    Raises:
        InputError: it is missing, cannot be read, or holds no mapping.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. {hint}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON mapping, but got a {type(content).__name__}.")
    return content
