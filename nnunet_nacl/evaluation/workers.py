"""Evaluating cases in several processes, as many at once as fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.memory import PROCESS_BYTES, bytes_needed, next_to_start, processes_within
from nnunet_nacl.processes.available_memory import default_budget
from nnunet_nacl.processes.pool import process_pool

Result = TypeVar("Result")

Warn = Callable[[str], object]

OUT_OF_MEMORY = (
    "{what}, most likely for lack of memory. Run the same command again with a smaller --max-memory or -np: cases that "
    "are finished are not computed again."
)


def evaluate_each(
    cases: Sequence[Case], evaluate: Callable[[Case], Result], num_processes: int, max_memory: int | None, warn: Warn
) -> Iterator[Result]:
    """Yield the result of each case as it is finished, of as many cases at once as fit into memory.

    Args:
        cases: what to evaluate.
        evaluate: a function that can be pickled.
        num_processes: worker processes at most; 1 works in this process.
        max_memory: bytes for all processes; None: a share of what is available.
        warn: called with a sentence where a case alone may need more memory than there is.

    Raises:
        InputError: of ``evaluate``, or memory ran out.
    """
    if not cases:
        return
    budget = default_budget() if max_memory is None else max_memory
    needs = [bytes_needed(case) for case in cases]
    for case, need in zip(cases, needs, strict=True):
        if PROCESS_BYTES + need > budget:
            warn(
                f"{case.name} needs about {_gib(PROCESS_BYTES + need)} of memory, more than the {_gib(budget)} "
                "there are; it is evaluated alone."
            )
    processes = processes_within(needs, num_processes, budget)
    if processes == 1:
        yield from evaluate_here(cases, evaluate)
    else:
        yield from evaluate_in_processes(cases, evaluate, needs, processes, budget)


def evaluate_here(cases: Sequence[Case], evaluate: Callable[[Case], Result]) -> Iterator[Result]:
    """Yield the result of each case, evaluated in this process.

    Raises:
        InputError: of ``evaluate``, or memory ran out.
    """
    for case in cases:
        try:
            result = evaluate(case)
        except MemoryError as error:
            raise InputError(OUT_OF_MEMORY.format(what=f"{case.probabilities}: cannot be evaluated")) from error
        yield result


def evaluate_in_processes(
    cases: Sequence[Case],
    evaluate: Callable[[Case], Result],
    needs: Sequence[int],
    num_processes: int,
    budget: int,
) -> Iterator[Result]:
    """Yield the results in the order in which they are finished; large cases start first.

    Args:
        cases: what to evaluate.
        evaluate: a function that can be pickled.
        needs: bytes of memory that each case takes.
        num_processes: worker processes.
        budget: bytes of memory for all of them.

    Raises:
        InputError: of the first case at fault, once the cases that had started are yielded, or a process died.
    """
    order = sorted(range(len(cases)), key=lambda number: -needs[number])
    room = budget - num_processes * PROCESS_BYTES
    running: dict[Future[Result], int] = {}
    failure: InputError | None = None
    with process_pool(num_processes) as pool:
        while order or running:
            while len(running) < num_processes:
                position = next_to_start([needs[n] for n in order], [needs[n] for n in running.values()], room)
                if position is None:
                    break
                number = order.pop(position)
                running[pool.submit(evaluate, cases[number])] = number
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                number = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    raise InputError(OUT_OF_MEMORY.format(what="A worker process died")) from error
                except (InputError, MemoryError) as error:
                    failure = failure or _explained(error, cases[number])
                    order.clear()
                    continue
                yield result
    if failure:
        raise failure


def _explained(error: InputError | MemoryError, case: Case) -> InputError:
    if isinstance(error, InputError):
        return error
    return InputError(OUT_OF_MEMORY.format(what=f"{case.probabilities}: cannot be evaluated"))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.3g} MiB"
