"""New predictions, without labels: what a fit is applied to.

With softmax files everything comes from the probabilities, by the very code that evaluates a case with its saved segmentation in the
place of labels, since nothing of :class:`~nnunet_nacl.decisions.case_table.CaseTable` depends on labels. So a hard volume is that of the label map of the
probabilities, as in the fit, whatever postprocessing did to the saved one. Without softmax files it is that of the segmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.decisions.case_table import CaseTable, table_of
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_result import CaseResult, evaluate_case
from nnunet_nacl.evaluation.cases import Case, case_names
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.evaluation.memory import bytes_needed, processes_within
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.nnunet.prediction_folder import DATASET_JSON, PLANS_JSON, find_description
from nnunet_nacl.processes.available_memory import default_budget
from nnunet_nacl.processes.pool import results_of

Progress = Callable[[int, int], None]

_SETTINGS = Settings(n_bins=1, boundary_mm=0.0, hd95=False)


class _Counted(NamedTuple):
    """A segmentation without probabilities: its case, the volume of a voxel, the voxels of each structure."""

    case: Case
    voxel_mm3: float
    voxels: Float64Array


def find_predictions(folder: Path, dataset: Dataset) -> list[Case]:
    """Return the cases of a prediction folder by the segmentations in it, which stand in the place of labels.

    Raises:
        InputError: there is none, or a softmax file has none.
    """
    segmented, softmax = case_names(folder, dataset.file_ending), case_names(folder, ".npz")
    alone = sorted(softmax - segmented)
    if alone:
        raise InputError(
            f"{folder}: no segmentation ({dataset.file_ending}) beside the softmax file of {', '.join(alone[:5])}. It says how "
            "large a voxel is; nnUNetv2_predict writes it."
        )
    if not segmented:
        raise InputError(f"{folder}: no segmentation ({dataset.file_ending}).")
    paths = {name: folder / f"{name}{dataset.file_ending}" for name in sorted(segmented)}
    return [Case(name, folder / f"{name}.npz", path, segmentation=path) for name, path in paths.items()]


def read_predictions(
    cases: Sequence[Case], dataset: Dataset, num_processes: int, max_memory: int | None, progress: Progress
) -> CaseTable:
    """Return the table of new predictions; from the segmentations alone unless every case has a softmax file.

    Raises:
        InputError: a file that cannot be read or whose values are unusable; the message names the file.
    """
    with_softmax = all(case.probabilities.is_file() for case in cases)
    work: Callable[[Case], CaseResult | _Counted] = partial(_evaluated if with_softmax else _counted, dataset=dataset)
    needs = [bytes_needed(case) for case in cases]
    processes = processes_within(needs, num_processes, default_budget() if max_memory is None else max_memory)
    found: dict[str, CaseResult | _Counted] = {}
    progress(0, len(cases))
    for done in results_of(work, cases, processes):
        found[done.case.name] = done
        progress(len(found), len(cases))
    ordered = [found[case.name] for case in cases]
    evaluated = [each for each in ordered if isinstance(each, CaseResult)]
    if evaluated:
        return table_of(evaluated, dataset.regions is not None)
    counted = [each for each in ordered if isinstance(each, _Counted)]
    return CaseTable(
        tuple(each.case.name for each in counted),
        np.array([each.voxel_mm3 for each in counted]),
        np.stack([each.voxels for each in counted]),
    )


def pairwise_dice(cases: Sequence[str], members: Sequence[Path], dataset: Dataset) -> Float64Array:
    """Return the mean Dice between the segmentations of several networks, over their pairs, ``(N, C)``.

    A structure that neither of a pair has is left out of the mean; NaN where no pair has it.

    Raises:
        InputError: fewer than two members, one twice, or a member lacks a case or has it in another shape.
    """
    if len(members) < 2:
        raise InputError(f"Expected at least two folders with --members, but got {len(members)}.")
    twice = next(
        (one for number, one in enumerate(members) if one.resolve() in [other.resolve() for other in members[:number]]),
        None,
    )
    if twice is not None:
        raise InputError(
            f"{twice}: comes twice under --members, and agrees with itself. Give the folder of each network once."
        )
    return np.stack([_agreement(name, members, dataset) for name in cases])


def dataset_of_members(members: Sequence[Path]) -> Dataset:
    """Return the data set of the first of several networks' predictions, by the files that nnU-Net put beside them."""
    return load_dataset(find_description(members[0], DATASET_JSON), find_description(members[0], PLANS_JSON))


def _agreement(name: str, members: Sequence[Path], dataset: Dataset) -> Float64Array:
    masks = []
    for folder in members:
        path = folder / f"{name}{dataset.file_ending}"
        if not path.is_file():
            raise InputError(f"{folder}: no segmentation of {name}. Each folder of --members needs every case.")
        values = read_case_labels(Case(name, folder / f"{name}.npz", path), dataset).values
        masks.append([np.isin(values, members_of) for members_of in _structures(dataset)])
    shapes = {mask[0].shape for mask in masks}
    if len(shapes) > 1:
        raise InputError(
            f"{name}: has other shapes in other folders of --members: {', '.join(map(str, sorted(shapes)))}."
        )
    pairs = [
        [_dice(one, other) for one, other in zip(masks[first], masks[second], strict=True)]
        for first in range(len(masks))
        for second in range(first)
    ]
    table = np.array(pairs)
    defined = ~np.isnan(table)
    return np.where(defined.any(0), np.where(defined, table, 0).sum(0) / np.maximum(defined.sum(0), 1), np.nan)


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else float("nan")


def _structures(dataset: Dataset) -> list[tuple[int, ...]]:
    """Return the label values of each structure."""
    return (
        list(dataset.regions) if dataset.regions is not None else [(value,) for value in range(1, dataset.num_channels)]
    )


def _evaluated(case: Case, dataset: Dataset) -> CaseResult:
    return evaluate_case(case, dataset, _SETTINGS)


def _counted(case: Case, dataset: Dataset) -> _Counted:
    label_map = read_case_labels(case, dataset)
    voxels = [np.count_nonzero(np.isin(label_map.values, values)) for values in _structures(dataset)]
    return _Counted(case, label_map.geometry.voxel_volume_mm3, np.array(voxels, np.float64))
