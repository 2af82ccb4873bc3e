"""Where a result comes from: command, versions, files, time."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import date, datetime, timezone
from importlib import metadata
from typing import Any

from nnunet_nacl import __version__

PACKAGES = ("nnunetv2", "numpy", "torch")


def provenance(files: dict[str, Any]) -> dict[str, Any]:
    """Return what it takes to make a result again: files, command line, package versions, time in UTC."""
    return {
        "files": files,
        "command": shlex.join(sys.argv),
        "versions": {
            "nnunet-nacl": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def today() -> date:
    """Return the date in UTC; SOURCE_DATE_EPOCH, where it is set, stands for now (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return (datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)).date()
