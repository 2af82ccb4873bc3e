"""What is timed on a GPU: the losses as they train, their peers, and a whole training step. For benchmark_losses.py and gpu_check.py."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from benchmark_losses import BASELINE, MONAI, dice_and_ce, monai_nacl
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import Tensor, nn

from nnunet_nacl.losses import L1ACELoss, NACLLoss, SVLSLoss
from nnunet_nacl.training.dice import LossPlusDice
from nnunet_nacl.training.triton_switch import VARIABLE, as_it_runs

GRAD_SCALE = 65536.0  # GradScaler's first one
LossOf = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Timing:
    """Of forward and backward, medians; memory in multiples of the logits' bytes, NaN where it is not measured."""

    milliseconds: float
    extra_memory: float


def stock(compiled: bool) -> nn.Module:
    """nnU-Net's loss, whose Dice it compiles on a GPU."""
    loss = dice_and_ce()
    if compiled:
        loss.dc = torch.compile(loss.dc)
    return loss


def ours(device: torch.device, compiled: bool, lines: list[str]) -> dict[str, nn.Module]:
    """NACL, SVLS and mL1-ACE, alone and with nnU-Net's Dice, as PyTorch's operations and as Triton kernels."""
    found: dict[str, nn.Module] = {}
    dice = stock(compiled).dc  # one for all, so that it is compiled once
    for name, make in {"NACL": NACLLoss, "SVLS": SVLSLoss, "mL1-ACE": L1ACELoss}.items():
        for label, plain in (
            (name, make()),
            (f"Dice+{name}", LossPlusDice(make(), dice, None, False)),
        ):
            found[f"{label}, PyTorch"] = plain
            found[f"{label}, Triton"] = as_it_runs(plain, True, device, lines.append)
    return found


def plain_nacl(logits: Tensor, target: Tensor) -> Tensor:
    """NACL with a dense box of side 3, as one writes it for torch.compile."""
    values = logits.float()
    padded = F.pad(target.float(), (1,) * 6, mode="replicate").to(torch.uint8)
    classes = torch.arange(values.shape[1], device=values.device, dtype=torch.uint8).view(1, -1, 1, 1, 1)
    box = (padded == classes).float()
    for axis in (2, 3, 4):
        length = box.shape[axis] - 2
        box = box.narrow(axis, 0, length) + box.narrow(axis, 1, length) + box.narrow(axis, 2, length)
    return F.cross_entropy(values, target[:, 0].long()) + 0.1 * (box / 27 - values).abs().mean()


def candidates(classes: int, device: torch.device, lines: list[str]) -> Iterator[tuple[str, LossOf]]:
    """Yield what is timed, the baseline first."""
    compiled = device.type == "cuda"
    yield BASELINE, stock(compiled)
    yield from ours(device, compiled, lines).items()
    if compiled:
        yield "plain NACL, torch.compile", torch.compile(plain_nacl, dynamic=False)
    monai = monai_nacl(classes)
    yield MONAI, lambda logits, target: monai(logits.float(), target)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], object], device: torch.device, rounds: int, warm_up: int) -> float:
    """Return the median time, by events of the device where it has them."""
    for _ in range(warm_up):
        work()
    taken = []
    for _ in range(rounds):
        if device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            work()
            last.record()
            last.synchronize()
            taken.append(first.elapsed_time(last))
        else:
            start = time.perf_counter()
            work()
            taken.append((time.perf_counter() - start) * 1e3)
    return statistics.median(taken)


def measured(loss: LossOf, logits: Tensor, target: Tensor, rounds: int) -> Timing:
    """Time forward and backward under autocast, scaled as GradScaler does it, and take the extra peak memory."""
    device = logits.device

    def work() -> Tensor:
        leaf = logits.detach().requires_grad_()
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            value = loss(leaf, target)
        (value * GRAD_SCALE).backward()
        return leaf

    work()
    extra = float("nan")
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        synchronize(device)
        extra = (torch.cuda.max_memory_allocated() - before) / (logits.numel() * logits.element_size())
    return Timing(milliseconds(work, device, rounds, 2 if device.type == "cuda" else 0), extra)


def bandwidth(device: torch.device, elements: int = 2**29) -> float:
    """Return how many bytes a second a copy reads and writes."""
    source = torch.zeros(elements if device.type == "cuda" else 2**22, dtype=torch.float16, device=device)
    copy = torch.empty_like(source)
    taken = milliseconds(lambda: copy.copy_(source), device, 20, 4)
    return 2 * source.numel() * source.element_size() / taken * 1e3


def batch(classes: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits in half precision on a GPU, and labels of random blocks of 8 voxels; batch 2."""
    generator = torch.Generator(device).manual_seed(0)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    logits = torch.randn(2, classes, side, side, side, generator=generator, device=device).mul_(3).to(dtype)
    return logits, blocks(classes, side, device)


def blocks(classes: int, side: int, device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(1)
    coarse = torch.randint(0, classes, (2, 1, *[side // 8] * 3), generator=generator, device=device).float()
    return F.interpolate(coarse, scale_factor=8).to(torch.int16)


def training_step(classes: int, side: int, device: torch.device) -> Callable[[nn.Module], Callable[[], None]]:
    """Return what makes a whole training step of a loss: nnU-Net's usual network with deep supervision, AMP, SGD; batch 2.

    On a CPU a small network takes its place, so that the script can be tried.
    """
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    features = [32, 64, 128, 256, 320, 320] if device.type == "cuda" else [8, 16]
    stages = len(features)
    network = PlainConvUNet(
        1, stages, features, nn.Conv3d, [3] * stages, [1] + [2] * (stages - 1), 2, classes, 2, conv_bias=True,
        norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True}, deep_supervision=True,
    ).to(device)  # fmt: skip
    torch.backends.cudnn.benchmark = True
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.99, nesterov=True)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    data = torch.randn(2, 1, side, side, side, device=device)
    labels = blocks(classes, side, device)
    targets = [labels[:, :, :: 2**i, :: 2**i, :: 2**i].contiguous() for i in range(max(stages - 1, 1))]
    weights = [1 / 2**i for i in range(len(targets))]
    if len(weights) > 1:
        weights[-1] = 0.0  # as nnU-Net has it
    weights = [weight / sum(weights) for weight in weights]

    def step_of(loss: nn.Module) -> Callable[[], None]:
        wrapped = DeepSupervisionWrapper(loss, weights)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, enabled=device.type == "cuda"):
                value = wrapped(network(data), targets)
            scaler.scale(value).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), 12)
            scaler.step(optimizer)
            scaler.update()

        return step

    return step_of


def loss_table(classes: int, side: int, device: torch.device, rounds: int, seconds: float) -> dict:
    """Time all candidates at one number of classes, until the time is up.

    Returns:
        ``rows``: name, milliseconds, ratio to the baseline, to the floor, extra memory; ``floor``: milliseconds of three passes over the
        logits at the bandwidth of a copy; ``failed``: name and reason; ``lines``: what the losses said.
    """
    ends, lines = time.monotonic() + seconds, []
    logits, target = batch(classes, side, device)
    floor = 3 * logits.numel() * logits.element_size() / bandwidth(device) * 1e3
    rows, failed = [], []
    for name, loss in candidates(classes, device, lines):
        if time.monotonic() > ends:
            failed.append((name, "the time was up"))
            continue
        try:
            timing = measured(loss, logits, target, rounds)
        except Exception as error:  # one that does not fit into memory keeps the others from nothing
            failed.append((name, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"))
            if device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        ratio = timing.milliseconds / rows[0]["milliseconds"] if rows else 1.0
        rows.append(
            {"classes": classes, "loss": name, "milliseconds": timing.milliseconds, "ratio": ratio,
             "floor": timing.milliseconds / floor, "memory": timing.extra_memory}
        )  # fmt: skip
    return {"rows": rows, "floor": floor, "failed": failed, "lines": lines}


def markdown(tables: list[dict]) -> list[str]:
    """Return the rows of all tables as one in Markdown, and what did not run."""
    lines = [
        "| K | loss | ms | time / Dice+CE | time / floor | extra peak memory / logits |",
        "|---|---|---|---|---|---|",
    ]
    for table in tables:
        for row in table["rows"]:
            lines.append(
                f"| {row['classes']} | {row['loss']} | {row['milliseconds']:.3f} | {row['ratio']:.2f} | {row['floor']:.1f} "
                f"| {row['memory']:.1f} |"
            )
    for table in tables:
        lines += ["", *[f"- {name}: {reason}" for name, reason in table["failed"]]]
    said = sorted({line for table in tables for line in table["lines"]})
    return [*lines, "", *[f"- {line}" for line in said], "", f"The switch that trainers have for it is {VARIABLE}."]
