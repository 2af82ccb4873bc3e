"""Where a result comes from: command, versions, files, time."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

PACKAGES = ("nnunet-nacl", "nnunetv2", "numpy", "torch")


def provenance(files: dict[str, str]) -> dict[str, Any]:
    """Return what it takes to make a result again: files, command line, package versions, time in UTC."""
    return {
        "files": files,
        "command": shlex.join(sys.argv),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
