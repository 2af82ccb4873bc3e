"""Ctrl-C where Python cannot raise it.

An interrupt that arrives while a kernel is compiled may be raised within a callback that C calls. Python then reports it on stderr and goes
on, and the compiler fails later, with another error, over what it lacks. So it is written down that an interrupt came.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Whether an interrupt came."""

    def __init__(self) -> None:
        """Start without any."""
        self.came = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, as Python's own handler, and remember it."""
        self.came = True
        signal.default_int_handler(number, frame)


@contextmanager
def watched_interrupts() -> Iterator[Interrupts]:
    """Watch for interrupts, in the main thread and unless somebody else handles them; those that cannot be raised are not printed."""
    interrupts = Interrupts()
    ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield interrupts
        return
    report = sys.unraisablehook

    def quiet(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            report(unraisable)

    signal.signal(signal.SIGINT, interrupts.handle)
    sys.unraisablehook = quiet
    try:
        yield interrupts
    finally:
        sys.unraisablehook = report
        signal.signal(signal.SIGINT, signal.default_int_handler)
