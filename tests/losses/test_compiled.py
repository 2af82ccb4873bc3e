"""Every loss under torch.compile, in one graph: what a training loop that compiles its whole step needs."""

from functools import partial

import pytest
import torch
from every_loss import IGNORE, LOSSES, random_batch, value_and_gradient

from nnunet_nacl.losses import NACLLoss, SVLSLoss

pytestmark = pytest.mark.skipif(
    not hasattr(torch.compiler, "is_compiling"), reason="a loss cannot ask PyTorch before 2.3 whether it is compiled"
)
KERNELS = {"NACL, svls kernel": partial(NACLLoss, kernel="svls"), "SVLS, raters": partial(SVLSLoss, raters=2)}


IN_REGIONS = ("NACL", "SVLS", "Focal", "L1ACE, hard", "CRaC")


@pytest.mark.parametrize("name", LOSSES | KERNELS)
def test_one_graph_gives_the_same(name):
    logits, target = (item[:, :, 0] for item in random_batch(regions=False))  # a graph grows with the axes
    target[:, :, 2] = IGNORE
    if "raters" in name:
        target = torch.cat([target, target.flip(0)], 1)
    assert_same((LOSSES | KERNELS)[name](ignore_label=IGNORE), logits, target)


@pytest.mark.parametrize("name", IN_REGIONS)
def test_one_graph_gives_the_same_in_regions(name):
    logits, target = (item[:, :, 0] for item in random_batch(regions=True))
    target[:, -1, 2] = 1
    assert_same(LOSSES[name](regions=True), logits, target)


def assert_same(loss, logits, target):
    torch._dynamo.reset()
    expected = value_and_gradient(loss, logits, target)
    # without generating code, which takes a minute and is not ours
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(value_and_gradient(compiled, logits, target), expected)
