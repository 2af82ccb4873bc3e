"""Working on the next items of an iterator while the present one is being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

DEPTH = 24
"""Enough for a file to be read on while its label map is looked at."""


def read_ahead(items: Generator[T, None, None], depth: int = DEPTH) -> Generator[T, None, None]:
    """Yield the items of a generator, which runs up to ``depth`` items ahead in one thread of its own.

    It saves time where the generator releases the GIL, as inflating does. An exception in it is raised here, in its turn. Where
    the caller stops early, the generator is closed and the thread has ended before ``close()`` returns; nothing is ever waited
    for but the item in work.

    Args:
        items: never yields None.
        depth: items kept ready, at least 1; memory is that of ``depth`` items, and the one in use.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        ahead: deque[Future[T | None]] = deque(thread.submit(next, items, None) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            items.close()
