"""A temperature inside a network: nnU-Net's segmentation layers divided by it.

Logits are linear in the weights and bias of the last layer, and so is all that nnU-Net does to them before the softmax: averages over tiles,
mirrors and folds, resampling. So the network whose segmentation layers are divided by T gives ``softmax(logits / T)``, on machines that
know nothing of it. Only one factor for each output channel can be had like that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_nacl.errors import InputError

SEGMENTATION_LAYER = re.compile(r"(.+\.)?seg_layers\.\d+\.(weight|bias)")

OUTPUT_TOLERANCE = 1e-5
"""Of a network's float32 outputs, relative to the largest of them: some hundred roundings."""

PROBABILITY_TOLERANCE = 1e-5
"""Of a case's probabilities, predicted with the logits of tiles added up in float32. nnU-Net adds them up in half precision, before and after
alike, which moves single voxels by more: by 0.05 in one of a real case, by 0.4 with an untrained network and a temperature of 0.4."""


@dataclass(frozen=True)
class Agreement:
    """How well a copy predicts the tempered original, over all folds.

    Attributes:
        output_difference: largest difference of the network outputs on a random patch, relative to the largest output.
        probability_difference: largest difference of the probabilities on the given case; NaN without one.
        n_moved: voxels of these whose predicted class differs through rounding (regions: channels above 0.5).
        n_voxels: voxels that were compared.
    """

    output_difference: float
    probability_difference: float
    n_moved: int
    n_voxels: int


def divided(weights: Mapping[str, Any], temperatures: NDArray[np.float64], network: str, path: Path) -> dict[str, Any]:
    """Return a network's weights, those of all segmentation layers divided channel by channel.

    Args:
        weights: ``network_weights`` of a checkpoint.
        temperatures: ``(channels,)``.
        network: its name in an error.
        path: of the checkpoint, likewise.

    Raises:
        InputError: the network has no such layers, or another number of channels.
    """
    layers = {name: tensor for name, tensor in weights.items() if SEGMENTATION_LAYER.fullmatch(name)}
    if not layers:
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in weights))
        raise InputError(
            f"{path}: {network} has no segmentation layers that a temperature could be put into (seg_layers; it has {parts}). "
            "Recalibrate its predictions with `nnunet-nacl recalibrate apply`."
        )
    for name, tensor in layers.items():
        if tensor.shape[0] != len(temperatures):
            raise InputError(
                f"{path}: {name} has {tensor.shape[0]} channels, but there are {len(temperatures)} temperatures."
            )
    return dict(weights) | {name: _divide(tensor, temperatures) for name, tensor in layers.items()}


def _divide(tensor: torch.Tensor, temperatures: NDArray[np.float64]) -> torch.Tensor:
    by_channel = torch.from_numpy(temperatures).reshape(-1, *[1] * (tensor.ndim - 1))
    return (tensor.double() / by_channel).to(tensor.dtype)


def agreement(
    original: Mapping[str, NDArray[Any]],
    copy: Mapping[str, NDArray[Any]],
    temperatures: Mapping[str, NDArray[np.float64]],
    regions: bool,
) -> Agreement:
    """Temper the original's predictions in float64 and return how far the copy's are from them.

    Args:
        original, copy: results of :mod:`~nnunet_nacl.training.predict_alone`.
        temperatures: ``(channels,)`` by fold.
        regions: whether the channels are regions.
    """
    outputs, probabilities, n_moved, n_voxels = [], [], 0, 0
    for fold, values in temperatures.items():
        given, found = (result[f"outputs_{fold}"][0].astype(np.float64) for result in (original, copy))
        expected = given / values.reshape(-1, *[1] * (given.ndim - 1))
        outputs.append(float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30)))
        pairs = [(given, found, 0.0)]
        if f"probabilities_{fold}" in original:
            given, found = (result[f"probabilities_{fold}"].astype(np.float64) for result in (original, copy))
            probabilities.append(_largest_difference(given, found, values, regions))
            pairs.append((given, found, 0.5))
        for before, after, threshold in pairs:
            n_moved += _n_moved(before, after, threshold if regions else None)
            n_voxels += before[0].size
    return Agreement(max(outputs), max(probabilities, default=float("nan")), n_moved, n_voxels)


def _largest_difference(
    given: NDArray[np.float64], found: NDArray[np.float64], temperatures: NDArray[np.float64], regions: bool
) -> float:
    """Return the largest difference of tempered and found probabilities; a stored 0 or sigmoid of 1 has no logit to temper."""
    by_channel = temperatures.reshape(-1, *[1] * (given.ndim - 1))
    tempered = np.maximum(given, np.finfo(np.float32).tiny) ** (1 / by_channel)
    if regions:
        tempered /= tempered + (1 - given) ** (1 / by_channel)
        known = (given > 0) & (given < 1)
    else:
        tempered /= tempered.sum(0)
        known = np.broadcast_to((given > 0).all(0), given.shape)
    return float(np.abs(tempered - found)[known].max(initial=0))


def _n_moved(before: NDArray[np.float64], after: NDArray[np.float64], threshold: float | None) -> int:
    if threshold is None:
        return int(np.count_nonzero(before.argmax(0) != after.argmax(0)))
    return int(np.count_nonzero((before > threshold) != (after > threshold)))
