"""A predicted case, from the network's logits to the statistics of `evaluate`, without a file in between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.case_result import CaseResult, evaluate_probabilities
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.geometry import difference, geometry_of
from nnunet_nacl.evaluation.in_memory import ProbabilityArray
from nnunet_nacl.evaluation.label_files import LabelMap, read_case_labels
from nnunet_nacl.evaluation.memory import BYTES_PER_VOXEL
from nnunet_nacl.evaluation.remarks import GEOMETRY_DIFFERS
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.validation.case_inputs import Preprocessing
from nnunet_nacl.validation.kept_files import write_files

PROCESS_BYTES = 800 * 2**20
"""Of a worker before its first case: PyTorch, nnU-Net and the evaluator. Measured: 700 MiB."""


@dataclass(frozen=True)
class Work:
    """What a worker does with a case.

    Attributes:
        case: name and labels; its softmax file is where nnU-Net would have put one, and need not be there.
        logits: ``(K, *spatial)`` half precision, of the preprocessed image.
        properties: what nnU-Net's preprocessing says of the case.
        preprocessing: of the model.
        dataset, settings: of the evaluation.
        threads: of PyTorch.
        keep: whether the files of :mod:`~nnunet_nacl.validation.kept_files` are written.
    """

    case: Case
    logits: NDArray[np.float16] = field(repr=False)
    properties: Mapping[str, Any] = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)
    dataset: Dataset
    settings: Settings
    threads: int = 1
    keep: bool = False

    @property
    def bytes_needed(self) -> int:
        """The memory that it takes, without the process's own."""
        voxels = math.prod(self.properties["shape_before_cropping"])
        cropped = math.prod(self.properties["shape_after_cropping_and_before_resampling"])
        return bytes_for(len(self.logits), voxels, cropped, math.prod(self.logits.shape[1:]))


def bytes_for(num_channels: int, voxels: int, cropped: int, resampled: int) -> int:
    """Return the memory of nnU-Net's export of a case, or of the evaluation that follows, whichever is more.

    Args:
        num_channels: K.
        voxels: of the image, and of its part that nnU-Net crops to.
        cropped: voxels of the part that nnU-Net crops to.
        resampled: voxels of the logits.
    """
    logits = 2 * num_channels * resampled
    # float64 logits of which half precision ones are made, where the spacing is another
    resampling = logits + (8 * num_channels * resampled + 2 * num_channels * cropped if resampled != cropped else 0)
    # float32 logits and probabilities, and those of the whole image beside them
    export = logits + 4 * num_channels * (cropped + max(cropped, voxels))
    evaluation = logits + (4 * num_channels + BYTES_PER_VOXEL) * voxels
    return max(resampling, export, evaluation)


def evaluate_work(work: Work) -> CaseResult:
    """Return the result of a case, as :func:`~nnunet_nacl.evaluation.case_result.evaluate_case` gives it for nnU-Net's files.

    Raises:
        InputError: the label file cannot be read or is of another shape, or nnU-Net cannot resample the logits.
    """
    label_map = read_case_labels(work.case, work.dataset)
    segmentation, probabilities = export_of(work, work.logits)
    result = evaluated(work, probabilities, label_map)
    if work.keep:
        write_files(work.case.probabilities, probabilities, segmentation, work.properties, work.dataset)
    return result


def evaluated(work: Work, probabilities: NDArray[np.float32], label_map: LabelMap) -> CaseResult:
    """Return the result of a case's probabilities ``(K, z, y, x)``.

    Raises:
        InputError: label file and image are of another shape, or values are no probabilities.
    """
    check_shape(probabilities, label_map, work.case)
    result = evaluate_probabilities(work.case, ProbabilityArray(probabilities), label_map, work.dataset, work.settings)
    return replace(result, remarks=dict(result.remarks) | remarks_on_place(label_map, work.properties))


def export_of(work: Work, logits: NDArray[np.float16]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return the segmentation ``(z, y, x)`` and the probabilities ``(K, z, y, x)`` float32 that nnU-Net would save.

    The logits are resampled, and what comes of them is put back into the whole image and transposed back.

    Raises:
        InputError: nnU-Net fails.
    """
    plans, configuration = work.preprocessing.plans, work.preprocessing.configuration
    try:
        found = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, plans, configuration, plans.get_label_manager(work.preprocessing.dataset_json), dict(work.properties),
            return_probabilities=True, num_threads_torch=work.threads,
        )  # fmt: skip
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise InputError(
            f"{work.case.name}: nnU-Net cannot make probabilities of its logits ({first_line(error)})."
        ) from error
    segmentation, probabilities = found
    return segmentation, probabilities


def check_shape(probabilities: NDArray[Any], label_map: LabelMap, case: Case) -> None:
    """Raise InputError unless image and label file are of one shape."""
    if probabilities.shape[1:] != label_map.values.shape:
        raise InputError(
            f"{case.labels}: expected shape {probabilities.shape[1:]}, that of the image of {case.name}, but got "
            f"{label_map.values.shape}."
        )


def remarks_on_place(label_map: LabelMap, properties: Mapping[str, Any]) -> dict[str, str]:
    """Return what is to be said of where label file and image lie, as of a prediction that nnU-Net has saved."""
    apart = difference(label_map.geometry, geometry_of(properties), label_map.values.shape)
    return {GEOMETRY_DIFFERS: apart} if apart and label_map.is_known else {}
