"""Time and memory of the losses beside nnU-Net's Dice + cross-entropy and MONAI's NACLLoss, and of a whole training step.

    python scripts/benchmark_losses.py [--classes 3 14 60 118] [--output docs/results/losses]
    python scripts/benchmark_losses.py --device cuda [--output docs/results/losses-gpu]

On a CPU: forward and backward on the same tensors (batch 2, patch 96^3 unless --side says otherwise), the losses in turn, several
rounds; medians of the ratios within a round are reported, so that a drifting machine does not matter. Extra peak memory is
the growth of the process's largest resident size during forward and backward, in multiples of the logits' size, each loss in
a process of its own. Writes OUTPUT.md and OUTPUT.png.

On a GPU: the same in half precision under autocast, patch 128^3, with NACL, SVLS and mL1-ACE as PyTorch's operations and as Triton kernels; medians of times between
events of the device, extra peak memory of its allocator, and the floor of three passes over the logits at the bandwidth of a copy. Writes OUTPUT.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from monai.losses import NACLLoss as MonaiNACLLoss
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import Tensor, nn

from nnunet_nacl.losses import NACLLoss, SVLSLoss

BASELINE = "Dice+CE (nnU-Net)"
MONAI = "NACLLoss (MONAI)"


def dice_and_ce() -> nn.Module:
    dice = {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)


def monai_nacl(classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    loss = MonaiNACLLoss(classes=classes, dim=3)
    return lambda logits, target: loss(logits, target[:, 0].long())


def losses(classes: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    return {
        BASELINE: dice_and_ce(),
        "NACL": NACLLoss(),
        "NACL gaussian": NACLLoss(kernel="gaussian"),
        "SVLS": SVLSLoss(),
        MONAI: monai_nacl(classes),
    }


def make_batch(classes: int, side: int) -> tuple[Tensor, Tensor]:
    """Random logits and a label map of random blocks, as int16, the way nnU-Net hands it over."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, classes, side, side, side, generator=generator) * 3
    blocks = torch.randint(0, classes, (2, 1, *[side // 8] * 3), generator=generator).float()
    return logits, torch.nn.functional.interpolate(blocks, scale_factor=8).to(torch.int16)


def seconds(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> float:
    leaf = logits.detach().requires_grad_()
    start = time.perf_counter()
    loss(leaf, target).backward()
    return time.perf_counter() - start


def time_ratios(classes: int, side: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return seconds and ratio to the baseline, medians over the rounds."""
    logits, target = make_batch(classes, side)
    candidates = losses(classes)
    for loss in candidates.values():
        seconds(loss, logits[:1], target[:1])
    taken = [{name: seconds(loss, logits, target) for name, loss in candidates.items()} for _ in range(rounds)]
    return {
        name: (
            statistics.median(one[name] for one in taken),
            statistics.median(one[name] / one[BASELINE] for one in taken),
        )
        for name in candidates
    }


def extra_memory(name: str, classes: int, side: int) -> float:
    """Return the extra peak memory of one loss in multiples of the logits, measured in a fresh process."""
    # glibc gives memory back to the system at once only above this size; without it, what was freed would count too
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (name, classes, side))


def _peak(name: str, classes: int, side: int) -> float:
    loss = losses(classes)[name]
    seconds(loss, *make_batch(classes, 16))
    logits, target = make_batch(classes, side)
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest resident size so far
    before = _status("VmRSS")
    seconds(loss, logits, target)
    return (_status("VmHWM") - before) / (logits.numel() * logits.element_size())


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def step_ratio(loss: nn.Module, rounds: int) -> float:
    """Return the time of a whole training step relative to one with Dice + CE: same network, same batch, in turn.

    The network is nnU-Net's PlainConvUNet of the CPU plans (features 8 to 64) with deep supervision, batch 2 of 40^3.
    """
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

    network = PlainConvUNet(
        1, 4, [8, 16, 32, 64], nn.Conv3d, [3] * 4, [1, 2, 2, 2], 2, 3, 2, conv_bias=True, norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU, deep_supervision=True,
    )  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.99, nesterov=True)
    data = torch.randn(2, 1, 40, 40, 40)
    labels = make_batch(3, 40)[1]
    targets = [labels[:, :, ::step, ::step, ::step] for step in (1, 2, 4)]

    def step(wrapped: nn.Module) -> float:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        wrapped(network(data), targets).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimizer.step()
        return time.perf_counter() - start

    ours, stock = (DeepSupervisionWrapper(item, (2 / 3, 1 / 3, 0.0)) for item in (loss, dice_and_ce()))
    for wrapped in (ours, stock):
        step(wrapped)
    return statistics.median(step(ours) / step(stock) for _ in range(10 * rounds))


def table(results: dict[int, dict[str, tuple[float, float, float]]]) -> list[str]:
    lines = ["| K | loss | seconds | time / Dice+CE | extra peak memory / logits |", "|---|---|---|---|---|"]
    for classes, per_loss in results.items():
        for name, (taken, ratio, memory) in per_loss.items():
            lines.append(f"| {classes} | {name} | {taken:.3f} | {ratio:.2f} | {memory:.1f} |")
    return lines


def plot(results: dict[int, dict[str, tuple[float, float, float]]], path: Path) -> None:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2), (1, 2), ("time / Dice+CE", "extra peak memory / logits"), strict=True
    ):
        for name in next(iter(results.values())):
            axes.plot(list(results), [per_loss[name][column] for per_loss in results.values()], marker="o", label=name)
        axes.set(xlabel="classes K", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def on_gpu(parsed: argparse.Namespace) -> None:
    """Time the losses on a GPU and write the table."""
    from gpu_losses import loss_table, markdown

    device, side = torch.device(parsed.device), parsed.side or 128
    tables = []
    for classes in parsed.classes:
        tables.append(loss_table(classes, side, device, 4 * parsed.rounds, seconds=300))
        print("\n".join(markdown(tables[-1:])), flush=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    floors = ", ".join(
        f"{table['floor']:.3f} ms (K = {classes})" for classes, table in zip(parsed.classes, tables, strict=True)
    )
    closing = f"Batch 2, patch {side}^3, torch {torch.__version__}, {name}. Floor: {floors}."
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    parsed.output.with_suffix(".md").write_text("\n".join([*markdown(tables), "", closing]) + "\n")
    print(f"\n{closing}\nwrote {parsed.output.with_suffix('.md')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 14, 60, 118])
    parser.add_argument("--side", type=int, help="voxels per side of the patch, a multiple of 8 (96; on a GPU 128)")
    parser.add_argument("--device", default="cpu", help="cpu or a GPU, such as cuda or cuda:1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("losses"), help="without ending")
    parsed = parser.parse_args()
    if parsed.device != "cpu":
        if not torch.cuda.is_available():
            parser.error(f"expected a CUDA device for --device {parsed.device}, but PyTorch finds none")
        on_gpu(parsed)
        return
    parsed.side = parsed.side or 96
    torch.set_num_threads(parsed.threads)
    results = {}
    for classes in parsed.classes:
        # patches of many classes are smaller: 118 classes of 96^3 would need 20 GB in MONAI's form
        side = parsed.side if classes <= 16 else parsed.side * 2 // 3 // 8 * 8
        timed = time_ratios(classes, side, parsed.rounds)
        results[classes] = {name: (*figures, extra_memory(name, classes, side)) for name, figures in timed.items()}
        print("\n".join(table({classes: results[classes]})), flush=True)
    steps = [
        f"{name} {step_ratio(loss, parsed.rounds):.3f}" for name, loss in (("NACL", NACLLoss()), ("SVLS", SVLSLoss()))
    ]
    lines = [
        *table(results),
        "",
        f"Whole training step / the same with Dice+CE: {', '.join(steps)}.",
        "",
        f"Batch 2, patch {parsed.side}^3 ({parsed.side * 2 // 3 // 8 * 8}^3 for K > 16), float32, {parsed.threads} threads, "
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}.",
        "",
        "[On a GPU](losses-gpu.md).",
    ]
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    parsed.output.with_suffix(".md").write_text("\n".join(lines) + "\n")
    plot(results, parsed.output.with_suffix(".png"))
    print(f"\n{lines[-5]}\nwrote {parsed.output.with_suffix('.md')} and {parsed.output.with_suffix('.png')}")


if __name__ == "__main__":
    main()
