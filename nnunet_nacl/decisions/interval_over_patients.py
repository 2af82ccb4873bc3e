"""The interval of a mean over patients, where there are enough to say one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL, mean_interval, where_units_differ

FEWEST = 5
"""With fewer patients there is no interval."""


def interval_over_patients(
    values: ArrayLike, level: float = DEFAULT_LEVEL, within: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float] | None:
    """Return the interval of :func:`~nnunet_nacl.calibration.intervals.mean_interval`; None with fewer than :data:`FEWEST` patients, or equal ones.

    Args:
        values: ``(G,)``, a mean of each patient.
        level, within: as there.
    """
    means = np.asarray(values, np.float64)
    if means.size < FEWEST:
        return None
    low, high = where_units_differ(*map(float, mean_interval(means, level, within=within)))
    return None if np.isnan(low) else (low, high)
