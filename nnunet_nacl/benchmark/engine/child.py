"""Commands that do not outlive the process that started them, and hear the signals that it is sent."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


def signalled_with_parent(number: int) -> Callable[[], Any] | None:
    """Return what a child runs first (``preexec_fn``) to be sent a signal when this process ends (Linux), or None."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None
    return lambda: prctl(1, int(number))  # PR_SET_PDEATHSIG


_WATCH = "import os, signal, sys\nif not sys.stdin.buffer.read(): os.killpg(int(sys.argv[1]), signal.SIGKILL)"


@contextmanager
def group_ends_with_parent(group: int) -> Iterator[None]:
    """Have a process group killed during a block if this process ends in it, however it does.

    The system tells a child of its parent's end, but not the child's children: nnU-Net's workers would wait for it for ever. So
    another process watches, which hears the end of this one as the end of its input.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCH, str(group)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        with suppress(OSError):
            watcher.communicate(b"ended")


@contextmanager
def forwarding(
    process: subprocess.Popen[bytes], numbers: tuple[int, ...], send: Callable[[int, int], None]
) -> Iterator[list[int]]:
    """Pass signals on to a child instead of ending with them; give the list that those that came are added to.

    Args:
        process: the child.
        numbers: the signals: SIGTERM is what a cluster's scheduler and ``kill`` send, SIGINT what Ctrl-C sends.
        send: ``os.kill``, or ``os.killpg`` where the child leads a process group of its own.
    """

    came: list[int] = []

    def forward(number: int, _frame: Any) -> None:
        came.append(number)
        with suppress(ProcessLookupError):
            send(process.pid, number)

    previous = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
