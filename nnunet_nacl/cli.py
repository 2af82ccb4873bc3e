"""The command ``nnunet-nacl``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from nnunet_nacl import __version__
from nnunet_nacl.commands import (
    benchmark,
    compare,
    cpu_plans,
    doctor,
    ensemble,
    evaluate,
    import_msd,
    lesions,
    merge,
    phantom,
    preprocess_raters,
    recalibrate,
    report,
    share,
    thresholds,
    trainer_path,
    trainers,
    triage,
    validate,
    volumes,
)
from nnunet_nacl.commands import map as map_
from nnunet_nacl.commands.interrupts import watched_interrupts
from nnunet_nacl.errors import InputError, first_line

INTERRUPTED = 130
"""Exit status of what Ctrl-C ends, as of shells."""

# in the order of --help
COMMANDS = (
    trainer_path,
    doctor,
    trainers,
    validate,
    evaluate,
    merge,
    compare,
    report,
    recalibrate,
    ensemble,
    volumes,
    triage,
    thresholds,
    lesions,
    map_,
    share,
    benchmark,
    phantom,
    import_msd,
    cpu_plans,
    preprocess_raters,
)

# what a plain install may lack, by the name that Python imports, and the extra that brings it; the rest is the base
EXTRAS = {
    "jinja2": "report",
    "PIL": "report",
    "markupsafe": "report",
    "jsonschema": "benchmark",
    "pooch": "benchmark",
    "requests": "benchmark",
    "yaml": "benchmark",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status: 0 fine, 1 unusable input or a finding, 2 unusable arguments."""
    parsed = _parser().parse_args(arguments)
    with watched_interrupts() as interrupts:
        try:
            return _run(parsed)
        except (KeyboardInterrupt, Exception) as error:
            # an error after an interrupt that could not be raised is what that left behind
            if not isinstance(error, KeyboardInterrupt) and not interrupts.came:
                raise
            print("nnunet-nacl: interrupted", file=sys.stderr)
            return INTERRUPTED


def _run(parsed: argparse.Namespace) -> int:
    try:
        status: int = parsed.run(parsed)
        sys.stdout.flush()
    except InputError as error:
        print(f"nnunet-nacl: error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(f"nnunet-nacl: error: {_lacks(error.name, extra)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # whoever read the output, such as `head`, has had enough; Python would complain once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a place without permission: where no command says more about it
        said = first_line(error) if error.strerror is None else error.strerror
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"nnunet-nacl: error: {where}{said}", file=sys.stderr)
        return 1
    return status


def _lacks(module: str | None, extra: str) -> str:
    return f"this command needs {module}, which is not installed: pip install 'nnunet-nacl[{extra}]'."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnunet-nacl", description="Calibrated confidence for nnU-Net: trainers, evaluation, comparison."
    )
    parser.add_argument("--version", action="version", version=f"nnunet-nacl {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
