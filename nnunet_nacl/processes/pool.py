"""Worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from nnunet_nacl.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")


def results_of(work: Callable[[Job], Result], jobs: Sequence[Job], num_processes: int) -> Iterator[Result]:
    """Yield the result of each job as it is finished; one process does them here, in order.

    Args:
        work: a function that can be pickled.
        jobs: its arguments.
        num_processes: worker processes.

    Raises:
        InputError: of ``work``, or a process died; jobs that have not started are not done then.
    """
    if num_processes == 1:
        yield from map(work, jobs)
        return
    with process_pool(num_processes) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError("A worker process died, most likely for lack of memory. Use fewer with -np.") from error
        finally:
            pool.shutdown(cancel_futures=True)


def process_pool(num_processes: int) -> ProcessPoolExecutor:
    """Return a pool of worker processes that end with this process, however it ends."""
    # spawn, as nnU-Net does: forking a process that has used torch or OpenMP threads can hang
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_processes, mp_context=context, initializer=_prepare_worker)


def _prepare_worker() -> None:
    """Let a worker end with its parent: it would wait for work for ever if the parent is killed."""
    # a traceback of each worker helps nobody who pressed Ctrl-C
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
