"""A job of a study, and a training that its jobs are about."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from nnunet_nacl.benchmark.plan.places import later


@dataclass(frozen=True)
class Training:
    """One training of a trainer, all its folds once."""

    trainer: str
    number: int

    @property
    def path(self) -> str:
        """Of the names of its jobs."""
        return "/".join((self.trainer, *later(self.number)))


@dataclass(frozen=True)
class Job:
    """One step of a study.

    Attributes:
        rule: kind of step; the rule in the Snakefile.
        name: unique, ``rule/dataset[/trainer[/training_N][/fold_N]]``.
        command: program and arguments.
        needs: names of the jobs that have to be done before.
        dataset: nnU-Net's name of the task.
        trainer: for train, evaluate, merge and recalibrate.
        fold: for train and evaluate.
        training: which training of its folds, the first is 1.
        variables: of the environment, beside those of the study.
    """

    rule: str
    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    dataset: str
    trainer: str | None = None
    fold: int | None = None
    training: int = 1
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def line(self) -> str:
        """The command for a shell."""
        return shlex.join([*self._prefix, *self.command])

    @property
    def _prefix(self) -> list[str]:
        return ["env", *(f"{name}={value}" for name, value in self.variables)] if self.variables else []
