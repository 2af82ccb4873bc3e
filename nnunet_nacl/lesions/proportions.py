"""Shares of findings or lesions, with intervals over patients.

Findings of one patient depend on each other, so a binomial interval over findings is too narrow. Here the Wilson interval (Wilson 1927) takes
the effective number of findings: that of independent ones whose share would vary as much as the share does over patients, with Student's t
in the place of the normal quantile for few patients (Korn and Graubard 1998, Survey Methodology 24, 193-201; with Wilson's interval: Dean and
Pavlou 2015; Franco et al. 2019, J. Survey Statistics and Methodology 7, 334-364). The variance over patients is that of the delete-one jackknife.
The linearised one is the same where patients have equally many findings, and far too small where one patient has most of them, since the share
is then nearly that patient's own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from nnunet_nacl.calibration.intervals import DEFAULT_LEVEL

METHOD = "Wilson over patients (effective number, Korn and Graubard 1998)"
"""In words for files and pages."""


class Share(NamedTuple):
    """A share with its interval; NaN where there is none.

    Attributes:
        value: in all patients together.
        low, high: of the interval; NaN with fewer than two patients.
        n: how many it is of.
        n_patients: in how many patients these are.
    """

    value: float
    low: float
    high: float
    n: int
    n_patients: int


def share_over_patients(counted: ArrayLike, of: ArrayLike, level: float = DEFAULT_LEVEL) -> Share:
    """Return the share of what is counted, with its interval.

    Where all patients agree on 0 or 1 their variance says nothing, and each patient counts as one, as if its findings always agreed.

    Args:
        counted: ``(G,)``, in each patient.
        of: ``(G,)``, of how many.
        level: of the interval.

    >>> share = share_over_patients([1, 0, 2, 1], [1, 1, 2, 2])
    >>> share.n, share.n_patients, round(share.value, 3), round(share.low, 3), round(share.high, 3)
    (6, 4, 0.667, 0.224, 0.933)
    """
    hits, sizes = np.asarray(counted, np.float64), np.asarray(of, np.float64)
    present = sizes > 0
    hits, sizes, n_patients = hits[present], sizes[present], int(present.sum())
    total = float(sizes.sum())
    if not total:
        return Share(math.nan, math.nan, math.nan, 0, 0)
    value = float(hits.sum()) / total
    if n_patients < 2:
        return Share(value, math.nan, math.nan, int(total), n_patients)
    without = (total * value - hits) / (total - sizes)
    variance = (n_patients - 1) / n_patients * ((without - without.mean()) ** 2).sum()
    low, high = interval_of_share(value, float(variance), int(total), n_patients, level)
    return Share(value, low, high, int(total), n_patients)


def interval_of_share(
    share: float, variance: float, n: int, n_patients: int, level: float = DEFAULT_LEVEL
) -> tuple[float, float]:
    """Return the Wilson interval with the effective number, NaN with fewer than two patients or without a variance.

    Args:
        share: or another figure from 0 to 1 that varies at most as a share does.
        variance: of the share, over patients.
        n: how many it is of: the effective number is not larger.
        n_patients: in how many patients these are.
        level: of the interval.
    """
    if n_patients < 2 or not math.isfinite(variance):
        return math.nan, math.nan
    return wilson(share, _effective_number(share, variance, n, n_patients, level), level)


def wilson(share: float, n: float, level: float = DEFAULT_LEVEL) -> tuple[float, float]:
    """Return the Wilson interval of a share of n independent ones; n need not be whole.

    >>> [round(end, 4) for end in wilson(0.5, 10)]
    [0.2366, 0.7634]
    """
    z = float(stdtrit(np.inf, (1 + level) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # exactly, where rounding would leave 6e-17
    return 0.0 if share == 0 else max(middle - half, 0.0), 1.0 if share == 1 else min(middle + half, 1.0)


def _effective_number(share: float, variance: float, n: int, n_patients: int, level: float) -> float:
    if not 0 < share < 1:
        return float(n_patients)
    half = (1 + level) / 2
    # with one finding a patient this is the number of patients
    few = (float(stdtrit(max(n - 1, 1), half)) / float(stdtrit(n_patients - 1, half))) ** 2
    return float(min(share * (1 - share) / variance * few, n)) if variance > 0 else float(n * few)
