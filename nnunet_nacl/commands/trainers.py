"""``nnunet-nacl trainers``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.errors import InputError, first_line

if TYPE_CHECKING:
    from nnunet_nacl.training.catalogue import Entry


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "list the trainers, or explain the name of one"
    parser = commands.add_parser("trainers", help=text, description=text)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="trainer or variant of nnunet-nacl, of nnU-Net or in a folder of nnUNet_extTrainer (default: list all)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    import json

    from nnunet_nacl.training.catalogue import catalogue

    entries = [_described(name) for name in parsed.names] or catalogue()
    if parsed.json:
        print(json.dumps([entry.as_dict() for entry in entries], indent=2))
        return 0
    for entry in entries:
        values = ", ".join(f"{name}={value!r}" for name, value in entry.hyper_parameters.items())
        settings = ", ".join(entry.settings) or "none"
        lines = [f"{entry.name} ({entry.source})", entry.loss, *([values] if values else []), f"settings: {settings}"]
        print("\n    ".join(lines))
    if not parsed.names:
        for line in _others():
            print(line)
    return 0


def _described(name: str) -> Entry:
    from nnunet_nacl.training.catalogue import describe
    from nnunet_nacl.training.variants import UnknownVariantError

    try:
        return describe(name)
    except UnknownVariantError as error:
        raise InputError(str(error)) from error
    except Exception as error:  # whatever a module of the user's raises at import
        raise InputError(f"a module on nnUNet_extTrainer fails ({type(error).__name__}: {first_line(error)}). "
                         "`nnunet-nacl doctor` says in which folder.") from error  # fmt: skip


def _others() -> Iterator[str]:
    """Yield a line for each folder of nnUNet_extTrainer that is not ours: the names of the trainers in it."""
    from nnunet_nacl.training.trainer_path import trainer_path
    from nnunet_nacl.training.trainer_search import ext_folders, trainers_in

    for folder in ext_folders():
        if folder.resolve() != trainer_path() and folder.is_dir():
            try:
                yield f"in {folder}: {', '.join(trainers_in(folder)) or 'no trainer'}"
            except Exception as error:  # whatever a module of the user's raises at import
                yield f"in {folder}: a module fails ({type(error).__name__}: {first_line(error)})"
