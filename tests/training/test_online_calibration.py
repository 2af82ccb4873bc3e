"""The sums during training agree with the evaluator's statistics of the same voxels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_trainers import in_two_processes
from torch import distributed

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.kernels import class_cell
from nnunet_nacl.training.online_calibration import N_BINS, OnlineCalibration, bin_index

CPU = torch.device("cpu")


def batch(classes, ignore_label=None, dtype=torch.float32, seed=0, shape=(2, 6, 7, 8)):
    """Logits that are right more often than not, and labels as nnU-Net has them (float, with a channel axis)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (shape[0], 1, *shape[1:]), generator=generator)
    logits = 2 * torch.randn(shape[0], classes, *shape[1:], generator=generator, dtype=torch.float64)
    logits.scatter_add_(1, labels, torch.full(labels.shape, 1.5, dtype=torch.float64))
    if ignore_label is not None:
        labels[torch.rand(labels.shape, generator=generator) < 0.2] = ignore_label
    return logits.to(dtype), labels.float()


def online(logits, target, ignore_label=None, regions=False):
    sums = OnlineCalibration(CPU, ignore_label, regions)
    sums.add(logits, target)
    return sums


def evaluator(logits, target, ignore_label=None):
    """The evaluator's scores of the foreground, one array a case."""
    statistics = CalibrationStatistics.empty(logits.shape[1], N_BINS)
    for one, labels in zip(torch.softmax(logits, 1).numpy(), target[:, 0].numpy(), strict=True):
        statistics.update(one, labels, ignore_label)
    return statistics.scores("foreground")


def assert_same(sums, expected):
    scores = sums.scores()
    assert scores.n_voxels == expected.n_voxels
    assert scores.ece == pytest.approx(expected.ece, abs=1e-6)
    assert scores.gap == pytest.approx(expected.gap, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(
    classes=st.integers(2, 6), ignored=st.booleans(), seed=st.integers(0, 10_000),
    spatial=st.lists(st.integers(1, 7), min_size=2, max_size=3),
)  # fmt: skip
def test_agrees_with_the_evaluator(classes, ignored, seed, spatial):
    ignore_label = classes if ignored else None
    logits, target = batch(classes, ignore_label, torch.float64, seed, (2, *spatial))
    sums, expected = online(logits, target, ignore_label), evaluator(logits, target, ignore_label)
    if expected.n_voxels:
        assert_same(sums, expected)
    else:
        assert np.isnan([sums.scores().ece, sums.scores().gap]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_agrees_in_the_dtypes_of_a_training(dtype):
    logits, target = batch(4, 4, dtype, shape=(2, 16, 16, 16))
    assert_same(online(logits, target, 4), evaluator(logits.float(), target, 4))


def test_batches_add_up():
    sums = OnlineCalibration(CPU, None, regions=False)
    batches = [batch(3, seed=seed) for seed in range(3)]
    for logits, target in batches:
        sums.add(logits, target)
    assert_same(sums, evaluator(*(torch.cat(parts) for parts in zip(*batches, strict=True))))


def test_known_values():
    """Four foreground voxels at 0.9, three of them right, and one background voxel that does not count."""
    right, wrong = torch.tensor([0.1, 0.9]).log(), torch.tensor([0.9, 0.1]).log()
    logits = torch.stack([right, right, right, wrong, wrong], dim=1)[None, :, None]
    scores = online(logits, torch.tensor([1.0, 1, 1, 1, 0])[None, None, None]).scores()
    assert scores.n_voxels == 4
    assert scores.gap == pytest.approx(0.9 - 0.75)
    assert scores.ece == pytest.approx(0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
@pytest.mark.parametrize("ignored", [False, True])
def test_regions_agree_with_one_binary_problem_each(ignored, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 3, 5, 6, 7, generator=generator)
    target = torch.rand(2, 4 if ignored else 3, 5, 6, 7, generator=generator) < 0.3
    masks = target[:, :3]
    counted = masks.any(1) & ~target[:, 3] if ignored else masks.any(1)
    statistics = CalibrationStatistics.empty(2, N_BINS)
    for region in range(3):
        inside = torch.sigmoid(logits[:, region])[counted]
        statistics.update(torch.stack([1 - inside, inside]).numpy(), masks[:, region][counted].numpy())
    assert statistics.scores("all").n_voxels == 3 * counted.sum()
    assert_same(online(logits, target.to(dtype), regions=True), statistics.scores("all"))


@pytest.mark.parametrize("n_bins", [10, 15])
def test_bins_are_those_of_the_evaluator(n_bins):
    edges = np.arange(n_bins + 1, dtype=np.float32) / np.float32(n_bins)
    values = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(1))])
    ours = bin_index(torch.from_numpy(values).double(), n_bins)
    theirs = [max(int(class_cell(np.float64(value), n_bins)) - 1, 0) for value in values]
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_input_is_left_alone():
    logits, target = batch(3, 3)
    copies = logits.clone(), target.clone()
    online(logits.requires_grad_(), target, 3)
    assert torch.equal(logits, copies[0])
    assert torch.equal(target, copies[1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_diverged_network_gives_nan_and_no_error(value):
    logits, target = batch(3)
    scores = online(torch.full_like(logits, value), target).scores()
    assert scores.n_voxels == (target != 0).sum()
    assert np.isnan([scores.ece, scores.gap]).all()
    assert bin_index(torch.tensor([torch.nan], dtype=torch.float64), N_BINS).tolist() == [0]


def test_counts_beyond_float32():
    """A float32 counter stops at 2**24."""
    sums = OnlineCalibration(CPU, None, regions=False)
    sums.counts[:, -1] = 2**24
    sums.confidence[-1] = 2**24
    sums.add(torch.tensor([-50.0, 50.0]).view(1, 2, 1, 1), torch.ones(1, 1, 1, 1))
    assert sums.scores().n_voxels == 2**24 + 1
    assert sums.scores().ece == 0


def test_sums_are_on_the_cpu_where_the_device_has_no_float64():
    assert OnlineCalibration(torch.device("mps"), None, regions=False).confidence.device.type == "cpu"


def add_half(rank, port, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    logits, target = batch(3)
    sums = online(logits[rank : rank + 1], target[rank : rank + 1])
    sums.all_reduce()
    results[rank] = sums.scores()
    distributed.destroy_process_group()


def test_two_processes_equal_one():
    first, second = in_two_processes(add_half)
    assert first == second
    assert_same(online(*batch(3)), first)
