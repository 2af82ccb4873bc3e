"""Calibration figures from probabilities and labels: arrays in, numbers out; no files, no nnU-Net.

>>> import numpy as np
>>> from nnunet_nacl.calibration import CalibrationStatistics
>>> statistics = CalibrationStatistics.empty(num_classes=2)
>>> statistics.update(np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([0, 1]))
>>> round(statistics.scores("all").ece, 6)
0.15
"""

from nnunet_nacl.calibration.scores import Scores
from nnunet_nacl.calibration.statistics import CalibrationStatistics, total
from nnunet_nacl.calibration.voxel_sets import VOXEL_SETS

__all__ = ["VOXEL_SETS", "CalibrationStatistics", "Scores", "total"]


def __dir__() -> list[str]:
    return sorted(__all__)
