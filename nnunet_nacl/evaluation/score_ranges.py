"""Between what a score lies whatever the cases, so that no interval of it reaches beyond."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array

# HD95 in mm and NLL in nats have no upper end; Brier and its parts are sums over classes of squares. The uncertainty of one event is at most
# ln 2 nats or 1/4, and what tells its voxels apart cannot exceed it
_UP_TO = {"NLL": math.inf, "HD95": math.inf, "Brier": 2.0, "Brier_reliability": 2.0, "Brier_resolution": 2.0,
          "CORP_NLL": math.inf, "CORP_NLL_miscalibration": math.inf,
          **{f"CORP_{score}_{part}": most for score, most in (("NLL", math.log(2)), ("Brier", 0.25)) for part in ("discrimination", "uncertainty")}}  # fmt: skip


def range_of(score: str) -> tuple[float, float]:
    """Return the lowest and highest value of a score by its name in calibration.json; every other lies between 0 and 1."""
    return (-1.0, 1.0) if score == "gap" else (0.0, _UP_TO.get(score, 1.0))


def ranges_of(scores: Iterable[str]) -> tuple[Float64Array, Float64Array]:
    """Return the lowest and the highest values of several scores, ``(M,)`` each."""
    ends = np.array([range_of(score) for score in scores], np.float64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]
