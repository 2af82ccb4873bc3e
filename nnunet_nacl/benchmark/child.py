"""Commands that do not outlive the process that started them, and hear the signals that it is sent."""

from __future__ import annotations

import signal
import subprocess
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
