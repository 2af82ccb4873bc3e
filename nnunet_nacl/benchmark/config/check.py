"""Whether a configuration is as schema.json says.

A message about a wrong value names its key as it is written down, e.g. ``folds[1]`` or ``tasks[0].id``. The schema's
descriptions complete the sentence "Expected `key` to be ...".
"""

from __future__ import annotations

import difflib
import json
import math
import unicodedata
from collections.abc import Iterable
from importlib import resources
from typing import Any

from nnunet_nacl.errors import InputError

MOST_VALUES = 10_000


def check(content: Any) -> None:
    """Raise InputError, naming the key, unless the content is as the schema says."""
    import jsonschema

    # whole numbers are written as such: 4.0 names no folder; and .inf is no number of hours
    types = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": lambda _, value: type(value) is int, "number": lambda _, value: _is_number(value)}
    )
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=types)
    errors = list(validator(_schema()).iter_errors(content))
    if errors:
        # the first in the file's order of depth: a wrong list before its wrong elements
        raise InputError(_message(min(errors, key=lambda error: len(error.absolute_path))))


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def check_plain(content: Any) -> None:
    """Raise InputError where anchors unfold to more than a configuration holds, or a text has what no name or path may have."""
    waiting, seen = [content], 0
    while waiting:
        seen += 1
        if seen > MOST_VALUES:
            raise InputError(f"Expected at most {MOST_VALUES} values, but got more (with all aliases unfolded).")
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, (list, tuple, set)):
            waiting += value
        elif isinstance(value, str) and any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise InputError(f"Expected texts without control characters, but got {value!r:.200}.")


def _schema() -> dict[str, Any]:
    text = resources.files("nnunet_nacl.benchmark.config").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _message(error: Any) -> str:
    key = _key(error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(str(name) for name in error.instance if name not in known)
        close = difflib.get_close_matches(unknown, known, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}."
        return f"Unexpected key `{key}{'.' if key else ''}{unknown}`: {hint}"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        wanted = error.schema["properties"][missing]["description"]
        return f"Expected `{key}{'.' if key else ''}{missing}` to be {wanted}, but it is missing."
    named = f"`{key}`" if key else "the file"
    return f"Expected {named} to be {error.schema['description']}, but got {error.instance!r:.500}."


def _key(path: Iterable[str | int]) -> str:
    key = ""
    for part in path:
        key += f"[{part}]" if isinstance(part, int) else f"{'.' if key else ''}{part}"
    return key
