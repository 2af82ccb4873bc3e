"""What the page says of the question whose unit is the training."""

from __future__ import annotations

from dataclasses import dataclass

from nnunet_nacl.report.names import score_name
from nnunet_nacl.report.number import fixed, interval, p_value
from nnunet_nacl.study.comparison import Comparison, Difference
from nnunet_nacl.study.trained_again import METHOD, TRAINED_AGAIN


@dataclass(frozen=True)
class TrainingsRow:
    """A score's difference over trainings, as text."""

    short: str
    voxel_set: str
    run: str
    difference: str
    interval: str
    p_value: str


@dataclass(frozen=True)
class TrainedAgainPart:
    """The rows of the runs that have an answer, how they were made, and a sentence for each run that has none."""

    question: str
    method: str
    rows: list[TrainingsRow]
    no_answer: list[str]


def prepare_trained_again(comparison: Comparison) -> TrainedAgainPart:
    """Return the differences over trainings of each run."""
    rows, no_answer = [], []
    for run in comparison.runs:
        held = comparison.of_run(run.name)
        answered = [difference for difference in held if not difference.again.reason]
        rows += [_row(difference) for difference in answered]
        if not answered and held:
            no_answer.append(f"{run.name}: {held[0].again.reason}.")
    return TrainedAgainPart(TRAINED_AGAIN, f"Mean over trainings; {METHOD}; p of each test alone.", rows, no_answer)


def _row(difference: Difference) -> TrainingsRow:
    again, quantity = difference.again, difference.quantity
    short = score_name(quantity.score).short
    return TrainingsRow(
        short=f"|{short}|" if difference.absolute else short,
        voxel_set=quantity.voxel_set or "class mean",
        run=difference.run,
        difference=fixed(again.difference, True, 4),
        interval=interval(again.low, again.high),
        p_value=p_value(again.p),
    )
