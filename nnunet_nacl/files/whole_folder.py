"""A folder that nobody sees half done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_nacl.errors import InputError


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``target`` that takes its name on success, where nothing may be then, and vanishes on failure.

    Raises:
        InputError: no folder can be made there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target.parent}: cannot be written to ({error.strerror}).") from error
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp makes it private
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
