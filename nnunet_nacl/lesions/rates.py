"""False findings per patient, with the interval over patients.

Counts of findings are few, so the interval of a mean would have no width where no patient has any. Here it is the gamma interval of
Fay and Feuer (1997, Statistics in Medicine 16, 791-801), which is the exact one of Garwood (1936) for a Poisson count, with the variance over
patients, but not less than that of a Poisson count, and Student's t in the place of the normal quantile, as in
:mod:`nnunet_nacl.lesions.proportions`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaincinv, stdtrit

from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL
from nnunet_nacl.lesions.value import Value

METHOD = "gamma over patients (Fay and Feuer 1997)"
"""In words for files and pages."""


def rate_over_patients(counts: ArrayLike, level: float = DEFAULT_LEVEL) -> Value:
    """Return the mean count per patient, with its interval; NaN ends with fewer than two patients.

    Args:
        counts: ``(G,)``, of each patient, G at least 1.
        level: of the interval.

    Without any in 10 patients the upper end is that of a Poisson count of 0 (3.69) over 10:

    >>> rate = rate_over_patients([0] * 10)
    >>> rate.value, rate.low, round(rate.high, 3)
    (0.0, 0.0, 0.369)
    """
    each = np.asarray(counts, np.float64)
    n = len(each)
    rate = float(each.mean())
    if n < 2:
        return Value(rate, math.nan, math.nan)
    half = (1 + level) / 2
    few = (float(stdtrit(n - 1, half)) / float(stdtrit(np.inf, half))) ** 2
    variance = max(float(each.var(ddof=1)) / n * few, rate / n)
    low = _gamma_quantile(1 - half, rate, variance)
    return Value(rate, low, _gamma_quantile(half, rate + 1 / n, variance + 1 / n**2))


def _gamma_quantile(share: float, mean: float, variance: float) -> float:
    """Return the quantile of the gamma distribution of this mean and variance."""
    return variance / mean * float(gammaincinv(mean**2 / variance, share)) if mean > 0 else 0.0
