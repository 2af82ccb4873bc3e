"""The segmentation that lies beside a softmax file, held against what the probabilities say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.dataset import Dataset


def difference_to_saved(segmentation: NDArray[Any], path: Path | None, dataset: Dataset) -> str:
    """Return in words how the saved segmentation differs, or an empty text; ignored voxels are looked at too.

    Args:
        segmentation: ``(z, y, x)``, the label map that nnU-Net writes for the probabilities.
        path: the saved segmentation, or None where there is none.
        dataset: how it is read.
    """
    if path is None:
        return ""
    try:
        saved, _ = dataset.read_labels(path)
    except InputError as error:
        return f"it cannot be read: {error}"
    if saved.shape != segmentation.shape:
        return f"it has shape {saved.shape}, the probabilities {segmentation.shape}"
    n_differing = int(np.count_nonzero(saved != segmentation))
    return f"{n_differing:,} voxels" if n_differing else ""
