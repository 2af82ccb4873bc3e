"""Lines on standard error."""

from __future__ import annotations

import sys


def warning(message: str) -> None:
    """Print a warning in a line."""
    print(f"nnunet-nacl: warning: {message}", file=sys.stderr)


def note(message: str) -> None:
    """Print in a line what a reader should know of a result."""
    print(f"nnunet-nacl: note: {message}", file=sys.stderr)
