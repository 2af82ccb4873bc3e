"""The JSON files of fits: written whole, and read without trusting them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnunet_nacl import json_files
from nnunet_nacl.decisions.case_table import structures_of
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.output import replacing


def write(content: dict[str, Any], path: Path) -> None:
    """Write a file so that nobody sees half of it."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4, allow_nan=False) + "\n", encoding="utf-8")


def load(path: Path, file_type: str, version: int, parse: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Return what a file says, once ``parse`` has taken it.

    Raises:
        InputError: it is missing, damaged, of another version, or another kind of file.
    """
    command = f"nnunet-nacl {file_type.split()[-1]} fit"
    try:
        content = json_files.read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({first_line(error)}). Fit it again.") from error
    if not isinstance(content, dict) or content.get("file_type") != file_type:
        raise InputError(f"{path}: is no file of `{command}`.")
    if content.get("schema_version") != version:
        raise InputError(
            f"{path}: expected schema version {version}, but got {content.get('schema_version')!r:.80}. Fit it again, or use the "
            "version of nnunet-nacl that wrote it."
        )
    try:
        _check_shared(content)
        parse(content)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {first_line(error)}). Fit it again.") from error
    return content


def _check_shared(content: dict[str, Any]) -> None:
    """Raise ValueError or what Python raises unless labels, structures and cases are as both kinds of file have them."""
    labels, regions, cases = content["protocol"]["labels"], content["protocol"]["regions"], content["cases"]
    texts = [*labels.keys(), *labels.values(), *cases, *(entry["name"] for entry in content["structures"].values())]
    if type(regions) is not bool or not isinstance(cases, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("expected names of labels, structures and cases")
    "".join(texts).encode()  # a UnicodeEncodeError is a ValueError
    if list(content["structures"]) != list(structures_of(labels, regions)):
        raise ValueError("expected the structures of the labels")


def check_structures(path: Path, content: dict[str, Any], dataset: Dataset, dataset_json: Path) -> None:
    """Raise InputError unless the predictions have the labels that were fitted."""
    fitted = content["protocol"]
    if (fitted["labels"], fitted["regions"]) != (dataset.target_names, dataset.regions is not None):
        raise InputError(
            f"{path} was fitted for {', '.join(fitted['labels'].values())}, but {dataset_json} has "
            f"{', '.join(dataset.target_names.values())}."
        )


def pair(value: Any) -> tuple[float, float]:
    """Return two finite numbers, the lower first; ValueError if they are not."""
    low, high = (number(each) for each in value)
    if low > high:
        raise ValueError(f"{low} above {high}")
    return low, high


def number(value: Any) -> float:
    """Return a finite number; ValueError if it is none."""
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e300:
        raise ValueError(f"expected a number, but got {value!r:.80}")
    return float(value)
