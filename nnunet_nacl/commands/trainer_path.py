"""``nnunet-nacl trainer-path``."""

from __future__ import annotations

import argparse

from nnunet_nacl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "print the folder to set as nnUNet_extTrainer"
    parser = commands.add_parser("trainer-path", help=text, description=text)
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.training.trainer_path import trainer_path

    print(trainer_path())
    return 0
