"""How the kernels are compiled: by numba, once for each machine, without the interpreter lock.

Chosen by measurement (`python scripts/benchmark_evaluation.py`): numpy needs a pass and a temporary array for each step, and so
does PyTorch, whose ``bincount`` and ``scatter_add_`` moreover add in the dtype of the values; the fused kernels take about a
fifteenth of numpy's time. Not a C extension, since that would need a wheel for each platform.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function on its first call; keep the machine code on disk where numba finds a place to write."""
    return _compiled(function, fastmath=False)


def compiled_contracted(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function whose products may be added without being rounded first, where the processor has an instruction for that."""
    return _compiled(function, fastmath={"contract"})


def _digest_of_sources() -> str:
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()


_SOURCES = _digest_of_sources()


def _compiled(function: Callable[Arguments, Result], **options: Any) -> Callable[Arguments, Result]:
    try:
        kept: Any = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # a read-only installation without a writable home: compile again in each process
        machine_code: Callable[Arguments, Result] = numba.njit(nogil=True, **options)(function)
        return machine_code
    # numba compiles again where the file of the function has changed, not where one has whose functions or constants are in its machine code
    with contextlib.suppress(AttributeError):  # where another numba has no such attribute, that is how it is
        file = kept._cache._cache_file
        file._source_stamp = (file._source_stamp, _SOURCES)
    machine_code = kept
    return machine_code
