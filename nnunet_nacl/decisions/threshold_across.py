"""Whether the threshold that some results give keeps the miss rate in another one: each fold's network is another network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import rel_entr

from nnunet_nacl.calibration.arrays import Float64Array
from nnunet_nacl.decisions.across import CHANCE, each_left_out, reasons
from nnunet_nacl.decisions.interval_over_patients import FEWEST, interval_over_patients
from nnunet_nacl.decisions.miss_rate import by_patient, controlled, smallest_number


def across_results(
    missed: Float64Array, level: float, parts: Sequence[str], groups: Sequence[str] | None
) -> dict[str, Any] | None:
    """Return the miss rate of each result at the threshold that the other results give, as plain values.

    Args:
        missed: ``(N, T)``, see :func:`~nnunet_nacl.decisions.miss_rate.miss_rates`.
        level: of the miss rate.
        parts: ``(N,)``, the result of each case.
        groups: ``(N,)``, its patient; a patient who is in two results is not fitted on for the other.

    Returns:
        None with a single result. ``of_each``: the mean over patients of each result that can be measured; ``above_the_level``: those in
        which it is above the level by more than chance explains; ``not_checked``: why that is not known of others.
    """
    units = np.arange(len(parts)) if groups is None else np.asarray(groups)
    n_results, each, above, unknown = len(set(parts)), {}, [], {}
    if n_results < 2:
        return None
    patients = "cases" if groups is None else "patients"
    for part, own, known in each_left_out(parts, units):
        new, _ = by_patient(missed[own], units[own])
        rates, _ = by_patient(missed[known], units[known])
        place = controlled(rates, level)
        if not len(new):
            unknown[part] = f"none of its {patients} has it"
        elif place is None:
            unknown[part] = (
                f"{_have(len(rates), patients)} it that {'is' if len(rates) == 1 else 'are'} only in other results, {smallest_number(level)} are needed"
            )
        else:
            at = new[:, place]
            each[part] = float(at.mean())
            if _is_above(at, rates[:, place], level, CHANCE / n_results):
                above.append(part)
            elif len(new) < FEWEST:
                unknown[part] = f"{_have(len(new), patients)} it, {FEWEST} are needed"
            elif interval_over_patients(at) is None and each[part] > level:
                unknown[part] = (
                    f"each of its {len(new)} {patients} misses {each[part]:.2f}, from which chance cannot be judged"
                )
    return {"of_each": each, "above_the_level": above, "not_checked": unknown}


def _is_above(missed: Float64Array, fitted: Float64Array, level: float, chance: float) -> bool:
    """Return whether new patients miss more than the level, and more than chance explains in them and in those of the fit.

    A threshold keeps the level on average over fits; that of one fit may miss more by itself. So new patients are compared with those of the fit,
    who miss ``fitted`` at it, by the limits of both means (Zou and Donner 2008, Statistics in Medicine 27, 1693-1702).

    Where there is no interval, with the level, by Hoeffding's inequality (1963, Theorem 1), which holds for any number of independent values in
    [0, 1]: their mean is at least m with a probability of at most exp(-n KL(m, level)).
    """
    mean, of_fit = float(missed.mean()), float(fitted.mean())
    if mean <= level:
        return False
    new, known = (interval_over_patients(each, 1 - 2 * chance, within=(0.0, 1.0)) for each in (missed, fitted))
    if new is not None:
        return mean - of_fit > math.hypot(mean - new[0], 0.0 if known is None else known[1] - of_fit)
    divergence = rel_entr(mean, level) + rel_entr(1 - mean, 1 - level)
    return bool(np.exp(-missed.size * divergence) < chance)


def in_words(name: str, across: Mapping[str, Any] | None, level: float) -> list[str]:
    """Return what a user has to know of the check, in sentences."""
    if across is None:
        return []
    found = []
    if above := across["above_the_level"]:
        shares = ", ".join(f"{across['of_each'][part]:.2f} of {part}" for part in above)
        found.append(
            f"{name}: fitted on the other results, {shares} was missed, where at most {level:g} is allowed: these networks differ, so the miss rate "
            "need not be kept for another network, or an ensemble"
        )
    if unknown := across["not_checked"]:
        found.append(
            f"{name}: whether the threshold of the other results keeps the miss rate could not be checked in {reasons(unknown)}"
        )
    return found


def _have(number: int, patients: str) -> str:
    return f"{number} {patients[:-1]} has" if number == 1 else f"{number} {patients} have"
