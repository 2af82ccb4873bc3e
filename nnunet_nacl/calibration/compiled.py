"""How the kernels are compiled: by numba, once for each machine, without the interpreter lock.

Chosen by measurement (`python scripts/benchmark_evaluation.py`): numpy needs a pass and a temporary array for each step, and so
does PyTorch, whose ``bincount`` and ``scatter_add_`` moreover add in the dtype of the values; the fused kernels take about a
fifteenth of numpy's time. Not a C extension, since that would need a wheel for each platform.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function on its first call; keep the machine code on disk where numba finds a place to write."""
    return _compiled(function, fastmath=False)


def compiled_in_any_order(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function that adds up floats and may do so in any order, by which a sum becomes vector instructions."""
    return _compiled(function, fastmath={"reassoc", "nsz"})


def _compiled(function: Callable[Arguments, Result], **options: Any) -> Callable[Arguments, Result]:
    try:
        machine_code: Callable[Arguments, Result] = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # a read-only installation without a writable home: compile again in each process
        machine_code = numba.njit(nogil=True, **options)(function)
    return machine_code
