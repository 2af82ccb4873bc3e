"""How many cases fit into memory at once: what a case needs, and which case starts next."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.probabilities import KEY, read_header
from nnunet_nacl.evaluation.zip_member import find_member

PROCESS_BYTES = 350 * 2**20
"""Of a worker before its first case: Python, NumPy, SimpleITK and the compiled kernels, and SciPy for HD95. Measured: 280 MiB."""

BYTES_PER_VOXEL = 64
"""Of evaluating a case, whatever the number of classes, since channels are read one after another. Measured: 26, with HD95 30, of three to five regions 36 to 44."""


def bytes_needed(case: Case) -> int:
    """Return the memory that evaluating a case takes, without the process's own; 0 where the file cannot be read.

    It comes from the npz's directory and the array's header, so that a few bytes of the file are read.
    """
    try:
        member, header = find_member(case.probabilities, KEY), read_header(case.probabilities)
    except InputError:
        # evaluating the case will say what is wrong with it
        return 0
    whole = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or header.size + whole != member.size:
        return 0
    # an array in Fortran order, which nnU-Net does not write, has to be read whole
    return BYTES_PER_VOXEL * math.prod(header.shape[1:]) + (whole if header.fortran else 0)


def processes_within(needs: Sequence[int], requested: int, budget: int) -> int:
    """Return how many processes to have: as many as requested and useful, and as leave the largest case that fits its room.

    Args:
        needs: bytes that each case takes.
        requested: processes at most.
        budget: bytes for all of them together.
    """
    largest = max((need for need in needs if PROCESS_BYTES + need <= budget), default=0)
    affordable = (budget - largest) // PROCESS_BYTES
    return max(1, min(requested, len(needs), affordable))


def next_to_start(waiting: Sequence[int], running: Sequence[int], room: int) -> int | None:
    """Return the position of the case to start next, or None to wait until one has finished.

    It is the first that fits beside the running ones. Where nothing runs it is the first one, whatever it needs: a case
    larger than the budget is evaluated alone, since an estimate is no reason to refuse it.

    Args:
        waiting: bytes that each waiting case takes.
        running: bytes that each running case takes.
        room: bytes for all running cases together.
    """
    if not waiting:
        return None
    if not running:
        return 0
    left = room - sum(running)
    return next((position for position, need in enumerate(waiting) if need <= left), None)
