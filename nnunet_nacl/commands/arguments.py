"""What the arguments of several commands share."""

from __future__ import annotations

import argparse
import os
import re
from typing import TypeAlias

from nnunet_nacl.errors import InputError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def whole_number(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r:.40}") from error


def number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r:.40}") from error


def positive(text: str) -> int:
    """Read a whole number from 1."""
    whole = whole_number(text)
    if whole < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {whole}")
    return whole


def natural(text: str) -> int:
    """Read a whole number from 0."""
    whole = whole_number(text)
    if whole < 0:
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {whole}")
    return whole


def memory_size(text: str) -> int:
    """Read a size such as 8G, 512M or 1.5T in bytes, in powers of 1024 as batch systems have it; a plain number is bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a size such as 8G or 512M, got {text}")
    size = int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected a size above 0, got {text}")
    return size


def bins(text: str) -> int:
    """Read a number of bins."""
    whole = whole_number(text)
    if not 1 <= whole <= 999:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 999, got {whole}")
    return whole


def distance(text: str) -> float:
    """Read a distance in mm."""
    millimetres = number(text)
    if not 0 <= millimetres < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text}")
    return millimetres


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what changes the figures of an evaluation: ``bins``, ``boundary_mm`` and ``hd95``."""
    parser.add_argument(
        "--bins", type=bins, default=15, help="number of equal-width confidence bins (default: %(default)s)"
    )
    parser.add_argument("--boundary-mm", type=distance, default=3.0, metavar="MM",
                        help="the voxel set `boundary` contains the voxels within this distance of another label, in mm (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--hd95", action="store_true", help="also compute the HD95 of each class in mm, which takes longer"
    )


def default_processes() -> int:
    """Return ``nnUNet_def_n_proc``, as nnU-Net's commands do, or the number of cores.

    Raises:
        InputError: the variable is no whole number from 1.
    """
    text = os.environ.get("nnUNet_def_n_proc", str(os.cpu_count() or 1))
    if not text.strip().isdecimal() or int(text) < 1:
        raise InputError(f"Expected the variable nnUNet_def_n_proc to be a whole number from 1, but got {text!r}.")
    return int(text)
