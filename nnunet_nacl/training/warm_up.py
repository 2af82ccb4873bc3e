"""A loss that another one precedes."""

from __future__ import annotations

from torch import Tensor, nn


class WarmUp(nn.Module):
    """One loss until :attr:`is_over` is set, another one from then on.

    Args:
        first: the loss of the warm-up.
        then: the loss afterwards; takes the same logits and target.
    """

    def __init__(self, first: nn.Module, then: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.then = then
        self.is_over = False

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of one resolution."""
        loss: Tensor = (self.then if self.is_over else self.first)(logits, target)
        return loss
