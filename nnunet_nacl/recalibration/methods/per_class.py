"""A factor for each class, or for each region.

``q_k`` is proportional to ``p_k ** b_k``: the diagonal case without bias of Dirichlet calibration (Kull et al. 2019, arXiv
1910.12656). It moves voxels from one class to another. A region has one factor of its own, which moves none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.temperature import fit_factors
from nnunet_nacl.recalibration.methods.base import Fit, Kind, Map, Voxels
from nnunet_nacl.recalibration.methods.factors import factors_from_json, factors_to_json
from nnunet_nacl.recalibration.methods.temperature import OneFactor, Temperature, fit_of


@dataclass(frozen=True)
class FactorOfClass:
    """Scores ``factors[k] * log p_k``."""

    factors: Float64Array
    keeps_argmax: bool = False

    def scores(self, logarithm: FloatArray, prediction: NDArray[Any]) -> Float64Array:
        """Return the log probabilities, each scaled by the factor of its class."""
        return np.multiply(logarithm, self.factors[:, None], dtype=np.float64)


@dataclass(frozen=True)
class PerClass:
    """The method ``per-class``."""

    name: str = "per-class"
    one_for_all_regions: bool = False

    def fit(self, voxels: Voxels, num_classes: int, kind: Kind, start: Map | None = None) -> Fit:
        """Return the factors of the highest likelihood; 1 where no voxel is wrong."""
        if kind == "sigmoid":
            return Temperature().fit(voxels, num_classes, kind, start)
        begin = start.factors if isinstance(start, FactorOfClass) else None
        found = fit_factors(voxels, num_classes, per_class=True, start=begin)
        return fit_of(found, FactorOfClass(np.ones(num_classes) if found.separable else found.factors))

    def to_json(self, maps: Sequence[Any], kind: Kind, num_channels: int) -> dict[str, Any]:
        """Return a factor for each channel."""
        return factors_to_json(maps[0].factors if kind == "softmax" else np.array([each.factor for each in maps]))

    def from_json(self, content: dict[str, Any], kind: Kind, num_channels: int) -> tuple[Map, ...]:
        """Return the map of all classes, or one for each region."""
        factors = factors_from_json(content, (num_channels,))
        return (FactorOfClass(factors),) if kind == "softmax" else tuple(OneFactor(float(factor)) for factor in factors)
