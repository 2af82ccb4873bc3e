"""Evaluating a folder of cases, in this process or in several."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_result import CaseResult, evaluate_case
from nnunet_nacl.evaluation.cases import Case, case_names, find_cases
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.evaluation.fingerprint import fingerprint
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.parts import take_part
from nnunet_nacl.evaluation.protocol import protocol_of
from nnunet_nacl.evaluation.recalibrated import recalibrated
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.store import CaseStore
from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.evaluation.validation_cases import KINDS, remarks_on_cases
from nnunet_nacl.evaluation.workers import Warn, evaluate_each

DEFAULT_SETTINGS = Settings()

Progress = Callable[[int, int], None]
"""Called with the number of finished cases and of all cases."""


def evaluate_folder(
    gt_folder: str | os.PathLike[str],
    pred_folder: str | os.PathLike[str],
    dataset_json: str | os.PathLike[str],
    plans_json: str | os.PathLike[str],
    num_processes: int = 1,
    settings: Settings = DEFAULT_SETTINGS,
    progress: Progress = lambda done, of: None,
    *,
    output_folder: str | os.PathLike[str] | None = None,
    fresh: bool = False,
    max_memory: int | None = None,
    num_parts: int = 1,
    part_id: int = 0,
    warn: Warn = warnings.warn,
) -> FolderResult:
    """Evaluate the softmax files of a prediction folder against a label folder.

    A case whose voxels are all ignored is one of the cases; its scores are NaN.

    Args:
        gt_folder: folder with the label files; those without a prediction are left alone.
        pred_folder: folder with ``<case>.npz``, as nnU-Net saves them.
        dataset_json: nnU-Net's ``dataset.json``.
        plans_json: nnU-Net's plans file, for the reader and the labels.
        num_processes: worker processes over the cases; 1 (or less) works in this process.
        settings: what changes the figures: bins, boundary, HD95.
        progress: called at the start and after each case.
        output_folder: where each finished case is kept at once and the cases of an earlier run are looked for.
        fresh: compute all cases anew.
        max_memory: bytes for all processes; fewer cases than processes run at once where these would need more. The
            default is a share of what is available.
        num_parts: evaluate only every so many-th case,
        part_id: from this one on, counted from 0, as nnUNetv2_predict has it; all cases of a folder that holds just this part.
        warn: called with a sentence where a case alone may need more memory than there is.

    Returns:
        The cases, at least one, sorted by name, with what they were evaluated with. Nothing is written but finished cases.

    Raises:
        InputError: (a ValueError) a missing folder or file, no softmax file, a softmax file without a label file, a part that there is not or
            has no case, files that do not fit each other, values that are no probabilities or no labels, an output folder that
            cannot be written, too little memory. The first case at fault stops the evaluation; its message names the file.
    """
    dataset = load_dataset(Path(dataset_json), Path(plans_json))
    found = find_cases(Path(gt_folder), Path(pred_folder), dataset.file_ending)
    cases, part = take_part(found, case_names(Path(gt_folder), dataset.file_ending), num_parts, part_id)
    if not cases:
        raise InputError(f"{pred_folder}: part {part_id} of {num_parts} has no case.")
    _check_names(cases)
    protocol = protocol_of(dataset, settings)
    prints = {case: fingerprint(case, protocol, dataset) for case in cases}
    store = CaseStore(Path(output_folder), protocol) if output_folder is not None else None
    results = [] if store is None or fresh else _recalled(prints, store)
    recalled = len(results)
    progress(recalled, len(cases))
    finished = {result.case for result in results}
    missing = [case for case in cases if case not in finished]
    evaluate = partial(evaluate_case, dataset=dataset, settings=settings)
    for result in evaluate_each(missing, evaluate, num_processes, max_memory, warn):
        results.append(replace(result, fingerprint=prints[result.case]))
        if store is not None:
            store.save(results[-1])
        progress(len(results), len(cases))
    given = {"labels": gt_folder, "predictions": pred_folder, "dataset_json": dataset_json, "plans_json": plans_json}
    files = {name: absolute(path) for name, path in given.items()} | part.as_files() | recalibrated(Path(pred_folder))
    trained = remarks_on_cases(cases, dataset.name)
    placed = (
        replace(result, case=_placed(result.case), remarks=_remarks(result, trained.get(result.case.name, {})))
        for result in results
    )
    return FolderResult(tuple(sorted(placed, key=lambda result: result.case.name)), protocol, files, recalled)


def _remarks(result: CaseResult, trained: Mapping[str, str]) -> dict[str, str]:
    """Return the remarks on a case, with those on its fold as it is now."""
    return {kind: detail for kind, detail in result.remarks.items() if kind not in KINDS} | dict(trained)


def _placed(case: Case) -> Case:
    """Return a case with paths that hold in every working directory."""
    return replace(case, probabilities=Path(absolute(case.probabilities)), labels=Path(absolute(case.labels)))


def _check_names(cases: Sequence[Case]) -> None:
    """Refuse paths that are not UTF-8: SimpleITK ends the whole process over one."""
    for case in cases:
        try:
            str(case.labels).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{str(case.labels)!r}: the path is not UTF-8, which nnU-Net's reader cannot take."
            ) from error


def _recalled(prints: dict[Case, str], store: CaseStore) -> list[CaseResult]:
    loaded = ((case, store.load(print_)) for case, print_ in prints.items())
    # a case that was renamed or copied is found by its content; what was evaluated is a part of nothing yet
    return [replace(result, case=case, part="") for case, result in loaded if result is not None]
