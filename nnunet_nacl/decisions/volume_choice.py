"""Which way to measure a volume and its error, chosen on some patients and fitted on the others.

A way that looks narrow on the cases that also give its bounds is partly narrow by chance, and its intervals then hold less often than they
say. So the choice is made on a third of the patients, and the bounds come from the other two thirds, for which any way chosen
without them is as good as one fixed beforehand: the split of Yang and Kuchibhotla, arXiv 2104.13871 ("validity first").
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.decisions.conformal import smallest_number
from nnunet_nacl.decisions.volumes import (
    WAYS,
    VolumeInterval,
    Volumes,
    checked_reference,
    errors_of,
    fit_bounds,
    patients,
    quantile,
    scale_of,
)

ONE_IN = 3
"""Of so many patients one is for the choice."""


def n_for_choice(n_patients: int, level: float) -> int:
    """Return on how many patients the way is chosen: 0 where the others would be too few for the level.

    >>> n_for_choice(27, 0.9), n_for_choice(28, 0.9), n_for_choice(100, 0.9)
    (0, 9, 33)
    """
    number = n_patients // ONE_IN
    return number if n_patients - number >= smallest_number(level) else 0


def fewest_for_choice(level: float) -> int:
    """Return how many patients a choice needs: 28 at a level of 0.9."""
    number = smallest_number(level)
    while not n_for_choice(number, level):
        number += 1
    return number


def fit_interval(
    reference: ArrayLike, volumes: Volumes, level: float = 0.9, groups: ArrayLike | None = None
) -> VolumeInterval:
    """Return the interval that the errors of evaluated cases give.

    With fewer patients than :func:`fewest_for_choice` (28 at a level of 0.9), or without probabilities, the way is ``hard``, without a
    look at the others. Source: split conformal prediction (Vovk et al. 2005), over patients by Lee et al., arXiv 2306.06342.

    Args:
        reference: ``(N,)`` true volumes in ml, at least 0: a structure that is absent counts like any other.
        volumes: what was predicted for the same cases, by networks that were not trained on them.
        level: probability with which the true volume of a new case is to lie inside, above 0 and below 1.
        groups: ``(N,)``, the patient of each case; each case its own patient if None.

    Raises:
        ValueError: values that are not finite or below 0, another number of cases or groups, a level outside (0, 1), or fewer patients
            than it needs (:func:`~nnunet_nacl.decisions.conformal.smallest_number`: 19 at 0.9).

    >>> hard = np.linspace(1.0, 3.0, 40)
    >>> truth = hard * np.tile([0.9, 1.0, 1.1, 1.0], 10)
    >>> low, high = fit_interval(truth, Volumes(hard, np.full(40, 0.001))).apply(Volumes(np.array([2.0]), np.array([0.001])))
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([1.8], [2.2])
    """
    truth = checked_reference(reference, volumes)
    bounds = fit_bounds(truth, volumes, level, groups)
    of = np.arange(len(volumes)) if groups is None else np.asarray(groups)
    choice = _for_choice(truth, volumes, of, level)
    if not choice.any():
        return VolumeInterval(level, bounds, WAYS[0], bounds[WAYS[0]])
    way = choose_way(truth[choice], volumes[choice], level, of[choice])
    return VolumeInterval(level, bounds, way, fit_bounds(truth[~choice], volumes[~choice], level, of[~choice])[way])


def choose_way(reference: ArrayLike, volumes: Volumes, level: float, groups: ArrayLike | None = None) -> str:
    """Return the way with the narrowest intervals between the quantiles of these cases' own errors.

    Widths are log ratios of the ends, in the mean over cases, since tiny volumes would dominate relative ones.
    """
    truth, width = checked_reference(reference, volumes), {}
    for way in volumes.ways:
        errors = errors_of(truth, volumes, way)
        ends = (quantile(errors, share, groups) for share in ((1 - level) / 2, (1 + level) / 2))
        low, high = ends
        width[way] = (high - low) * float(scale_of(volumes, way).mean())
    return min(width, key=width.__getitem__)  # the first of equals, which needs the least


def _for_choice(
    truth: NDArray[np.float64], volumes: Volumes, of: NDArray[np.generic], level: float
) -> NDArray[np.bool_]:
    """Return the cases for the choice, ``(N,)`` bool.

    Patients are drawn as good as by chance, and the same ones in whatever order the cases come: they are sorted by their volumes, and a hash
    of all of these seeds the draw.
    """
    chosen = np.zeros(len(volumes), bool)
    if len(volumes.ways) == 1:
        return chosen
    probable = [volumes.soft] if volumes.spread is None else [volumes.soft, volumes.spread]
    rows = np.stack([truth, volumes.hard, *probable], 1) / volumes.voxel[:, None]  # type: ignore[list-item]
    rows[:, :2] = np.rint(rows[:, :2])
    members = sorted(patients(of), key=lambda mask: sorted(map(tuple, rows[mask])))
    counts = [sorted(map(tuple, rows[mask, :2].astype(np.int64).tolist())) for mask in members]
    seed = hashlib.sha256(repr(counts).encode()).hexdigest()
    drawn = sorted(range(len(members)), key=lambda place: hashlib.sha256(f"{seed} {place}".encode()).digest())
    for place in drawn[: n_for_choice(len(members), level)]:
        chosen |= members[place]
    return chosen
