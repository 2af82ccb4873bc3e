"""Second derivatives, as a gradient penalty takes them: right, or an error. Never silently without the loss's curvature."""

import pytest
import torch
from every_loss import IGNORE, LOSSES, labels_and_regions, random_batch

# the others compute their gradient in forward
BY_AUTOGRAD = ("MbLS", "LS", "Focal", "ECP")
once = pytest.mark.parametrize("name", [name for name in LOSSES if name not in BY_AUTOGRAD])


def loss_and_logits(name, regions):
    logits, target = random_batch(regions, ignored=[2], dtype=torch.float64)
    loss = LOSSES[name](ignore_label=IGNORE, regions=regions)
    return (lambda values: loss(values, target)), logits.requires_grad_()


@labels_and_regions
@pytest.mark.parametrize("name", BY_AUTOGRAD)
def test_are_those_of_finite_differences(name, regions):
    loss, logits = loss_and_logits(name, regions)
    direction = torch.randn_like(logits)
    (slope,) = torch.autograd.grad(loss(logits), logits, create_graph=True)
    (found,) = torch.autograd.grad((slope * direction).sum(), logits)
    step = 1e-5
    ahead, behind = (
        torch.autograd.functional.vjp(loss, logits.detach() + sign * step * direction)[1] for sign in (1, -1)
    )
    expected = (ahead - behind) / (2 * step)
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)


@once
@labels_and_regions
def test_are_refused(name, regions):
    loss, logits = loss_and_logits(name, regions)
    with pytest.raises(RuntimeError, match="create_graph=True.*differentiated once"):
        torch.autograd.grad(loss(logits), logits, create_graph=True)


@once
def test_are_refused_below_a_network(name):
    network = torch.nn.Conv3d(3, 3, 1).double()
    loss, logits = loss_and_logits(name, regions=False)
    with pytest.raises(RuntimeError, match="differentiated once"):
        loss(network(logits)).backward(create_graph=True)


@once
def test_a_graph_that_is_kept_is_not_refused(name):
    loss, logits = loss_and_logits(name, regions=False)
    value = loss(logits)
    first, second = (torch.autograd.grad(value, logits, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)
