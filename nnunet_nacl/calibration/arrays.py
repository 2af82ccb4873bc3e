"""Names for the arrays of this package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.floating[Any]]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
