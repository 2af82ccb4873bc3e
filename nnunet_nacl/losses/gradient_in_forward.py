"""Losses that compute their gradient together with their value.

A loss is a scalar, so its gradient with respect to the logits is one tensor of their shape times the number that arrives in
backward. Computing that tensor right away keeps nothing else for backward: none of the intermediate tensors that autograd
would hold on to, which are several times the size of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nnunet_nacl.losses.targets import is_compiling, sum_dtype

ValueAndGradient = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]
"""Takes the logits and whether the gradient is wanted; returns the scalar value and the gradient, or None."""


def with_gradient(logits: Tensor, value_and_gradient: ValueAndGradient) -> Tensor:
    """Return the scalar loss, differentiable once with respect to the logits.

    Backward raises RuntimeError under ``create_graph=True``: the gradient is a number there, and whoever differentiates it
    again would silently miss the curvature of the loss.
    """
    result: Tensor = _GradientInForward.apply(logits, value_and_gradient)
    return result


def precise_sum(values: Tensor) -> Tensor:
    """Return the sum as float64: rows in their own dtype, which is fast, then the rows exactly enough."""
    return values.sum(-1).sum(dtype=sum_dtype(values))


def refuse_second_derivatives() -> None:
    """Raise RuntimeError where a backward is itself to be differentiated."""
    # once_differentiable would say so only where the incoming gradient is itself to be differentiated, which the 1 that
    # backward() starts with never is. A compiler traces with gradients on, and refuses double backward by itself.
    if torch.is_grad_enabled() and not is_compiling():
        raise RuntimeError(
            "Expected backward without create_graph=True, but got it: this loss computes its gradient together with its "
            "value, so it can be differentiated once. For second derivatives (a gradient penalty, a Hessian) write the "
            "loss in operations that autograd follows, such as nnunet_nacl.losses.FocalLoss is made of."
        )


class _GradientInForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, value_and_gradient: ValueAndGradient) -> Tensor:
        value, gradient = value_and_gradient(logits, ctx.needs_input_grad[0])
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return value.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivatives()
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None
