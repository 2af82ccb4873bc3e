"""Whether the probabilities of a prediction folder were recalibrated, and by what: read from what ``recalibrate apply`` leaves in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nnunet_nacl.files.json_files import mapping_if_any

RECORD_FILE = "recalibration.json"

KEY = "recalibrated"
"""In the files of a result."""


def recalibrated(folder: Path) -> dict[str, Any]:
    """Return what a result keeps of it; nothing where the probabilities are those of the network.

    ``predictions`` is the folder that was recalibrated, ``temperature`` a digest of the temperature file, ``held_out`` whether each
    case has the map that was fitted without it. They are empty where the record cannot be read.
    """
    path = folder / RECORD_FILE
    if not os.path.isfile(path):  # noqa: PTH113 - False for any text that is no path
        return {}
    record = mapping_if_any(path)
    provenance = record.get("provenance")
    files = provenance.get("files") if isinstance(provenance, dict) else None
    temperature = record.get("temperature")
    return {
        KEY: {
            "predictions": str(files.get("predictions") or "") if isinstance(files, dict) else "",
            "temperature": _digest(temperature) if isinstance(temperature, dict) else "",
            "held_out": record.get("held_out") is True,
        }
    }


def of_files(files: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Yield of each result that was merged into one, from its files, what was kept of it, empty where nothing was; None where that is not known."""
    merged = files.get("merged")
    if isinstance(merged, list):
        for part in merged:
            yield from of_files(part if isinstance(part, dict) else {})
        return
    held = files.get(KEY)
    if isinstance(held, dict):
        yield held
        return
    # a result of a version that kept nothing may still lie with its predictions
    predictions = files.get("predictions")
    there = predictions if isinstance(predictions, str) and os.path.isdir(predictions) else None  # noqa: PTH112 - as above
    yield None if there is None else recalibrated(Path(there)).get(KEY, {})


def _digest(content: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()
