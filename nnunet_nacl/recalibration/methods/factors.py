"""Factors in temperature.json: written twice, as factors and as the temperatures that they are one over."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR, LOWEST_FACTOR


def factors_to_json(factors: Float64Array) -> dict[str, Any]:
    """Return factors of any shape and their temperatures as lists."""
    return {"factors": factors.tolist(), "temperatures": (1 / factors).tolist()}


def factors_from_json(content: dict[str, Any], shape: tuple[int, ...]) -> Float64Array:
    """Return the factors, of which a changed digit is noticed.

    Raises:
        KeyError, TypeError, ValueError, ArithmeticError: of another shape, outside of what is fitted, or not one over the temperatures.
    """
    factors, temperatures = (np.asarray(content[key], np.float64) for key in ("factors", "temperatures"))
    within = (factors >= LOWEST_FACTOR * (1 - 1e-9)) & (factors <= HIGHEST_FACTOR * (1 + 1e-9))
    if factors.shape != shape or not np.all(within):
        raise ValueError(
            f"expected {' x '.join(map(str, shape))} factors that are finite and from {LOWEST_FACTOR} to {HIGHEST_FACTOR}, got "
            f"{content['factors']!r:.200}"
        )
    if temperatures.shape != factors.shape or not np.allclose(factors * temperatures, 1, rtol=1e-12):
        raise ValueError("expected the factors to be one over the temperatures")
    return factors
