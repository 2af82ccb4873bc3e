"""Whether a training was long enough: the rule of docs/protocol.md, and what makes a flat curve worth nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nnunet_nacl.benchmark.curves.learning_curves import Curve, mean_of_logged

MIN_ITERATIONS = 3000
MAX_RISE = 0.01
ZERO_DICE = 0.01
"""A class whose pseudo Dice stays below is not found; in real runs it is exactly 0."""


@dataclass(frozen=True)
class Convergence:
    """How long a training was, and whether it had come to rest.

    Attributes:
        iterations: training iterations.
        before: mean pseudo Dice over the tenth of the epochs that starts at three quarters; NaN where it cannot be told.
        last: the same over the last tenth.
        never_learned: names of the classes that were not found in any epoch.
        lost: names of those that were, but not in the last tenth.
        why_not: why the run does not count as converged, in words; empty if it does.
    """

    iterations: int
    before: float
    last: float
    never_learned: tuple[str, ...]
    lost: tuple[str, ...]
    why_not: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether it was long enough, is flat, and finds every class."""
        return not self.why_not

    @property
    def rise(self) -> float:
        """By how much the pseudo Dice grew between the two tenths; NaN where it cannot be told."""
        return self.last - self.before

    @property
    def long_enough(self) -> bool:
        """Whether there were as many iterations as the protocol asks for."""
        return self.iterations >= MIN_ITERATIONS

    @property
    def flat(self) -> bool:
        """Whether the curve has come to rest; False where it cannot be told."""
        return bool(self.rise <= MAX_RISE)


def convergence(curve: Curve) -> Convergence:
    """Apply the rule to a curve."""
    earlier, last = windows(curve.epochs)
    apart = earlier.stop <= last.start
    before, end = (mean_of_logged(curve.dice[part]) if apart else np.nan for part in (earlier, last))
    found = Convergence(curve.iterations, before, end, *_not_found(curve, last), why_not=())
    return replace(found, why_not=tuple(_why_not(curve, found, apart)))


def windows(epochs: int) -> tuple[slice, slice]:
    """Return the epochs that are compared: the tenth that starts at three quarters and the last, at least two epochs each.

    In fewer than 13 epochs the two overlap, and comparing them says nothing.
    """
    width = max(2, epochs // 10)
    start = 3 * epochs // 4
    return slice(start, start + width), slice(max(epochs - width, 0), epochs)


def _why_not(curve: Curve, found: Convergence, apart: bool) -> list[str]:
    reasons = []
    if not curve.finished:
        reasons.append(f"not finished (epoch {curve.epochs})")
    if not np.isfinite(curve.train_loss[-1]):
        reasons.append("its loss is no number")
    if not found.long_enough:
        reasons.append(f"{found.iterations} of {MIN_ITERATIONS} iterations")
    if not apart:
        reasons.append(f"{curve.epochs} epochs are too few to see whether it is flat")
    elif not found.flat:
        reasons.append(f"pseudo Dice not flat: {found.before:.3f}, then {found.last:.3f}")
    if found.never_learned:
        reasons.append(f"a class was never learned: {', '.join(found.never_learned)}")
    if found.lost:
        reasons.append(f"a class is no longer found: {', '.join(found.lost)}")
    return reasons


def _not_found(curve: Curve, last: slice) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes with a pseudo Dice of 0 in all epochs, and those with one in the last ones only."""
    never: list[str] = []
    lost: list[str] = []
    for name, dice in zip(curve.classes, curve.class_dice.T, strict=True):
        at_the_end = dice[last]
        # NaN: no voxel of it in the patches, which says nothing
        if np.isnan(at_the_end).all() or np.nanmax(at_the_end) >= ZERO_DICE:
            continue
        (lost if np.nanmax(dice) >= ZERO_DICE else never).append(name)
    return tuple(never), tuple(lost)
