"""The folder that a command writes into, looked at before anything is computed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nnunet_nacl.errors import InputError


def prepare_folder(folder: Path) -> None:
    """Make the output folder and see that it can be written to, before anything is computed.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written to ({error.strerror}). Choose another output folder with -o."
        ) from error


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make the output folder for a block, as :func:`prepare_folder` does; a block that fails leaves no empty folder behind.

    Raises:
        InputError: it cannot be made or written to.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        prepare_folder(folder)
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # it has files, or was not made
                path.rmdir()
        raise
