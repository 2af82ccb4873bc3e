"""``nnunet-nacl doctor``."""

from __future__ import annotations

import argparse

from nnunet_nacl.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "check versions, variables and whether nnU-Net finds the trainers, and say what to set"
    parser = commands.add_parser("doctor", help=text, description=text)
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.training.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.fine else 'BAD'} {finding.subject}: {finding.detail}")
    return 0 if all(finding.fine for finding in findings) else 1
