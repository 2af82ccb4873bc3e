"""Finding a data set in nnU-Net's folders, by name or ID."""

from __future__ import annotations

from pathlib import Path

from nnunetv2 import paths
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunet_nacl.errors import InputError


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
    known = _known()
    try:
        name = maybe_convert_to_dataset_name(int(dataset) if dataset.isdigit() else dataset)
    except (RuntimeError, ValueError, AssertionError) as error:
        if str(error).startswith("More than one"):
            raise InputError(
                f"{dataset}: more than one data set has this number: {_of_number(dataset, known)}."
            ) from error
        raise InputError(f"{dataset}: nnU-Net knows no such data set. {_listed(known)}") from error
    if name not in known:
        raise InputError(f"{name}: nnU-Net knows no such data set. {_listed(known)}")
    return [Path(str(getattr(paths, variable)), name) for variable in variables]


def _known() -> list[str]:
    """Return the names of the data sets in any of nnU-Net's folders."""
    variables = (paths.nnUNet_raw, paths.nnUNet_preprocessed, paths.nnUNet_results)
    folders = [Path(str(variable)) for variable in variables if variable.is_set()]
    return sorted(
        {path.name for folder in folders if folder.is_dir() for path in folder.glob("Dataset*") if path.is_dir()}
    )


def _listed(known: list[str], at_most: int = 20) -> str:
    if not known:
        return "There is none in nnUNet_raw, nnUNet_preprocessed and nnUNet_results."
    more = f" and {len(known) - at_most} more" if len(known) > at_most else ""
    return f"There are {', '.join(known[:at_most])}{more}."


def _of_number(number: str, known: list[str]) -> str:
    return ", ".join(name for name in known if name.startswith(f"Dataset{int(number):03d}"))
