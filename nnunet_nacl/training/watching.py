"""Seeing what nnU-Net's validation keeps to itself: the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def watching(loss: nn.Module, look: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Show the logits and the target of the full resolution to a function whenever the loss is computed.

    nnU-Net's ``validation_step`` keeps its logits to itself, but its loss gets to see them and the target. So a hook on the
    loss reads them, and the network runs once. It also comes before nnU-Net overwrites the ignore label in the target.

    Args:
        loss: of a trainer, with or without deep supervision.
        look: takes logits and target as the loss of one resolution does.
    """

    def hook(_: nn.Module, inputs: tuple[Any, ...], value: Tensor) -> None:
        # under deep supervision both inputs are lists, the full resolution first
        logits, target = (item[0] if isinstance(item, list | tuple) else item for item in inputs)
        look(logits, target)

    handle = loss.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
