"""Two processes, each with half of a batch, train like one process with the whole: values and gradients."""

import pytest
import torch
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.helpers import softmax_helper_dim1
from real_trainers import in_two_processes
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nnunet_nacl.losses import NACLLoss, SVLSLoss
from nnunet_nacl.training.dice import LossPlusDice

LOSSES = {
    "NACL": NACLLoss,
    "SVLS": SVLSLoss,
    "DiceNACL": lambda: LossPlusDice(NACLLoss(), batch_dice(), ignore_label=None, regions=False),
}


def batch_dice():
    return MemoryEfficientSoftDiceLoss(
        apply_nonlin=softmax_helper_dim1, batch_dice=True, do_bg=False, smooth=1e-5, ddp=distributed.is_initialized()
    )


def network_and_batch():
    torch.manual_seed(0)
    network = nn.Conv3d(1, 3, 3, padding=1)
    return network, torch.randn(4, 1, 6, 6, 6), torch.randint(0, 3, (4, 1, 6, 6, 6))


def train_half(rank, port, name, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    network, data, target = network_and_batch()
    parallel = DistributedDataParallel(network)
    half = slice(2 * rank, 2 * rank + 2)
    loss = LOSSES[name]()(parallel(data[half]), target[half])
    loss.backward()
    results[rank] = (loss.item(), [parameter.grad.tolist() for parameter in network.parameters()])
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_equal_one(name):
    network, data, target = network_and_batch()
    loss = LOSSES[name]()(network(data), target)
    loss.backward()
    values, gradients = zip(*in_two_processes(train_half, name), strict=True)
    assert sum(values) / 2 == pytest.approx(loss.item(), rel=1e-5)
    for rank in range(2):
        for parameter, gradient in zip(network.parameters(), gradients[rank], strict=True):
            torch.testing.assert_close(torch.tensor(gradient), parameter.grad, rtol=1e-4, atol=1e-6)
