"""Marks behind a trainer's name in the tables, and what they mean (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Iterable

from nnunet_nacl.results_page.convergence import not_converged
from nnunet_nacl.results_page.markdown import code, wrapped
from nnunet_nacl.results_page.scores import greyed_out
from nnunet_nacl.results_page.task_results import TaskResults
from nnunet_nacl.study.verdict import GREYED_OUT_BELOW

GREYED_OUT, NOT_CONVERGED = "†", "‡"


class Marks:
    """Names of trainers with their marks, and the footnotes."""

    def __init__(self, results: TaskResults) -> None:
        """Find out who is marked."""
        self._marked = {GREYED_OUT: greyed_out(results), NOT_CONVERGED: not_converged(results)}
        self._baseline = results.study.baseline

    def name(self, trainer: str, training: int = 1) -> str:
        """Return a trainer's name with its marks, and which training of it where that is not the first."""
        marks = "".join(mark for mark, marked in self._marked.items() if trainer in marked)
        which = f", training {training}" if training > 1 else ""
        return f"{code(trainer)}{which} {marks}".rstrip()

    def footnotes(self, trainers: Iterable[str]) -> list[str]:
        """Return what the marks of these trainers mean, a paragraph each."""
        shown = set(trainers)
        meaning = {
            GREYED_OUT: f"mean Dice more than {-GREYED_OUT_BELOW:.2f} below that of {code(self._baseline)}: its calibration figures are greyed "
            "out by the protocol. A network that does not segment can have a small calibration error, and no use.",
            NOT_CONVERGED: "not converged in every fold (see the learning curves): shown, and no claim rests on it.",
        }
        return [wrapped(f"{mark} {meaning[mark]}") for mark, marked in self._marked.items() if marked & shown]
