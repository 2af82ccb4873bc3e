"""``nnunet_nacl_data.json``: which data lie in a folder of nnU-Net's, written beside them by the step that made them.

In nnUNet_raw it says what was imported, in nnUNet_preprocessed what was preprocessed, in a fold's folder what is trained and validated
there. It holds what nobody could tell from the folder itself later: the digests of the images, and the split.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nnunet_nacl.benchmark.tasks.data_identity import CaseDigests, Cases, of_labels, of_raw
from nnunet_nacl.benchmark.tasks.split import Split
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import mapping_if_any, read_mapping
from nnunet_nacl.files.whole_file import replacing

RECORD = "nnunet_nacl_data.json"


@dataclass(frozen=True)
class Record:
    """What the file says.

    Attributes:
        cases: the data.
        split: of a fold: the cases that it trains and validates on.
    """

    cases: Cases
    split: Split | None = None


def write_record(folder: Path, cases: Cases, split: Split | None = None) -> None:
    """Write the record of a folder."""
    content: dict[str, object] = {"version": 1, "cases": {case: asdict(one) for case, one in sorted(cases.items())}}
    if split is not None:
        content["split"] = {part: list(split[part]) for part in ("train", "val")}
    with replacing(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """Return the record of a folder, or None where there is none or it is damaged."""
    content = mapping_if_any(folder / RECORD)
    try:
        cases = {str(case): CaseDigests(**digests) for case, digests in content["cases"].items()}
        split = content.get("split")
        return Record(
            cases, None if split is None else {part: [str(case) for case in split[part]] for part in ("train", "val")}
        )
    except (LookupError, TypeError, AttributeError):
        return None


def raw_cases(folder: Path) -> dict[str, CaseDigests]:
    """Return the data set that lies in a folder of nnUNet_raw, with what its record adds to the files.

    Raises:
        InputError: it cannot be read.
    """
    present = of_raw(folder)
    record = read_record(folder)
    if record is None:
        return present
    # the record is of files that are there no longer where a case was changed by hand
    unsplit = {case: one.unsplit for case, one in record.cases.items() if _same_files(present.get(case), one)}
    return {case: replace(one, unsplit=unsplit.get(case)) for case, one in present.items()}


def preprocessed_cases(folder: Path) -> dict[str, CaseDigests] | None:
    """Return the data set that a folder of nnUNet_preprocessed was made from, or None where it holds none yet.

    The labels are those of ``gt_segmentations``, which all validation is done with; the images are known from the record only.

    Raises:
        InputError: it cannot be read.
    """
    labels = folder / "gt_segmentations"
    if not (labels.is_dir() and (folder / "dataset.json").is_file()):
        return None
    ending = read_mapping(folder / "dataset.json", "").get("file_ending")
    if not isinstance(ending, str):
        raise InputError(f"{folder / 'dataset.json'}: is not as nnU-Net writes it (no `file_ending`).")
    present = of_labels(labels, ending)
    record = read_record(folder)
    recorded = record.cases if record is not None else {}
    return {
        case: recorded[case] if case in recorded and recorded[case].labels == one.labels else one
        for case, one in present.items()
    }


def _same_files(present: CaseDigests | None, recorded: CaseDigests) -> bool:
    return present is not None and (present.labels, present.images) == (recorded.labels, recorded.images)
