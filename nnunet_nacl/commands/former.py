"""Former spellings, which work for one release: each says once on standard error how it is spelled now."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from nnunet_nacl.commands import messages


def note(former: str, now: str) -> None:
    """Say on standard error how something is spelled now."""
    messages.note(f"`{former}` is now `{now}`; the next release takes no other.")


class FormerOption(argparse.Action):
    """An option under its former name: notes the present one, and sets what that sets.

    Args:
        now: the present spelling.
        convert: makes the present value of the former one.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        now: str,
        type: Callable[[str], Any] | None = None,
        convert: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        super().__init__(option_strings, dest, type=type, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        self.now = now
        self.convert = convert

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Set the value under the present name."""
        note(str(option_string), self.now)
        setattr(namespace, self.dest, self.convert(values))


class OptionWithoutEffect(argparse.Action):
    """A former option whose value nothing asks for: taken, and a note says why.

    Args:
        why: what has become of it.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, why: str, type: Callable[[str], Any]) -> None:
        super().__init__(option_strings, dest, type=type, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        self.why = why

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Note that the value has no effect."""
        messages.note(f"`{option_string}` has no effect, since {self.why}; the next release does not take it.")
