"""What all losses have in common: two kinds of targets, how they print, and checks of hyper-parameters."""

from __future__ import annotations

import inspect
import math
from typing import Any, get_args

from torch import nn


class Loss(nn.Module):
    """A loss on logits and a label map, or region masks.

    Args:
        ignore_label: label of voxels that do not enter the loss; unused with regions.
        regions: one sigmoid per region instead of a softmax over classes.
    """

    def __init__(self, ignore_label: int | None, regions: bool) -> None:
        super().__init__()
        self.ignore_label = ignore_label
        self.regions = regions

    def extra_repr(self) -> str:
        """Return the hyper-parameters as the constructor takes them."""
        names = inspect.signature(type(self).__init__).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names if hasattr(self, name))


def check_not_negative(**arguments: float) -> None:
    """Raise ValueError where an argument is not a finite number >= 0."""
    for name, value in arguments.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"Expected argument `{name}` to be a finite number >= 0, but got {value!r}.")


def check_whole(**arguments: int) -> None:
    """Raise ValueError where an argument is not a whole number >= 1."""
    for name, value in arguments.items():
        if not (isinstance(value, int) and value >= 1):
            raise ValueError(f"Expected argument `{name}` to be a whole number >= 1, but got {value!r}.")


def check_one_of(literal: Any, **arguments: str) -> None:
    """Raise ValueError where an argument is none of the values of a Literal."""
    for name, value in arguments.items():
        if value not in get_args(literal):
            raise ValueError(f"Expected argument `{name}` to be one of {get_args(literal)}, but got {value!r}.")
