"""Finding a data set in nnU-Net's folders, by name or ID."""

from __future__ import annotations

from pathlib import Path

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
