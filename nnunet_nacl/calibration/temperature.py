"""Fits of one factor for all classes, or one for each, to log probabilities: the arithmetic on arrays, no files.

Tempered probabilities are ``q_k = p_k**b_k / sum_j p_j**b_j`` with one factor ``b = 1 / T`` for all classes (temperature
scaling: Guo et al. 2017, arXiv 1706.04599) or one for each. The logarithm of a softmax is its logits up to a constant per
voxel, and with one factor that constant cancels, so the logits themselves are not needed. With a factor per class it does not
cancel: this is not Guo's vector scaling of the logits but its counterpart on the log probabilities, the diagonal case without bias
of Dirichlet calibration (Kull et al. 2019, arXiv 1910.12656). In both cases the mean negative log likelihood is convex in
the factors (a log-sum-exp of linear functions minus a linear function).

A region (a sigmoid channel) is a problem of two classes, ``1 - p`` and ``p``: ``p**b / (p**b + (1 - p)**b)`` is the sigmoid of
``b`` times its logit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray

LOWEST_FACTOR, HIGHEST_FACTOR = 0.01, 100.0
"""Bounds of a fitted factor, temperatures of 100 and 0.01; a fit that ends there found no optimum, and is marked."""

GRADIENT_TOLERANCE = 1e-7  # of the mean negative log likelihood, in nats per unit of a factor


class NoVoxelsError(ValueError):
    """There is nothing to fit on."""


Blocks = Iterable[tuple[FloatArray, NDArray[Any]]]
"""Pairs of log probabilities ``(K, n)`` and labels ``(n,)``."""


def negative_log_likelihood(
    logarithm: FloatArray, labels: NDArray[Any], factors: Float64Array
) -> tuple[float, Float64Array]:
    """Return the negative log likelihood of tempered probabilities, summed over voxels, and its gradient.

    With ``l = log p``: ``sum_v log sum_k exp(b_k l_vk) - b_y l_vy``; the derivative by ``b_k`` is
    ``sum_v l_vk (q_vk - [y_v = k])``.

    Args:
        logarithm: ``(K, n)`` log probabilities.
        labels: ``(n,)`` whole numbers 0 to K - 1.
        factors: ``(K,)`` float64.

    Returns:
        Nats, and ``(K,)`` float64. The derivative by one factor for all classes is the sum over the latter.
    """
    values = logarithm.astype(np.float64)
    labels = labels.astype(np.intp)
    of_label = np.take_along_axis(values, labels[None], 0)[0]
    scaled = values * factors[:, None]
    highest = scaled.max(0)
    scaled -= highest
    np.exp(scaled, out=scaled)
    total = scaled.sum(0)
    nats = float((np.log(total) + highest - factors[labels] * of_label).sum())
    scaled /= total
    gradient = np.einsum("kn,kn->k", values, scaled)
    gradient -= np.bincount(labels, weights=of_label, minlength=len(values))
    return nats, gradient


def n_wrong(logarithm: FloatArray, labels: NDArray[Any], factors: Float64Array) -> int:
    """Return in how many voxels another class has a higher probability than the label once tempered; a tie is none."""
    scaled = logarithm * factors[:, None]
    of_label = np.take_along_axis(scaled, labels[None].astype(np.intp), 0)[0]
    return int(np.count_nonzero(scaled.max(0) > of_label))


@dataclass(frozen=True)
class Fit:
    """Fitted factors and how they came about.

    Attributes:
        factors: ``(K,)``, all the same where one was asked for.
        n_voxels: voxels that the fit saw.
        nll_before, nll_after: mean negative log likelihood with factors of 1 and with the fitted ones, in nats.
        evaluations: how often the voxels were gone through.
        converged: whether the optimiser says so.
        message: the optimiser's last word.
        at_bound: classes whose factor ended at a bound, so that it has no optimum in between.
        separable: whether no voxel is wrong, by which the likelihood grows without end: the largest factor is at the upper
            bound, and all of them are in ``at_bound``.
        flat: whether that is so because all classes are equally probable in every voxel: no factor changes anything.
        held: classes without a labelled voxel; a factor of their own could only be driven to a bound, so they have the
            one that suits all classes together.
    """

    factors: Float64Array
    n_voxels: int
    nll_before: float
    nll_after: float
    evaluations: int
    converged: bool
    message: str
    at_bound: tuple[int, ...]
    separable: bool
    flat: bool
    held: tuple[int, ...]


def fit_factors(
    blocks: Callable[[], Blocks], num_classes: int, per_class: bool = False, start: Float64Array | None = None
) -> Fit:
    """Return the factors that minimise the negative log likelihood (L-BFGS-B within the bounds).

    Args:
        blocks: gives the voxels anew at each call; they are gone through once per evaluation.
        num_classes: K.
        per_class: one factor per class.
        start: ``(K,)`` factors to start from, which changes the time taken but not the optimum; default: 1, and for factors per
            class the one that suits all.

    Raises:
        NoVoxelsError: no voxel at all.
    """
    objective = _Objective(blocks, num_classes)
    objective.of_all_factors(np.ones(num_classes))
    absent = (objective.labelled == 0) & per_class
    begin = np.ones(num_classes) if start is None else start
    bounds = [(LOWEST_FACTOR, HIGHEST_FACTOR)] * num_classes
    if not per_class or start is None or absent.any():
        result = _minimize(objective.of_one_factor, begin[:1], bounds[:1])
        common = np.full(num_classes, float(result.x[0]))
        begin = common if start is None else np.where(absent, common, begin)
        factors = common
    if per_class:
        bounds = [
            (factor, factor) if fixed else bound for factor, fixed, bound in zip(begin, absent, bounds, strict=True)
        ]
        result = _minimize(objective.of_all_factors, begin, bounds)
        factors = np.asarray(result.x, np.float64)
    nll_after, _ = objective.of_all_factors(factors)
    # the optimiser stops where a likelihood without maximum has become flat, which is anywhere
    separable = objective.wrong == 0
    if separable:
        factors = factors * (HIGHEST_FACTOR / factors.max())
        nll_after, _ = objective.of_all_factors(factors)
    bounded = np.isclose(factors, LOWEST_FACTOR) | np.isclose(factors, HIGHEST_FACTOR) | separable
    return Fit(
        factors=factors,
        n_voxels=int(objective.labelled.sum()),
        nll_before=objective.first,
        nll_after=nll_after,
        evaluations=objective.evaluations,
        converged=bool(result.success),
        message=str(result.message),
        at_bound=tuple(int(label) for label in np.flatnonzero(bounded)),
        separable=separable,
        flat=objective.flat,
        held=tuple(int(label) for label in np.flatnonzero(absent)),
    )


class _Objective:
    """The mean negative log likelihood over the blocks, and what was seen in going through them."""

    def __init__(self, blocks: Callable[[], Blocks], num_classes: int) -> None:
        self.blocks = blocks
        self.num_classes = num_classes
        self.evaluations = 0
        self.first = np.nan
        self.wrong = 0
        self.flat = True
        self.labelled = np.zeros(num_classes, np.int64)

    def of_one_factor(self, factor: Float64Array) -> tuple[float, Float64Array]:
        nats, gradient = self.of_all_factors(np.full(self.num_classes, float(factor[0])))
        return nats, np.array([gradient.sum()])

    def of_all_factors(self, factors: Float64Array) -> tuple[float, Float64Array]:
        nats, gradient, wrong = 0.0, np.zeros(self.num_classes), 0
        labelled = np.zeros(self.num_classes, np.int64)
        for logarithm, labels in self.blocks():
            part, slope = negative_log_likelihood(logarithm, labels, factors)
            nats += part
            gradient += slope
            wrong += n_wrong(logarithm, labels, factors)
            self.flat = self.flat and bool(np.all(logarithm == logarithm[:1]))
            labelled += np.bincount(labels, minlength=self.num_classes)
        n_voxels = int(labelled.sum())
        if n_voxels == 0:
            raise NoVoxelsError("Expected at least one voxel to fit on, but got none.")
        if self.evaluations == 0:
            self.first = nats / n_voxels
        self.evaluations += 1
        self.labelled = labelled
        self.wrong = wrong
        return nats / n_voxels, gradient / n_voxels


def _minimize(function: Any, start: Float64Array, bounds: list[tuple[float, float]]) -> Any:
    options = {"gtol": GRADIENT_TOLERANCE, "ftol": 1e-13, "maxiter": 500}
    return minimize(function, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
