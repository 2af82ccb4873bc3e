"""Whether a gzipped file is whole. ITK and nibabel do not say when its checksum is wrong, and give other voxels."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from nnunet_nacl.evaluation.zip_member import HAS_ISAL

if HAS_ISAL:
    from isal import igzip

_MAGIC = b"\x1f\x8b"
_BLOCK = 2**20


def check_gzip(path: Path) -> None:
    """Read a gzipped file to its end, in constant memory, against its CRC-32 and length; other files are left alone.

    Raises:
        OSError, EOFError or an error of the inflate: it is damaged or cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return
    opened: Any = igzip if HAS_ISAL else gzip
    with opened.open(path) as unpacked:
        while unpacked.read(_BLOCK):
            pass
