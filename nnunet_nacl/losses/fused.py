"""Which way a loss is computed: as Triton kernels on a CUDA device, or as PyTorch's operations everywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nnunet_nacl.losses.targets import is_compiling
from nnunet_nacl.losses.terms import Terms

DEVICES = ("cuda",)
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_LARGEST_WINDOW = 7**3
# the kernels count an image's voxels, a block beyond the last one included, in 32 bits
_MOST_VOXELS = 2**31 - 2**12
_MOST_IMAGES = 2**16 - 1
_TOLERANCE = 1e-3
"""Of value and gradient, as norms. Both ways compute in float32; a gradient in bfloat16 is rounded to 0.4 %, see below."""


class FusedLoss(nn.Module):
    """A loss that Triton kernels compute where they can, and that computes itself elsewhere.

    Before the kernels compute anything on a device, for dtypes of logits and labels, they are held against the loss itself on a small random batch. Where they
    fail or differ, the loss computes itself from then on.

    Args:
        plain: the loss; takes logits and target.
        reference: the loss in PyTorch's operations, uncompiled: what the kernels are held against.
        terms: what the loss consists of.
        report: is given a line for the log whenever another way is taken.
    """

    def __init__(self, plain: nn.Module, reference: nn.Module, terms: Terms, report: Callable[[str], object]) -> None:
        super().__init__()
        self.plain = plain
        # in a tuple, which is no place for sub-modules: these are the same ones again
        self._reference = (reference,)
        self._terms = terms
        self._report = report
        self._checked: dict[tuple[torch.device, torch.dtype, torch.dtype], bool] = {}
        self._said: set[str] = set()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss, as ``plain`` does."""
        if is_compiling() or not self._is_fused(logits, target):
            value: Tensor = self.plain(logits, target)
            return value
        from nnunet_nacl.losses.triton_loss import triton_loss

        return triton_loss(self._terms, logits, target)

    def _is_fused(self, logits: Tensor, target: Tensor) -> bool:
        reason = why_not(self._terms, logits, target)
        if reason:
            self._say(f"The loss runs as PyTorch's operations: {reason}.")
            return False
        key = (logits.device, logits.dtype, target.dtype)
        if key not in self._checked:
            difference = _check(self._terms, self._reference[0], logits, target.dtype)
            self._checked[key] = difference is None
            name = f"{logits.device}, {str(logits.dtype).removeprefix('torch.')}"
            if difference is None:
                self._say(f"The loss runs as Triton kernels on {name}; they agreed with PyTorch's operations.")
            else:
                self._say(f"The loss runs as PyTorch's operations on {name}: the Triton kernels {difference}.")
        return self._checked[key]

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._report(line)


def why_not(terms: Terms, logits: Tensor, target: Tensor) -> str | None:
    """Return why the kernels cannot compute a loss, or None where they can."""
    batch, channels, *spatial = logits.shape
    if logits.device.type not in DEVICES:
        return f"the logits are on {logits.device.type}"
    if logits.dtype not in _DTYPES:
        return f"the logits are {str(logits.dtype).removeprefix('torch.')}"
    if not logits.is_contiguous():
        return "the logits are not contiguous"
    # what is wrong with a target, the loss itself says best
    if tuple(target.shape) not in ((batch, 1, *spatial), (batch, *spatial)) or not 1 <= len(spatial) <= 3:
        return "the target is not one label map"
    if target.device != logits.device or target.dtype == torch.bool or target.is_complex():
        return "the target is on another device or not of numbers"
    if math.prod(terms.sides(len(spatial))) > _LARGEST_WINDOW:
        return f"a window of more than {_LARGEST_WINDOW} voxels is faster that way"
    if not 0 < math.prod(spatial) < _MOST_VOXELS or not 0 < batch <= _MOST_IMAGES or channels < 1:
        return "the batch is empty or too large"
    return None


def _check(terms: Terms, reference: nn.Module, like: Tensor, labels: torch.dtype) -> str | None:
    """Return what is wrong with the kernels on a device and in a dtype, or None; this waits for the device."""
    try:
        from nnunet_nacl.losses.triton_loss import triton_loss

        logits, target = _small_batch(terms, like, labels)
        with torch.autocast(like.device.type, enabled=False):
            found = _value_and_gradient(lambda leaf: triton_loss(terms, leaf, target), logits)
            expected = _value_and_gradient(lambda leaf: reference(leaf, target), logits)
    except ImportError as error:
        return f"cannot be imported ({_one_line(error)})"
    except Exception as error:  # of a compiler, a driver or a card: whatever it is, the loss itself still works
        return f"failed ({type(error).__name__}: {_one_line(error)})"
    tolerance = max(_TOLERANCE, torch.finfo(like.dtype).eps)
    for name, one, other in zip(("value", "gradient"), found, expected, strict=True):
        distance = float((one - other).norm() / other.norm())
        if not distance <= tolerance:
            return f"gave another {name} (relative difference {distance:.1e})"
    return None


def _small_batch(terms: Terms, like: Tensor, labels: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return random logits and labels of two small images: half of each of one class, half without any order, some ignored.

    The number of their voxels is a multiple of 16, as of most patches, so that Triton makes the same machine code for them.
    """
    generator = torch.Generator().manual_seed(0)
    classes, spatial = like.shape[1], (16, 6, 7)[: like.ndim - 2]
    logits = torch.randn(2, classes, *spatial, generator=generator) * 2
    target = torch.randint(0, classes, (2, 1, *spatial), generator=generator)
    target[:, :, spatial[0] // 2 :] = classes - 1
    if terms.ignore_label is not None:
        target[torch.rand(target.shape, generator=generator) < 0.2] = terms.ignore_label
    typed = target.to(labels)
    # an ignore label that the dtype does not hold would become a label that is no class, which stops a card
    target = typed if torch.equal(typed.long(), target) else target
    return logits.to(like.device, like.dtype), target.to(like.device)


def _value_and_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    with torch.enable_grad():
        value = loss(leaf)
        # as GradScaler does it; a half could not hold some of these gradients otherwise
        (gradient,) = torch.autograd.grad(value * 1024, leaf)
    return value.detach().double(), gradient.double()


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no message"
