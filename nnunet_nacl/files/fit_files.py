"""The JSON files that a `fit` writes and an `apply` reads: written whole, and read without trusting them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.files import json_files
from nnunet_nacl.files.whole_file import replacing

Parsed = TypeVar("Parsed")


def write(content: dict[str, Any], path: Path) -> None:
    """Write a file so that nobody sees half of it."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=4, allow_nan=False) + "\n", encoding="utf-8")


def load(
    path: Path, file_type: str, versions: Sequence[int], command: str, parse: Callable[[dict[str, Any]], Parsed]
) -> Parsed:
    """Return what ``parse`` makes of the content of a file.

    Args:
        path: the file.
        file_type: what it has to say under ``file_type``.
        versions: those of ``schema_version`` that can be read.
        command: what writes such files.
        parse: raises one of Python's errors of values, types and arithmetic where the content is not as the fit writes it.

    Raises:
        InputError: it is missing, damaged, of another version, or another kind of file.
    """
    try:
        content = json_files.read(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({first_line(error)}). Fit it again.") from error
    if not isinstance(content, dict) or content.get("file_type") != file_type:
        raise InputError(f"{path}: is no file of `{command}`.")
    if content.get("schema_version") not in versions:
        raise InputError(
            f"{path}: expected schema version {' or '.join(map(str, versions))}, but got {content.get('schema_version')!r:.80}. "
            "Fit it again, or use the version of nnunet-nacl that wrote it."
        )
    try:
        return parse(content)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        said = first_line(error) if type(error) is ValueError else f"{type(error).__name__}: {first_line(error)}"
        raise InputError(f"{path}: is damaged ({said}). Fit it again.") from error
