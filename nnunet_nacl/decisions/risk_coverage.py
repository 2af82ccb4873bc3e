"""Risk-coverage curves: does a confidence tell the bad cases from the good ones?

Cases are accepted from the most to the least confident. **Coverage** is the share of cases accepted, **selective risk** the mean risk
of those (Geifman and El-Yaniv 2017), **generalized risk** the sum of their risks over the number of all cases (Traub et al.,
NeurIPS 2024, arXiv 2407.01032): the risk that is met by someone who lets the rest be checked. Equal confidences are accepted
together, and the curve is a straight line from one such step to the next. Its areas are AURC and AUGRC; at coverage 0 the selective risk
is that of the first step and the generalized risk 0. All as in fd-shifts' ``RiskCoverageStats``, in the unit of the risk (not
times 1000).

AUGRC is what its authors recommend: AURC weighs the few most confident cases far more than the others. Both depend on the mean
risk too, so the excess over the oracle, which accepts cases from the lowest to the highest risk, is given beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class RiskCoverage:
    """A curve, one entry per threshold, from coverage 0 to 1, each ``(T + 1,)`` float64; T is the number of different confidences.

    Attributes:
        coverage: share of cases accepted.
        selective_risk: mean risk of the accepted cases.
        generalized_risk: sum of the risks of the accepted cases over the number of all cases.
    """

    coverage: NDArray[np.float64]
    selective_risk: NDArray[np.float64]
    generalized_risk: NDArray[np.float64]

    @property
    def aurc(self) -> float:
        """Area under the selective risk, in its unit; of one case, or of equal confidences, the mean risk."""
        return _area(self.selective_risk, self.coverage)

    @property
    def augrc(self) -> float:
        """Area under the generalized risk; half the mean risk if the confidence knows nothing."""
        return _area(self.generalized_risk, self.coverage)


def risk_coverage(confidence: ArrayLike, risk: ArrayLike) -> RiskCoverage:
    """Return the curve of a confidence. Cases of equal confidence are accepted together; one case is enough.

    Args:
        confidence: ``(N,)`` finite float, higher is more confident; only its order counts.
        risk: ``(N,)`` finite float, for instance 1 - Dice.

    Raises:
        ValueError: other shapes, no case, or values that are not finite.

    >>> curve = risk_coverage([0.9, 0.8, 0.7], [0.0, 0.1, 0.5])
    >>> curve.selective_risk.round(2).tolist(), round(curve.augrc, 4)
    ([0.0, 0.0, 0.05, 0.2], 0.0444)
    """
    sure, risks = _checked(confidence, risk)
    order = np.argsort(-sure, kind="stable")
    last = np.append(sure[order][1:] != sure[order][:-1], True)  # the last case of each run of equal confidences
    accepted = np.flatnonzero(last) + 1
    summed = np.cumsum(risks[order])[last]
    selective = summed / accepted
    return RiskCoverage(
        coverage=np.append(0.0, accepted / sure.size),
        selective_risk=np.append(selective[0], selective),
        generalized_risk=np.append(0.0, summed / sure.size),
    )


def oracle(risk: ArrayLike) -> RiskCoverage:
    """Return the curve of the best order, which accepts the lowest risks first, one at a time even where they are equal.

    Args:
        risk: ``(N,)`` finite float.

    Raises:
        ValueError: as in :func:`risk_coverage`.
    """
    risks = np.sort(np.asarray(risk, np.float64))
    return risk_coverage(-np.arange(risks.size, dtype=np.float64), risks)


def excess_aurc(confidence: ArrayLike, risk: ArrayLike) -> float:
    """Return AURC minus that of the oracle; arguments and errors as in :func:`risk_coverage`.

    It is 0 for one case and where all risks are equal. Equal confidences may bring it below 0, since the curve is straight between
    its steps.
    """
    return risk_coverage(confidence, risk).aurc - oracle(risk).aurc


def excess_augrc(confidence: ArrayLike, risk: ArrayLike) -> float:
    """Return AUGRC minus that of the oracle, 0 or more up to rounding; arguments and errors as in :func:`risk_coverage`.

    It is 0 for one case and where all risks are equal.
    """
    return risk_coverage(confidence, risk).augrc - oracle(risk).augrc


def _checked(confidence: ArrayLike, risk: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sure, risks = np.asarray(confidence, np.float64), np.asarray(risk, np.float64)
    if sure.ndim != 1 or sure.shape != risks.shape or not sure.size:
        raise ValueError(
            f"Expected `confidence` and `risk` of one shape (N,), N > 0, but got {sure.shape}, {risks.shape}."
        )
    if not (np.isfinite(sure).all() and np.isfinite(risks).all()):
        raise ValueError("Expected `confidence` and `risk` to be finite.")
    return sure, risks


def _area(heights: NDArray[np.float64], places: NDArray[np.float64]) -> float:
    return float(np.sum((heights[1:] + heights[:-1]) / 2 * np.diff(places)))
