"""What the arguments of several commands share."""

from __future__ import annotations

import argparse
import os
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def positive(text: str) -> int:
    """Read a whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {number}")
    return number


def natural(text: str) -> int:
    """Read a whole number from 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {number}")
    return number


def default_processes() -> int:
    """Return ``nnUNet_def_n_proc``, as nnU-Net's commands do, or the number of cores."""
    return int(os.environ.get("nnUNet_def_n_proc", os.cpu_count() or 1))
