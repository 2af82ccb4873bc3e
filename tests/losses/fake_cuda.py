"""A CUDA device that is not there: PyTorch's fake tensors, and a list of what would wait for it.

A fake tensor has a shape, a dtype and a device and no values; each operation on it gives what it would give on that device, and one that mixes
devices fails as it would there. What would make the program wait for the device, or send it something from the host, is noted here with the line of ours
that asks for it, and goes on with values of no meaning.
"""

import traceback
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import nnunet_nacl

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
_OURS = str(Path(nnunet_nacl.__file__).parent)
# these take tensors of the host, and send them to the device
_SENDING = (aten.where.self, aten.index.Tensor, aten.index_put_.default, aten.index_put.default)


class Noting(TorchDispatchMode):
    """Notes in ``said`` what waits for the device or comes from the host, as "operation, file: function"."""

    def __init__(self):
        super().__init__()
        self.said = []

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        keywords = keywords or {}
        on_device = [item for item in arguments if isinstance(item, torch.Tensor) and item.device.type == "cuda"]
        if operator is aten._local_scalar_dense.default and on_device:
            self._say("value")
            return {torch.bool: False}.get(arguments[0].dtype, 1)
        if operator is aten.nonzero.default and on_device:
            return self._places(arguments[0])
        if operator is aten.index.Tensor and any(_is_mask(index) for index in arguments[1]):
            indices = [found for index in arguments[1] for found in self._indices(index)]
            return operator(arguments[0], indices)
        if operator is aten.bincount.default and on_device:
            self._say("bincount")
            kind = torch.int64 if len(arguments) < 2 or arguments[1] is None else torch.float64
            return arguments[0].new_empty(arguments[2], dtype=kind)
        if operator in _SENDING and on_device and any(item.device.type == "cpu" for item in _tensors(arguments)):
            self._say("to the device")
        result = operator(*arguments, **keywords)
        if operator in (aten._to_copy.default, aten.copy_.default):
            sent = [str(item.device.type) for item in (arguments[-1], result)]
            if sent[0] != sent[1]:
                self._say("from the device" if sent[0] == "cuda" else "to the device")
        return result

    def _indices(self, index):
        return self._places(index).unbind(1) if _is_mask(index) else [index]

    def _places(self, mask):
        """Return where a mask is True, as if it was in every other place."""
        if mask.device.type == "cuda":
            self._say("nonzero")
        return mask.new_empty((max(mask.numel() // 2, 1), mask.ndim), dtype=torch.int64)

    def _say(self, what):
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(_OURS)]
        where = f"{Path(frames[-1].filename).name}: {frames[-1].name}" if frames else "not of ours"
        self.said.append(f"{what}, {where}")


def _tensors(arguments):
    return [item for item in torch.utils._pytree.tree_leaves(arguments) if isinstance(item, torch.Tensor)]


def _is_mask(index):
    return index is not None and index.dtype in (torch.bool, torch.uint8)


@contextmanager
def fake_cuda():
    """Make tensors fake and autocast of a GPU possible; yields the list of what would wait."""
    available = mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    with available, FakeTensorMode(), Noting() as noting:
        yield noting.said


def backward(value, scale=65536.0):
    """Go backward from a scalar, as ``value.backward(scale)`` would, and return the gradients of the leaves by their ids.

    PyTorch's own engine asks the driver for the streams of a CUDA device, even of one that is not there, so the nodes are called from here, in its order and with its
    checks.
    """
    waiting, leaves = {value.grad_fn: {0: torch.full_like(value, scale)}}, {}
    for node in _in_order(value.grad_fn):
        incoming = [waiting.get(node, {}).get(number) for number in range(len(node._input_metadata))]
        if all(gradient is None for gradient in incoming):
            continue
        incoming = [_as_declared(*pair) for pair in zip(incoming, node._input_metadata, strict=True)]
        if hasattr(node, "variable"):
            leaves[id(node.variable)] = incoming[0]
            continue
        with torch.no_grad():
            outgoing = node.apply(*incoming) if hasattr(node, "apply") else node(*incoming)
        outgoing = outgoing if isinstance(outgoing, tuple) else (outgoing,)
        # a function of ours also returns None for what is no tensor, after those that are
        for gradient, (following, number) in zip(outgoing, node.next_functions, strict=False):
            if following is not None and gradient is not None:
                held = waiting.setdefault(following, {})
                held[number] = gradient if held.get(number) is None else held[number] + gradient
    return leaves


def _in_order(root):
    """Return the nodes such that each comes before what it hands its gradients to."""
    order, seen = [], set()

    def visit(node):
        if node is None or node in seen:
            return
        seen.add(node)
        for following, _ in node.next_functions:
            visit(following)
        order.append(node)

    visit(root)
    return order[::-1]


def _as_declared(gradient, declared):
    if gradient is None:
        return None
    assert gradient.device == declared.device, f"a gradient on {gradient.device}, expected on {declared.device}"
    return gradient.sum_to_size(tuple(declared.shape)).to(declared.dtype)
