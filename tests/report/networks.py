"""Runs of networks whose confidence and accuracy are chosen."""

from pathlib import Path

import numpy as np

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.voxel_sets import DESCRIPTIONS
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.summary import summarize
from nnunet_nacl.study.run import Run

PROTOCOL = {
    "n_bins": 15,
    "bins": "equal width",
    "voxel_sets": dict(DESCRIPTIONS),
    "boundary_mm": 3.0,
    "labels": {"0": "background", "1": "lesion"},
    "regions": False,
    "ignore_label": None,
    "nll_floor": 1e-12,
    "threshold": 0.001,
    "hd95": False,
}


def case_of(groups):
    """Return the statistics of voxels that are all predicted as 1: (confidence, accuracy, number) of each group."""
    statistics = CalibrationStatistics.empty(2, 15)
    confidence = np.concatenate([np.full(number, said) for said, _, number in groups])
    labels = np.concatenate([np.arange(number) < round(right * number) for _, right, number in groups]).astype(int)
    statistics.update(np.stack([1 - confidence, confidence]), labels)
    return statistics


def run_of(cases, name="network"):
    """Return the run of cases, each a list of groups of voxels."""
    results = tuple(
        CaseResult(
            Case(f"case_{number:02d}", Path(f"/p/case_{number:02d}.npz"), Path(f"/l/case_{number:02d}.nii.gz")),
            (case_of(groups),),
            1.0,
            np.full(2, np.nan),
        )
        for number, groups in enumerate(cases)
    )
    summary = summarize(FolderResult(results, PROTOCOL, {"labels": "/l"}))
    return Run(name, Path("/r"), summary, {result.case.name: result.problems for result in results})
