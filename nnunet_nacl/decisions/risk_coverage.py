"""Risk-coverage curves: does a confidence tell the bad cases from the good ones?

Cases are accepted from the most to the least confident. **Coverage** is the share of cases accepted, **selective risk** the mean risk
of those (Geifman and El-Yaniv 2017), **generalized risk** the sum of their risks over the number of all cases (Traub et al.,
NeurIPS 2024, arXiv 2407.01032): the risk that is met by someone who lets the rest be checked. Their areas are AURC and AUGRC, by the
trapezoidal rule over the number of accepted cases; at coverage 0 the selective risk is that of one case and the generalized risk 0. As in
fd-shifts' ``RiskCoverageStats``, in the unit of the risk (not times 1000), but for equal confidences.

Cases of equal confidence have no order, so the curve is the mean over all their orders: each counts with their mean risk. The
generalized risk is a straight line there. The selective risk, which is that over the coverage, is none: fd-shifts draws one, under
which AURC may come out below that of the best order, as its documentation says. The mean over orders never does, since no
order does, and nor do the draws of a bootstrap, most of which hold cases twice.

AUGRC is what its authors recommend: AURC weighs the few most confident cases far more than the others. Both depend on the mean
risk too, so the excess over the oracle, which accepts cases from the lowest to the highest risk, is given beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class RiskCoverage:
    """A curve, one entry per number of accepted cases, from coverage 0 to 1, each ``(N + 1,)`` float64.

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
    """Return the curve of a confidence, where confidences are equal the mean over all orders of their cases; one case is enough.

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
    _, run, size = np.unique(-sure, return_inverse=True, return_counts=True)
    summed = np.cumsum(np.repeat(np.bincount(run, risks) / size, size))
    accepted = np.arange(1, sure.size + 1)
    selective = summed / accepted
    return RiskCoverage(
        coverage=np.append(0.0, accepted / sure.size),
        selective_risk=np.append(selective[0], selective),
        generalized_risk=np.append(0.0, summed / sure.size),
    )


def oracle(risk: ArrayLike) -> RiskCoverage:
    """Return the curve of the best order, which accepts the lowest risks first.

    Args:
        risk: ``(N,)`` finite float.

    Raises:
        ValueError: as in :func:`risk_coverage`.
    """
    risks = np.sort(np.asarray(risk, np.float64))
    return risk_coverage(-np.arange(risks.size, dtype=np.float64), risks)


def excess_aurc(confidence: ArrayLike, risk: ArrayLike) -> float:
    """Return AURC minus that of the oracle, 0 or more up to rounding.

    Arguments and errors as in :func:`risk_coverage`. It is 0 for one case and where all risks are equal.
    """
    return risk_coverage(confidence, risk).aurc - oracle(risk).aurc


def excess_augrc(confidence: ArrayLike, risk: ArrayLike) -> float:
    """Return AUGRC minus that of the oracle, 0 or more up to rounding.

    Arguments and errors as in :func:`risk_coverage`. It is 0 for one case and where all risks are equal.
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
