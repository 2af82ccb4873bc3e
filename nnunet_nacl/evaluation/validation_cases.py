"""Whether the cases of a ``fold_X/validation`` are cases that the network was not trained on.

``fold_all`` is trained on all cases, and nnU-Net then "validates" it on them. And nnU-Net removes nothing from a validation folder: where
``splits_final.json`` changed and the fold was trained again, the cases of the older split still lie there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nnunetv2 import paths

from nnunet_nacl.evaluation.cases import Case, case_names
from nnunet_nacl.evaluation.remarks import LEFT_OVER, TRAINED_ON, gather, in_words
from nnunet_nacl.files import json_files

KINDS = (TRAINED_ON, LEFT_OVER)
"""The remarks that :func:`remarks_on_cases` makes. They depend on more than the case's own files."""

_FOLD = re.compile(r"fold_(\d+)")


def remarks_on_cases(cases: Sequence[Case], dataset_name: str) -> dict[str, dict[str, str]]:
    """Return the remarks on each case that may have been trained on, by its name.

    Args:
        cases: of one prediction folder or of several.
        dataset_name: names the folder of ``splits_final.json`` in ``nnUNet_preprocessed``, if that is set.
    """
    remarks: dict[str, dict[str, str]] = {}
    for folder in dict.fromkeys(case.probabilities.parent for case in cases):
        names = [case.name for case in cases if case.probabilities.parent == folder]
        place = folder.resolve()
        if place.name != "validation":
            continue
        if place.parent.name == "fold_all":
            remarks |= {name: {TRAINED_ON: ""} for name in names}
        else:
            remarks |= _left_over(names, place.parent.name, dataset_name)
    return remarks


def sentences_on_folders(folders: Sequence[Path], dataset_name: str) -> list[str]:
    """Return what is to be said of the softmax files of prediction folders, in words; see :func:`remarks_on_cases`."""
    cases = [
        Case(name, folder / f"{name}.npz", folder) for folder in folders for name in sorted(case_names(folder, ".npz"))
    ]
    return in_words(gather(list(remarks_on_cases(cases, dataset_name).items())), len(cases))


def _left_over(names: Sequence[str], fold: str, dataset_name: str) -> dict[str, dict[str, str]]:
    found = _FOLD.fullmatch(fold)
    split = None if found is None else _split(int(found[1]), dataset_name)
    if split is None:
        return {}
    validation, training = split
    return {name: {LEFT_OVER: "trained on" if name in training else ""} for name in names if name not in validation}


def _split(fold: int, dataset_name: str) -> tuple[set[str], set[str]] | None:
    """Return the validation and training cases of a fold; None where nnU-Net's file does not say (it then draws a split by itself)."""
    if not paths.nnUNet_preprocessed.is_set():
        return None
    try:
        split = json_files.read(Path(str(paths.nnUNet_preprocessed), dataset_name, "splits_final.json"), finite=False)[
            fold
        ]
        return set(split["val"]), set(split["train"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
