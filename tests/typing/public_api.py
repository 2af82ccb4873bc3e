"""The public names, used as a user's own code uses them. Only type-checked, never run: `mypy` reads it (pyproject.toml).

A line with `# type: ignore[...]` is a mistake that a type checker must see: where it sees none, `mypy` reports the comment.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import assert_type

from nnunet_nacl import __version__
from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics, Scores, total
from nnunet_nacl.decisions import (
    RiskCoverage,
    VolumeInterval,
    Volumes,
    controlled,
    excess_augrc,
    excess_aurc,
    fit_interval,
    leave_one_out,
    miss_rates,
    oracle,
    risk_coverage,
    soft_dice_confidence,
)
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation import (
    Settings,
    evaluate_folder,
    load_dataset,
    read_case_labels,
    summarize,
    write_result,
    write_summary,
)
from nnunet_nacl.lesions import CaseLesions, Findings, Lesions, Rules, find_lesions
from nnunet_nacl.lesions import summarize as summarize_lesions
from nnunet_nacl.losses import (
    CRaCLoss,
    ECPLoss,
    FocalLoss,
    L1ACELoss,
    LabelSmoothingLoss,
    MbLSLoss,
    NACLLoss,
    SVLSLoss,
    VoxelLoss,
    soft_class_proportions,
    voxel_cross_entropy,
)

assert_type(__version__, str)

# losses: any of them in a training loop
logits, target = torch.zeros(2, 3, 8, 8, requires_grad=True), torch.zeros(2, 1, 8, 8)
losses: list[torch.nn.Module] = [
    NACLLoss(weight=0.2, kernel_size=(1, 3, 3)),
    SVLSLoss(sigma=1.5),
    MbLSLoss(),
    LabelSmoothingLoss(0.1),
    FocalLoss(gamma=2),
    ECPLoss(),
    L1ACELoss(bins=10, binning="soft"),
    CRaCLoss(5.0),
]
for loss in losses:
    loss(logits, target).backward()
assert issubclass(FocalLoss, VoxelLoss)
assert_type(voxel_cross_entropy(logits, target[:, 0].long()), torch.Tensor)
assert_type(soft_class_proportions(target, 3, kernel="svls"), torch.Tensor)
NACLLoss(weight="0.2")  # type: ignore[arg-type]
L1ACELoss(binning="both")  # type: ignore[arg-type]

# calibration: arrays in, numbers out
statistics = CalibrationStatistics.empty(num_classes=2)
statistics.update(np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([0, 1]))
of_sets = {name: statistics.scores(name) for name in VOXEL_SETS}
assert_type(of_sets, dict[str, Scores])
assert_type(of_sets["all"].ece, float)
assert_type(total([statistics, statistics]), CalibrationStatistics)
statistics.update(np.array([[0.9], [0.1]]))  # type: ignore[call-arg]

# decisions: one number a case
true: NDArray[np.float64] = np.linspace(1, 2, 40)
volumes = Volumes(true, np.full(40, 0.001))
assert_type(fit_interval(true, volumes), VolumeInterval)
fit_interval(true, true)  # type: ignore[arg-type]
leave_one_out(true, volumes)
curve = risk_coverage(confidence=true, risk=1 - true / 3)
assert_type(curve, RiskCoverage)
assert_type(curve.augrc, float)
assert_type(excess_augrc(true, 1 - true / 3), float)
assert_type(excess_aurc(true, 1 - true / 3), float)
oracle(1 - true / 3)
soft_dice_confidence(1.0, 2.0, 3)
assert_type(controlled(miss_rates([[0, 0, 5, 5]] * 9), 0.1), int | None)

# lesions: a case's arrays, or tensors
found = find_lesions(
    np.zeros((2, 8, 8, 8)), np.zeros((8, 8, 8), int), spacing=(3, 1, 1), rules=Rules(overlap="iou", iou=0.5)
)
assert_type(found, CaseLesions)
assert_type(found.findings, Findings)
assert_type(found.lesions, Lesions)
summarize_lesions([found])["1"]["average_precision"]
summarize_lesions(found)  # type: ignore[arg-type]

# evaluation: nnU-Net's folders
try:
    settings = Settings(n_bins=10, hd95=True)
    result = evaluate_folder("labelsTr", "fold_0/validation", "dataset.json", "plans.json", settings=settings)
except InputError as error:
    print(error)
else:
    statistics = result.cases[0].statistics
    dataset = load_dataset(Path("dataset.json"), Path("plans.json"))
    read_case_labels(result.cases[0].case, dataset)
    write_result(result, Path("out"))
    write_summary(summarize(result), Path("out"))
evaluate_folder("labelsTr")  # type: ignore[call-arg]
