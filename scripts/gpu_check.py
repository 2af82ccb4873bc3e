"""Everything about the losses that only a GPU can show, in one run of at most 8 minutes.

    python scripts/gpu_check.py [--device cuda] [--output gpu_check]
    python scripts/gpu_check.py --prepare FOLDER    # on any machine, before: the phantom that the trainers train on
    python scripts/gpu_check.py --prepared FOLDER   # where a GPU's time is short: with that phantom

Parts, each in a process of its own with a time limit: ``values``, the losses as Triton kernels and as PyTorch's operations against float64 on the
CPU; ``losses``, their time and memory; ``launch``, the same for other sizes of the kernels' blocks; ``step``, a whole training step; and ``trainers``, a few
iterations of nnU-Net's own training with each trainer on a generated phantom, with torch.compile and Triton kernels. Writes OUTPUT.md and OUTPUT.json. The
exit status is 0 where every part passed, else 1.

``--device cpu`` tries the script itself, with tiny patches and Triton's interpreter; its times say nothing. Needs the extra ``test`` (MONAI).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# seconds; together under 8 minutes
LIMITS = {"values": 50, "losses": 125, "launch": 40, "step": 55, "trainers": 205}
CLASSES = (3, 14, 118)
FOLDERS = ("raw", "preprocessed", "results")
COMMAND = (
    "import sys; from importlib.metadata import entry_points as of; sys.argv.pop(0); "
    "[found] = of(group='console_scripts', name=sys.argv[0]); sys.exit(found.load()())"
)
"""Runs a command of an installed package, wherever its script may be."""
TOLERANCE = {"float32": 1e-5, "float16": 5e-3}
"""Of values and gradients, relative, against float64 on the same logits: those of half precision are exact in float64."""


def on_cpu() -> bool:
    return os.environ["GPU_CHECK_DEVICE"] == "cpu"


def values() -> dict[str, Any]:
    """Hold each loss, both ways, against the project's own float64 on the CPU."""
    import torch
    from gpu_losses import GRAD_SCALE, ours

    device, lines, rows, failed = torch.device(os.environ["GPU_CHECK_DEVICE"]), [], [], []
    classes, shape = (3, (5, 6, 7)) if on_cpu() else (14, (24, 40, 36))
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(2, classes, *shape, generator=generator)).half().float()
    target = torch.randint(0, classes, (2, 1, *shape), generator=generator).float()
    target[:, :, shape[0] // 2 :] = 1
    exact = {}
    for name, loss in ours(device, False, lines).items():
        kind, way = name.rsplit(", ", 1)
        if way == "PyTorch":
            leaf = logits.double().requires_grad_()
            value = loss(leaf, target)
            value.backward()
            exact[kind] = value.detach(), leaf.grad
        for dtype in (torch.float32, torch.float16):
            leaf = logits.clone().to(device, dtype).requires_grad_()
            value = loss(leaf, target.to(device))
            (value * GRAD_SCALE).backward()
            found = value.detach().cpu().double(), leaf.grad.cpu().double() / GRAD_SCALE
            errors = [float((one - other).norm() / other.norm()) for one, other in zip(found, exact[kind], strict=True)]
            short = str(dtype).removeprefix("torch.")
            rows.append({"loss": name, "dtype": short, "value": errors[0], "gradient": errors[1]})
            # a voxel whose probability lies at the edge of a bin may be in either
            tolerance = max(TOLERANCE[short], 1e-2 if "mL1-ACE" in kind else 0)
            if not max(errors) < tolerance:
                failed.append(f"{name}, {short}: relative errors {errors[0]:.1e} and {errors[1]:.1e}")
    failed += _waits(ours(device, False, lines), logits.to(device), target.to(device))
    # a loss that fell back to PyTorch's operations is right, and not what is asked for
    failed += [line for line in lines if "runs as PyTorch's operations" in line]
    markdown = ["| loss | dtype | value | gradient |", "|---|---|---|---|"]
    markdown += [f"| {row['loss']} | {row['dtype']} | {row['value']:.1e} | {row['gradient']:.1e} |" for row in rows]
    return {"rows": rows, "failed": failed, "markdown": [*markdown, "", *(f"- {line}" for line in sorted(set(lines)))]}


def _waits(losses: dict[str, Any], logits: Any, target: Any) -> list[str]:
    """Return which kernels make the program wait for the device once they have been checked."""
    import torch

    failed = []
    for name, loss in losses.items() if logits.device.type == "cuda" else ():
        if name.endswith("Triton"):
            loss(logits.clone().requires_grad_(), target).backward()
            torch.cuda.set_sync_debug_mode("error")
            try:
                loss(logits.clone().requires_grad_(), target).backward()
            except RuntimeError as error:
                failed.append(f"{name} waits for the device: {str(error).splitlines()[0]}")
            finally:
                torch.cuda.set_sync_debug_mode("default")
    return failed


def losses() -> dict[str, Any]:
    """Time the losses."""
    import torch
    from gpu_losses import bandwidth, loss_table, markdown

    device = torch.device(os.environ["GPU_CHECK_DEVICE"])
    sides = {classes: 128 for classes in CLASSES} if not on_cpu() else {3: 8}
    seconds = 0.85 * LIMITS["losses"] / len(sides) if not on_cpu() else 600
    tables = [loss_table(classes, side, device, 12 if not on_cpu() else 1, seconds) for classes, side in sides.items()]
    floors = [f"{table['floor']:.3f} ms" for table in tables]
    closing = (
        f"Floor (three passes over the logits): {', '.join(floors)}; a copy moves {bandwidth(device) / 1e9:.0f} GB/s."
    )
    failed = [f"{name}: {reason}" for table in tables for name, reason in table["failed"]]
    return {"tables": tables, "failed": failed, "markdown": [*markdown(tables), "", closing]}


def launch() -> dict[str, Any]:
    """Time the kernels with other sizes of blocks."""
    import torch
    from gpu_losses import batch, measured, ours

    from nnunet_nacl.losses import triton_loss

    device, rows = torch.device(os.environ["GPU_CHECK_DEVICE"]), []
    # each is compiled for each loss: about a second
    sizes = [(128, 1), (128, 2), (128, 4), (256, 2), (256, 4), (512, 4)] if not on_cpu() else [(256, 4)]
    ends = time.monotonic() + 0.8 * LIMITS["launch"]
    for classes, side in ((14, 128), (118, 128), (3, 128)) if not on_cpu() else ((3, 8),):
        logits, target = batch(classes, side, device)
        for name, loss in ours(device, False, []).items():
            if name not in (
                ("NACL, Triton", "Dice+NACL, Triton", "Dice+mL1-ACE, Triton") if not on_cpu() else ("NACL, Triton",)
            ):
                continue
            for voxels, warps in sizes:
                if time.monotonic() > ends:
                    break
                triton_loss.VOXELS_PER_PROGRAM, triton_loss.WARPS = voxels, warps
                timing = measured(loss, logits, target, 5)
                rows.append(
                    {"classes": classes, "loss": name, "voxels": voxels, "warps": warps, "ms": timing.milliseconds}
                )
    markdown = ["| K | loss | voxels per program | warps | ms |", "|---|---|---|---|---|"]
    markdown += [
        f"| {row['classes']} | {row['loss']} | {row['voxels']} | {row['warps']} | {row['ms']:.3f} |" for row in rows
    ]
    return {"rows": rows, "failed": [] if rows else ["nothing was timed"], "markdown": markdown}


def step() -> dict[str, Any]:
    """Time a whole training step."""
    import torch
    from gpu_losses import milliseconds, ours, stock, training_step

    device, rows, failed = torch.device(os.environ["GPU_CHECK_DEVICE"]), [], []
    ends = time.monotonic() + (0.8 * LIMITS["step"] if not on_cpu() else 600)
    for classes, side in ((118, 128), (14, 128), (3, 128)) if not on_cpu() else ((3, 8),):
        step_of, first = training_step(classes, side, device), None
        kept = {name: loss for name, loss in ours(device, not on_cpu(), []).items() if "mL1-ACE" not in name}
        if on_cpu():
            kept = {name: loss for name, loss in kept.items() if name.startswith("NACL")}
        for name, loss in {"Dice+CE": stock(not on_cpu()), **kept}.items():
            if time.monotonic() > ends:
                failed.append(f"K = {classes}, {name}: the time was up")
                continue
            if not on_cpu():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            taken = milliseconds(step_of(loss), device, 8 if not on_cpu() else 1, 3 if not on_cpu() else 1)
            peak = torch.cuda.max_memory_allocated() / 2**30 if not on_cpu() else float("nan")
            first = first or taken
            rows.append({"classes": classes, "loss": name, "ms": taken, "ratio": taken / first, "gib": peak})
    markdown = ["| K | loss | ms | step / that of Dice+CE | peak memory, GiB |", "|---|---|---|---|---|"]
    markdown += [
        f"| {row['classes']} | {row['loss']} | {row['ms']:.1f} | {row['ratio']:.3f} | {row['gib']:.2f} |"
        for row in rows
    ]
    return {"rows": rows, "failed": failed, "markdown": markdown}


def trainers() -> dict[str, Any]:
    """Train each trainer for three iterations on a phantom, in nnU-Net's own loop."""
    ends = time.monotonic() + (0.9 * LIMITS["trainers"] if not on_cpu() else 600)
    with tempfile.TemporaryDirectory() as folder:
        preprocessed = _phantom(Path(folder))
        import torch

        from nnunet_nacl.training import trainers as module

        rows, failed = [], []
        names = sorted(name for name in vars(module) if name.startswith("nnUNetTrainer") and name != "nnUNetTrainer")
        # those that have kernels first, should the time not last
        names.sort(key=lambda name: not any(kind in name for kind in ("NACL", "SVLS", "L1ACE")))
        # on a CPU the interpreter would take minutes for each
        for name in names if not on_cpu() else ["nnUNetTrainerDiceNACL", "nnUNetTrainerMbLS"]:
            if time.monotonic() > ends:
                failed.append(f"{name}: the time was up")
                continue
            start = time.monotonic()
            try:
                loss, says = _trained(getattr(module, name), preprocessed, torch.device(os.environ["GPU_CHECK_DEVICE"]))
            except Exception as error:  # one trainer's failure is a line of the report
                failed.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
                continue
            rows.append({"trainer": name, "loss": loss, "seconds": time.monotonic() - start, "says": says})
            if loss != loss:
                failed.append(f"{name}: the loss is NaN")
    markdown = ["| trainer | training loss | seconds | its log |", "|---|---|---|---|"]
    markdown += [f"| {row['trainer']} | {row['loss']:.4f} | {row['seconds']:.1f} | {row['says']} |" for row in rows]
    return {"rows": rows, "failed": failed, "markdown": markdown}


def _phantom(folder: Path) -> Path:
    """Return nnU-Net's preprocessed phantom in a new folder, and set nnU-Net's variables."""
    prepared = os.environ.get("GPU_CHECK_PREPARED")
    if prepared:
        shutil.copytree(prepared, folder / "preprocessed")
    _set_variables(folder)
    if not prepared:
        _prepare(folder)
    os.environ["nnUNet_n_proc_DA"] = "0"  # augmentation in this process; planning takes no 0
    return folder / "preprocessed" / "Dataset099_Phantom"


def _set_variables(folder: Path) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ |= {"nnUNet_n_proc_DA": "1", "NNUNET_NACL_VALIDATE": "f", "NNUNET_NACL_TRITON": "t"}


def _prepare(folder: Path) -> None:
    """Make, plan and preprocess a phantom with nnU-Net's own commands."""
    task = folder / "Task99_Phantom"
    for command, *arguments in (
        ("nnunet-nacl", "phantom", task, "--cases", "6", "--size", "16" if on_cpu() else "32"),
        ("nnUNetv2_convert_MSD_dataset", "-i", task, "-overwrite_id", "99", "-np", "1"),
        ("nnUNetv2_plan_and_preprocess", "-d", "99", "-c", "3d_fullres", "-np", "1", "-npfp", "1"),
        ("nnunet-nacl", "cpu-plans", "99"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, command, *map(str, arguments)], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command} failed: {done.stderr[-500:]}")


def _trained(trainer: type, preprocessed: Path, device: Any) -> tuple[float, str]:
    """Return the training loss, and what the log says of the way that it was computed."""
    plans = json.loads((preprocessed / "nnUNetPlansCPU.json").read_text()) | {"continue_training": False}
    built = trainer(plans, "3d_fullres", 0, json.loads((preprocessed / "dataset.json").read_text()), device)
    iterations = 1 if on_cpu() else 3
    built.num_epochs, built.num_iterations_per_epoch, built.num_val_iterations_per_epoch = 1, iterations, 1
    built.initialize()
    built.run_training()
    says = [line for line in Path(built.log_file).read_text().splitlines() if "The loss runs as" in line]
    return float(built.logger.local_logger.my_fantastic_logging["train_losses"][-1]), "; ".join(
        line.split(": ", 1)[-1].split(" The loss", 1)[-1].strip() for line in says
    )


PARTS = {"values": values, "losses": losses, "launch": launch, "step": step, "trainers": trainers}


def run_part(name: str, device: str, folder: Path, prepared: Path | None) -> dict[str, Any]:
    """Run a part in a process of its own, so that neither a hang nor a card in a bad state spoils the others."""
    result, start = folder / f"{name}.json", time.monotonic()
    environment = os.environ | {"GPU_CHECK_DEVICE": device, "nnUNet_compile": "t"}
    if prepared:
        environment["GPU_CHECK_PREPARED"] = str(prepared.resolve())
    if device == "cpu":
        environment |= {"TRITON_INTERPRET": "1", "nnUNet_compile": "f"}
    command = [sys.executable, __file__, "--part", name, "--output", str(result)]
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=LIMITS[name] if device != "cpu" else 600,
        )  # fmt: skip
        said = done.stdout[-1500:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"longer than {LIMITS[name]} s"
    found = json.loads(result.read_text()) if result.is_file() else {"failed": [], "markdown": []}
    if said:
        found["failed"].append(said)
    return found | {"seconds": time.monotonic() - start}


def device_line(device: str) -> str:
    import torch

    name = platform.processor() or "CPU"
    if device != "cpu":
        if not torch.cuda.is_available():
            raise SystemExit(f"gpu_check: error: expected a CUDA device for --device {device}, but PyTorch finds none.")
        name = torch.cuda.get_device_name(device)
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="such as cuda or cuda:1, or cpu to try the script")
    parser.add_argument("--output", type=Path, default=Path("gpu_check"), help="without ending")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument(
        "--prepare", type=Path, metavar="FOLDER", help="write nnU-Net's preprocessed phantom there, no more"
    )
    parser.add_argument("--prepared", type=Path, metavar="FOLDER", help="what --prepare has written")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.part:
        if on_cpu():
            from nnunet_nacl.losses import fused

            fused.DEVICES = ("cpu",)
        parsed.output.write_text(json.dumps(PARTS[parsed.part]()))
        return 0
    if parsed.prepare:
        os.environ["GPU_CHECK_DEVICE"] = parsed.device
        with tempfile.TemporaryDirectory() as folder:
            _set_variables(Path(folder))
            _prepare(Path(folder))
            shutil.copytree(Path(folder, "preprocessed"), parsed.prepare)
        return 0
    if parsed.prepared and not (parsed.prepared / "Dataset099_Phantom").is_dir():
        parser.error(f"--prepared {parsed.prepared}: expected a folder that --prepare has written")
    lines = ["# Losses on a GPU", "", device_line(parsed.device)]
    results: dict[str, Any] = {"device": lines[-1]}
    with tempfile.TemporaryDirectory() as folder:
        for name in parsed.only:
            found = results[name] = run_part(name, parsed.device, Path(folder), parsed.prepared)
            word = "FAILED" if found["failed"] else "passed"
            part = ["", f"## {name}: {word}, {found['seconds']:.0f} s", "", *found["markdown"], ""]
            part += [f"- FAILED {reason}" for reason in found["failed"]]
            print("\n".join(part), flush=True)
            lines += part
            parsed.output.with_suffix(".json").write_text(json.dumps(results, indent=1))
            parsed.output.with_suffix(".md").write_text("\n".join(lines) + "\n")
    return int(any(results[name]["failed"] for name in parsed.only))


if __name__ == "__main__":
    sys.exit(main())
