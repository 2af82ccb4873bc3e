"""Temperature scaling: one factor for all classes (Guo et al. 2017, arXiv 1706.04599), for all regions too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration import temperature
from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.temperature import fit_factors
from nnunet_nacl.recalibration.methods.base import Fit, Kind, Map, Remark, Voxels
from nnunet_nacl.recalibration.methods.factors import factors_from_json, factors_to_json

OPTIMISER = "scipy.optimize.minimize, L-BFGS-B"


@dataclass(frozen=True)
class OneFactor:
    """Scores ``factor * log p_k``; the factor is 1 / T."""

    factor: float
    keeps_argmax: bool = True

    def scores(self, logarithm: FloatArray, prediction: NDArray[Any]) -> Float64Array:
        """Return the scaled log probabilities."""
        return np.multiply(logarithm, self.factor, dtype=np.float64)


@dataclass(frozen=True)
class Temperature:
    """The method ``temperature``."""

    name: str = "temperature"
    one_for_all_regions: bool = True

    def fit(self, voxels: Voxels, num_classes: int, kind: Kind, start: Map | None = None) -> Fit:
        """Return the factor of the highest likelihood; 1 where no voxel is wrong."""
        begin = np.full(num_classes, start.factor) if isinstance(start, OneFactor) else None
        found = fit_factors(voxels, num_classes, start=begin)
        return fit_of(found, OneFactor(1.0 if found.separable else float(found.factors[0])))

    def to_json(self, maps: Sequence[OneFactor], kind: Kind, num_channels: int) -> dict[str, Any]:
        """Return the factor once for each channel."""
        values = [each.factor for each in maps]
        return factors_to_json(np.array(values * (num_channels if kind == "softmax" else 1)))

    def from_json(self, content: dict[str, Any], kind: Kind, num_channels: int) -> tuple[Map, ...]:
        """Return the maps; raise ValueError unless one factor serves all channels."""
        factors = factors_from_json(content, (num_channels,))
        if np.any(factors != factors[0]):
            raise ValueError(f"expected one factor for all channels, got {content['factors']!r:.200}")
        return (OneFactor(float(factors[0])),) * (1 if kind == "softmax" else num_channels)


def fit_of(found: temperature.Fit, fitted: Map) -> Fit:
    """Return a fit of factors in the words that all methods have in common.

    Where no voxel is wrong, the likelihood grows with the factor without end. Such a factor would make the first error on new cases
    a certain one, so nothing is changed there, and the map is to be that of factors of 1.
    """
    remarks = []
    if found.separable:
        remarks.append(Remark("flat" if found.flat else "separable"))
    elif found.at_bound:
        remarks.append(Remark("at_bound", tuple((number,) for number in found.at_bound)))
    if found.held:
        remarks.append(Remark("not_labelled", tuple((number,) for number in found.held)))
    return Fit(
        map=fitted,
        n_voxels=found.n_voxels,
        nll_before=found.nll_before,
        nll_after=found.nll_before if found.separable else found.nll_after,
        evaluations=found.evaluations,
        converged=found.converged,
        optimiser=OPTIMISER,
        message=found.message,
        remarks=tuple(remarks),
    )
