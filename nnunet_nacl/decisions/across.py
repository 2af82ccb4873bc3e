"""Whether what was fitted on some results holds in another one: each fold's network is another network.

Leaving out cases one by one never asks that, since the network of a left-out case is known by its other cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.decisions.conformal import smallest_number
from nnunet_nacl.decisions.coverage import binomial_interval, chance_of_so_few, coverage

CHANCE = 0.05
"""Below this, shared among the results, what a result left out does is more than chance explains."""

Covers = Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[np.bool_]]
"""Takes which cases are fitted on and which are asked for, and returns for each of the latter whether its bounds hold."""


def each_left_out(
    parts: Sequence[str], units: NDArray[Any]
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Give each result in order: its name, its cases ``(N,)``, and those of other results to fit on, without its patients."""
    of = np.asarray(parts)
    for part in sorted(set(parts)):
        own = of == part
        yield part, own, ~own & ~np.isin(units, units[own])


def across_results(
    parts: Sequence[str],
    groups: Sequence[str] | None,
    level: float,
    covers: Covers,
    *,
    two_sided: bool = True,
    n_for_choice: Callable[[int, float], int] = lambda n_patients, level: 0,
) -> dict[str, Any] | None:
    """Return how often the bounds that the other results give hold in each result, as plain values.

    Args:
        parts: ``(N,)``, the result of each case.
        groups: ``(N,)``, its patient; a patient who is in two results is not fitted on for the other.
        level: of the bounds.
        covers: fits and asks.
        two_sided: whether either end may be missed.
        n_for_choice: of how many patients fitted on, at this level, some do not enter the bounds, and how many do not.

    Returns:
        None with a single result. ``coverage`` is that of all results that can be measured, None without one; ``not_checked``: why
        others cannot be.
    """
    units = np.arange(len(parts)) if groups is None else np.asarray(groups)
    inside, measured = np.zeros(len(parts), bool), np.zeros(len(parts), bool)
    each: dict[str, float] = {}
    below, unknown, n_results = [], {}, len(set(parts))
    if n_results < 2:
        return None
    needed = smallest_number(level, two_sided=two_sided)
    patients = "cases" if groups is None else "patients"
    for part, own, known in each_left_out(parts, units):
        n_new, n_known = (np.unique(units[cases]).size for cases in (own, known))
        if n_known < needed:
            unknown[part] = f"{n_known} {patients} are only in other results, {needed} are needed"
            continue
        inside[own], measured[own] = covers(known, own), True
        each[part] = coverage(inside[own], units[own])
        if (
            chance_of_so_few(each[part], n_new, n_known - n_for_choice(n_known, level), level, two_sided=two_sided)
            < CHANCE / n_results
        ):
            below.append(part)
    share = coverage(inside[measured], units[measured]) if each else None
    return {
        "coverage": share,
        "coverage_interval": None if share is None else list(binomial_interval(share, np.unique(units[measured]).size)),
        "of_each": each,
        "below_the_level": below,
        "not_checked": unknown,
    }


def in_words(name: str, what: str, across: dict[str, Any] | None, level: float) -> list[str]:
    """Return what a user has to know of the check, in sentences: which results contradict the level, and which could not be checked."""
    if across is None:
        return []
    found = []
    if below := across["below_the_level"]:
        shares = " and ".join(f"{across['of_each'][part]:.2f} of {part}" for part in below)
        found.append(
            f"{name}: fitted on the other results, {what} held in {shares}, where {level:g} is expected: these networks differ, so it need not hold "
            "for another network, or an ensemble"
        )
    if unknown := across.get("not_checked"):  # of files that were written before it was said there is none
        found.append(f"{name}: whether {what} of the other results holds could not be checked in {reasons(unknown)}")
    return found


def reasons(unknown: Mapping[str, str]) -> str:
    """Return in words which results could not be checked, and why."""
    return "; ".join(f"{part} ({reason})" for part, reason in unknown.items())
