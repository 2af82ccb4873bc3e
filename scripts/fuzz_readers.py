"""A long fuzz of every reader of files that others made: how many inputs, and what each finding is.

python scripts/fuzz_readers.py [--minutes M] [--seed S] [--target NAME ...] [--once TARGET:SEED]

The same damaged files as tests/fuzz/test_readers.py tries, but many more, and it goes on after a finding. Findings are told apart by
exception and by the line of this package that it comes from. ``--once`` tries one input again, to see its traceback. Inputs run in a
process of their own whose address space is limited, so that a crash, a hang, or taking all memory is a finding as well.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# plain Python for the compiled loops: a file has a few voxels, and compiling takes longer than a thousand files
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz")]

EXTRA_MEMORY = 2**30
"""Bytes of address space that reading a file of kilobytes may take beside what is loaded."""

SECONDS = 20
"""Of processor time, after which an input counts as a hang."""


def main() -> int:
    """Try the targets in turn, print a table, and return 1 if there is a finding."""
    from targets_by_name import TARGETS, make

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together (default: %(default)s)")
    parser.add_argument("--inputs", type=int, default=sys.maxsize, help="for each target at most (default: no limit)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input (default: %(default)s)")
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS), help="default: all")
    parser.add_argument("--once", default=None, metavar="TARGET:SEED", help="try one input again")
    parsed = parser.parse_args()
    if parsed.once:
        name, seed = parsed.once.split(":")
        with tempfile.TemporaryDirectory() as folder:
            print(make(name, Path(folder)).attempt(random.Random(int(seed))))
        return 0
    tallies = {name: Tally(parsed.seed) for name in parsed.target}
    fuzz(tallies, parsed.seed + parsed.inputs, time.monotonic() + 60 * parsed.minutes)
    print("| reader | inputs | refused | read | inputs with a finding | distinct findings |\n|---|---|---|---|---|---|")
    for name, tally in tallies.items():
        of, found = tally.outcomes, len(tally.findings)
        print(f"| {name} | {of.total()} | {of['refused']} | {of['read']} | {of['finding']} | {found} |")
    print(f"| all | {sum(tally.outcomes.total() for tally in tallies.values())} | | | "
          f"{sum(tally.outcomes['finding'] for tally in tallies.values())} | {sum(len(tally.findings) for tally in tallies.values())} |")  # fmt: skip
    for name, tally in tallies.items():
        for what, seeds in tally.findings.items():
            print(f"{name}:{seeds[0]} ({len(seeds)} inputs) {what}")
    return 1 if any(tally.findings for tally in tallies.values()) else 0


@dataclass
class Tally:
    """What became of the inputs of a target: the seed of the next one, how many ended how, and the seeds of each finding."""

    next_seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[int]] = field(default_factory=dict)

    def add(self, seed: int, outcome: str, what: str) -> None:
        """Count an input."""
        self.next_seed = seed + 1
        self.outcomes[outcome] += 1
        if outcome == "finding":
            self.findings.setdefault(what, []).append(seed)


def fuzz(tallies: dict[str, Tally], last_seed: int, end: float) -> None:
    """Fill the tallies, in processes of which each goes on where the one before died."""
    context = multiprocessing.get_context("spawn")
    finished = False
    while not finished:
        receiver, sender = context.Pipe(duplex=False)
        seeds = {name: tally.next_seed for name, tally in tallies.items()}
        process = context.Process(target=_run, args=(seeds, last_seed, end - time.monotonic(), sender))
        process.start()
        sender.close()
        name = ""
        try:
            while (message := receiver.recv()) is not None:
                name, *outcome = message
                if outcome:
                    tallies[name].add(*outcome)
            finished = True
        except EOFError:
            if not name:
                raise RuntimeError("the targets cannot be made; see above") from None
            tallies[name].add(tallies[name].next_seed, "finding", "the process died")
        process.join()


def _run(seeds: dict[str, int], last_seed: int, seconds: float, sender: Any) -> None:
    """Try inputs of each target in turn until the time is over; report each before and after."""
    import warnings

    from targets_by_name import make

    warnings.simplefilter("ignore")
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        targets = {}
        for name in seeds:
            Path(folder, name).mkdir()
            targets[name] = make(name, Path(folder, name))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the libraries that read images talk
        signal.signal(signal.SIGPROF, _hang)
        # what is mapped by now, of which libraries and thread stacks are most
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + EXTRA_MEMORY, resource.RLIM_INFINITY))
        while time.monotonic() < end and min(seeds.values()) < last_seed:
            for name, target in targets.items():
                sender.send((name,))
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                try:
                    outcome, what = target.attempt(random.Random(seeds[name])), ""
                except BaseException as error:
                    outcome, what = "finding", _where(error)
                signal.setitimer(signal.ITIMER_PROF, 0)
                sender.send((name, seeds[name], outcome, what))
                seeds[name] += 1
        sender.send(None)


def _hang(*_: object) -> None:
    raise TimeoutError(f"an input took longer than {SECONDS} s of processor time")


def _where(error: BaseException) -> str:
    """Return the exception and the last line of this package, else of the target, that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if str(ROOT / "nnunet_nacl") in frame.filename] or frames
    inner = ours[-1] if not isinstance(error, AssertionError) else [f for f in frames if "targets" in f.filename][-1]
    message = (str(error).strip().splitlines() or [""])[0][:90]
    return (
        f"{type(error).__name__} at {Path(inner.filename).name}:{inner.lineno} ({inner.name}): {message!r}"
        if ours
        else repr(error)
    )


if __name__ == "__main__":
    sys.exit(main())
