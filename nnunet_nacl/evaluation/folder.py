"""Evaluating a folder of cases, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.evaluation.case_result import CaseResult, evaluate_case
from nnunet_nacl.evaluation.cases import Case, find_cases
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.protocol import protocol_of

DEFAULT_BINS = 15

Progress = Callable[[int, int], None]
"""Called with the number of finished cases and of all cases."""


@dataclass(frozen=True)
class FolderResult:
    """The evaluated cases of a folder, or of several that were merged.

    Attributes:
        cases: sorted by name.
        protocol: what they were evaluated with, see :func:`protocol_of`.
        files: where they come from, for the provenance.
    """

    cases: tuple[CaseResult, ...]
    protocol: dict[str, Any]
    files: dict[str, str]

    @property
    def pooled_problems(self) -> tuple[CalibrationStatistics, ...]:
        """The statistics of all cases added up, one entry per problem."""
        return tuple(total(parts) for parts in zip(*(result.problems for result in self.cases), strict=True))

    @property
    def pooled(self) -> CalibrationStatistics:
        """The statistics of all cases and problems added up."""
        return total(self.pooled_problems)


def evaluate_folder(
    gt_folder: str | os.PathLike[str],
    pred_folder: str | os.PathLike[str],
    dataset_json: str | os.PathLike[str],
    plans_json: str | os.PathLike[str],
    num_processes: int = 1,
    n_bins: int = DEFAULT_BINS,
    progress: Progress = lambda done, of: None,
) -> FolderResult:
    """Evaluate the softmax files of a prediction folder against a label folder.

    Args:
        gt_folder: folder with the label files.
        pred_folder: folder with ``<case>.npz``, as nnU-Net saves them.
        dataset_json: nnU-Net's ``dataset.json``.
        plans_json: nnU-Net's plans file, for the reader and the labels.
        num_processes: worker processes over the cases; 1 works in this process.
        n_bins: equal-width confidence bins.
        progress: called after each case.

    Raises:
        InputError: see :func:`find_cases` and :func:`evaluate_case`; the first case at fault stops the evaluation.
    """
    dataset = load_dataset(Path(dataset_json), Path(plans_json))
    cases = find_cases(Path(gt_folder), Path(pred_folder), dataset.file_ending)
    results = []
    for done, result in enumerate(_evaluated(cases, dataset, n_bins, min(num_processes, len(cases))), start=1):
        results.append(result)
        progress(done, len(cases))
    files = {
        "labels": str(gt_folder),
        "predictions": str(pred_folder),
        "dataset_json": str(dataset_json),
        "plans_json": str(plans_json),
    }
    ordered = tuple(sorted(results, key=lambda result: result.case.name))
    return FolderResult(ordered, protocol_of(dataset, n_bins), files)


def _evaluated(cases: list[Case], dataset: Dataset, n_bins: int, num_processes: int) -> Iterator[CaseResult]:
    if num_processes == 1:
        for case in cases:
            yield evaluate_case(case, dataset, n_bins)
        return
    # spawn, as nnU-Net does: forking a process that has used torch or OpenMP threads can hang
    with ProcessPoolExecutor(num_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(evaluate_case, case, dataset, n_bins) for case in cases]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
