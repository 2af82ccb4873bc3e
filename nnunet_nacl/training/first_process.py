"""Which of several processes writes files."""

from __future__ import annotations

from typing import Any


def is_first_process(trainer: Any) -> bool:
    """Return whether this process is the one of a training that writes.

    nnU-Net 2.8 counts all processes in ``local_rank``. Its branch for several nodes (feature/cross-node-ddp) counts those of a
    node there, so that each node has a 0, and all in ``global_rank``.

    Args:
        trainer: of nnU-Net.
    """
    rank: int = getattr(trainer, "global_rank", trainer.local_rank)
    return rank == 0
