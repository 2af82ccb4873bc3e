"""``splits_final.json``: nnU-Net's own five-fold split, written before the first training; and whether one that is there will do.

nnU-Net makes it in the first training, in place; of several that start together, one could read half a file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.files import json_files
from nnunet_nacl.files.json_files import read_mapping
from nnunet_nacl.files.whole_file import replacing

SPLITS = "splits_final.json"
Split = Mapping[str, Sequence[str]]
"""The cases of a fold: ``train`` and ``val``."""


def write_split(dataset: str, configuration: str, plans_name: str) -> Path:
    """Write splits_final.json as nnU-Net would, unless it is there, and return its path.

    Args:
        dataset: data set name or ID.
        configuration: e.g. ``3d_fullres``; its preprocessed cases are split.
        plans_name: e.g. ``nnUNetPlans``.

    Raises:
        InputError: the data set or configuration is not preprocessed.
    """
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    from nnunet_nacl.nnunet.dataset_folders import dataset_folders

    (folder,) = dataset_folders(dataset, "nnUNet_preprocessed")
    path = folder / SPLITS
    if path.is_file():
        return path
    try:
        plans = read_mapping(folder / f"{plans_name}.json", "Plan and preprocess first.")
        data = folder / plans["configurations"][configuration]["data_identifier"]
        cases = infer_dataset_class(str(data)).get_identifiers(str(data))
    except (OSError, KeyError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(f"{folder}: {configuration} of {plans_name} is not preprocessed ({error}).") from error
    splits = _own_split(map(str, cases))
    if not splits:
        raise InputError(
            f"{folder}: nnU-Net's split has five folds, which {len(cases)} cases do not fill. Write {SPLITS} yourself."
        )
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(splits, indent=4), encoding="utf-8")
    return path


def read_splits(preprocessed: Path) -> list[Split] | None:
    """Return the split of a data set, or None where there is none yet.

    Raises:
        InputError: it is not as nnU-Net writes it.
    """
    path = preprocessed / SPLITS
    if not path.is_file():
        return None
    try:
        read: list[Split] = [
            {part: list(split[part]) for part in ("train", "val")} for split in json_files.read(path, finite=False)
        ]
        if not all(isinstance(case, str) for split in read for part in split.values() for case in part):
            raise TypeError("a case is no text")
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not as nnU-Net writes it ({first_line(error)}).") from error
    return read


def check_split(preprocessed: Path, folds: Sequence[int], cases: Collection[str] | None) -> None:
    """Raise InputError where the split that is there lacks a fold, or is one of other cases than the data set's.

    nnU-Net trains a fold that the file lacks on a random 80:20 split, whose validation cases are those of other folds. A split of
    one's own may leave cases out; nnU-Net's own that does so was made before the data set grew.

    Args:
        preprocessed: the data set's folder in nnUNet_preprocessed.
        folds: that are to be trained.
        cases: of the data set; None where they are not known.
    """
    splits, path = read_splits(preprocessed), preprocessed / SPLITS
    if splits is None:
        return
    beyond = [fold for fold in folds if fold >= len(splits)]
    if beyond:
        raise InputError(
            f"{path} has {len(splits)} folds, counted from 0, but `folds` asks for {', '.join(map(str, beyond))}: nnU-Net would "
            f"train that on a random 80:20 split. Change `folds`, or the file."
        )
    if cases is None:
        return
    named = {case for split in splits for part in split.values() for case in part}
    unknown = sorted(named.difference(cases))
    if unknown:
        raise InputError(
            f"{path} names {len(unknown)} cases that the data set does not have, such as {unknown[0]}: it was made for other data. "
            f"Move it away, and nnU-Net's own split is made anew."
        )
    if len(named) < len(cases) and [dict(split) for split in splits] == _own_split(named):
        raise InputError(
            f"{path} is nnU-Net's own split of {len(named)} cases, but the data set has {len(cases)}: it was made before the others "
            f"were added. Move it away, and the split is made anew."
        )


def _own_split(cases: Iterable[str]) -> list[dict[str, list[str]]]:
    """Return nnU-Net's split of some cases; empty where they are too few for one."""
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    try:
        made = generate_crossval_split(sorted(cases), seed=12345, n_splits=5)
    except ValueError:  # fewer cases than folds
        return []
    return [{part: [str(case) for case in names] for part, names in split.items()} for split in made]
