"""Evaluating predicted cases beside the prediction of the next ones, as many as fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.workers import OUT_OF_MEMORY, Warn
from nnunet_nacl.processes.pool import process_pool
from nnunet_nacl.validation.predicted_case import PROCESS_BYTES, Work

SomeWork = TypeVar("SomeWork", bound=Work)
Result = TypeVar("Result")


def results_of_works(
    works: Iterable[SomeWork], evaluate: Callable[[SomeWork], Result], num_processes: int, budget: int, warn: Warn
) -> Iterator[Result]:
    """Yield the result of each predicted case.

    Args:
        works: predicts a case whenever it is asked for the next one, so that no more than the workers have are in memory.
        evaluate: what to do with it, a function that can be pickled.
        num_processes: workers; 1: each case is evaluated here before the next one is predicted.
        budget: bytes of memory for all cases together.
        warn: called with a sentence where a case alone may need more.

    Raises:
        InputError: of the first case at fault, or memory ran out.
    """
    if num_processes == 1:
        for work in works:
            _warn_if_large(work, PROCESS_BYTES + work.bytes_needed, budget, warn)
            yield _here(work, evaluate)
        return
    running: dict[Future[Result], int] = {}
    room = budget - num_processes * PROCESS_BYTES
    with process_pool(num_processes) as pool:
        try:
            for work in works:
                need = work.bytes_needed
                _warn_if_large(work, num_processes * PROCESS_BYTES + need, budget, warn)
                while running and (len(running) >= num_processes or sum(running.values()) + need > room):
                    yield from _finished(running)
                running[pool.submit(evaluate, work)] = need
                del work  # its logits are on their way
            while running:
                yield from _finished(running)
        finally:
            pool.shutdown(cancel_futures=True)


def _finished(running: dict[Future[Result], int]) -> Iterator[Result]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        del running[future]
        try:
            yield future.result()
        except BrokenProcessPool as error:
            raise InputError(OUT_OF_MEMORY.format(what="A worker process died")) from error
        except MemoryError as error:
            raise InputError(OUT_OF_MEMORY.format(what="A case cannot be evaluated")) from error


def _here(work: SomeWork, evaluate: Callable[[SomeWork], Result]) -> Result:
    try:
        return evaluate(work)
    except MemoryError as error:
        raise InputError(OUT_OF_MEMORY.format(what=f"{work.case.name}: cannot be evaluated")) from error


def _warn_if_large(work: Work, need: int, budget: int, warn: Warn) -> None:
    if need > budget:
        warn(
            f"{work.case.name} needs about {need / 2**30:.1f} GiB of memory, more than the {budget / 2**30:.1f} GiB there are; it is "
            "evaluated alone."
        )
