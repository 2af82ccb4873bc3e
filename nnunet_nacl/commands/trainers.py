"""``nnunet-nacl trainers``."""

from __future__ import annotations

import argparse

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.errors import InputError


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "list the trainers, or explain the name of one"
    parser = commands.add_parser("trainers", help=text, description=text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="trainer or variant; default: all trainers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    import json

    from nnunet_nacl.training.catalogue import catalogue, describe
    from nnunet_nacl.training.variants import UnknownVariantError

    try:
        entries = [describe(name) for name in parsed.names] or catalogue()
    except UnknownVariantError as error:
        raise InputError(str(error)) from error
    if parsed.json:
        print(json.dumps([entry.as_dict() for entry in entries], indent=2))
        return 0
    for entry in entries:
        values = ", ".join(f"{name}={value!r}" for name, value in entry.hyper_parameters.items())
        print(f"{entry.name}\n    {entry.loss}\n    {values}\n    settings: {', '.join(entry.settings)}")
    return 0
