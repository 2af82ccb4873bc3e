"""Intervals for the true volume of a structure in a new case, from the errors seen in evaluated ones.

The error of a case is the log ratio r = log((V + e) / (v + e)) of its true volume V and its predicted volume v, where e is
:data:`FLOOR_VOXELS` voxels of that case: so a structure that is absent, predicted or not, has a finite error, which counts like any
other, and errors of a few voxels in a tiny structure do not dwarf all else. Two-sided conformal bounds of r
(:mod:`~nnunet_nacl.decisions.conformal`) become bounds of V. They need no model of the errors and correct a bias by themselves, since
errors keep their sign.

Four ways to measure v and r, all with the same guarantee, since each is a function of the case alone: v from the segmentation
(``hard``) or as the sum of the probabilities (``soft``); r as it is, or divided by the case's own uncertainty
(sum p (1 - p) + e) / (v + e), which makes the interval wider where the network is unsure (``adaptive``). The one with the smallest mean
relative width in leave-one-out is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.decisions.conformal import smallest_number, two_sided_bounds
from nnunet_nacl.decisions.coverage import binomial_interval, coverage

FLOOR_VOXELS = 10
"""What is added to both volumes, in voxels of the case, before their ratio is taken."""

SLACK = 1e-9
"""ml; ends and volumes are whole voxels up to rounding."""

WAYS = ("hard", "soft", "hard_adaptive", "soft_adaptive")
"""How a volume and its error are measured; the first needs no probabilities."""


@dataclass(frozen=True)
class Volumes:
    """The volumes of one structure, a case an entry, each ``(N,)`` float64 in ml.

    Attributes:
        hard: of the segmentation.
        voxel: of one voxel.
        soft: sum of the probabilities; None where there are segmentations alone.
        spread: sum of p (1 - p); None likewise, and for results that were written without it.
    """

    hard: NDArray[np.float64]
    voxel: NDArray[np.float64]
    soft: NDArray[np.float64] | None = None
    spread: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.soft is None and self.spread is not None:
            raise ValueError("Expected `soft` beside `spread`.")
        for field in fields(self):
            given = getattr(self, field.name)
            if given is None:
                continue
            values = np.asarray(given, np.float64)
            if values.ndim != 1 or values.shape != np.shape(self.hard):
                raise ValueError(
                    f"Expected `{field.name}` to have shape {np.shape(self.hard)}, but got {values.shape}."
                )
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise ValueError(f"Expected `{field.name}` to be finite and at least 0, in ml.")
            object.__setattr__(self, field.name, values)
        if not (self.voxel > 0).all():
            raise ValueError("Expected `voxel` to be above 0, in ml.")

    def __len__(self) -> int:
        return int(self.hard.size)

    def __getitem__(self, cases: NDArray[np.bool_] | NDArray[np.intp]) -> Volumes:
        """Return some of the cases."""
        some = [None if values is None else values[cases] for values in (self.soft, self.spread)]
        return Volumes(self.hard[cases], self.voxel[cases], *some)

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that these cases allow."""
        return WAYS[:1] if self.soft is None else WAYS[:2] if self.spread is None else WAYS


@dataclass(frozen=True)
class VolumeInterval:
    """Bounds fitted for one structure: log ratios, per way, and which way is used where probabilities are at hand."""

    level: float
    bounds: Mapping[str, tuple[float, float]]
    chosen: str

    def way_for(self, volumes: Volumes) -> str:
        """Return the chosen way, or the nearest to it that needs no more than there is."""
        return next(way for way in (self.chosen, self.chosen.partition("_")[0], WAYS[0]) if way in volumes.ways)

    def apply(self, volumes: Volumes, way: str | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper ends of new cases, each ``(N,)`` float64 in ml.

        They are widened to whole voxels, since a true volume has no others, and are never below 0.

        Args:
            volumes: of the new cases.
            way: one of :data:`WAYS`; that of :meth:`way_for` by default.

        Raises:
            ValueError: the way needs probabilities that are not there, or was not fitted.
        """
        way = way or self.way_for(volumes)
        if way not in volumes.ways or way not in self.bounds:
            raise ValueError(
                f"Expected argument `way` to be one of {', '.join(self.bounds)} with what it needs, but got {way}."
            )
        return _ends(volumes, way, *self.bounds[way])


def fit_interval(
    reference: ArrayLike, volumes: Volumes, level: float = 0.9, groups: ArrayLike | None = None
) -> VolumeInterval:
    """Return the interval that the errors of evaluated cases give.

    Args:
        reference: ``(N,)`` true volumes in ml, at least 0.
        volumes: what was predicted for the same cases, by networks that were not trained on them.
        level: probability with which the true volume of a new case is to lie inside.
        groups: ``(N,)``, the patient of each case; each case its own patient if None.

    Raises:
        ValueError: unusable values, or fewer patients than the level needs (:func:`~nnunet_nacl.decisions.conformal.smallest_number`).

    >>> hard = np.linspace(1.0, 3.0, 40)
    >>> truth = hard * np.tile([0.9, 1.0, 1.1, 1.0], 10)
    >>> low, high = fit_interval(truth, Volumes(hard, np.full(40, 0.001))).apply(Volumes(np.array([2.0]), np.array([0.001])))
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([1.8], [2.2])
    """
    bounds = fit_bounds(reference, volumes, level, groups)
    left_out = leave_one_out(reference, volumes, level, groups)
    return VolumeInterval(level, bounds, choose_way(reference, volumes, left_out, level, groups))


def fit_bounds(
    reference: ArrayLike, volumes: Volumes, level: float = 0.9, groups: ArrayLike | None = None
) -> dict[str, tuple[float, float]]:
    """Return the bounds of the errors, per way; arguments and errors as in :func:`fit_interval`."""
    truth = _checked_reference(reference, volumes)
    _check_enough(len(volumes), level, groups)
    return {way: two_sided_bounds(_errors(truth, volumes, way), level, groups) for way in volumes.ways}


def leave_one_out(
    reference: ArrayLike, volumes: Volumes, level: float = 0.9, groups: ArrayLike | None = None
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return, per way, the ends of each case's interval fitted without its patient, each ``(N,)`` float64 in ml.

    With the smallest number of patients that the level allows, those intervals are infinite: one patient less is too few.
    """
    truth = _checked_reference(reference, volumes)
    of = np.arange(len(volumes)) if groups is None else np.asarray(groups)
    result = {}
    for way in volumes.ways:
        errors = _errors(truth, volumes, way)
        bounds = np.tile([[-np.inf], [np.inf]], len(volumes))
        for inside in _patients(of):
            others = ~inside
            if others.any():
                bounds[:, inside] = np.transpose(
                    [two_sided_bounds(errors[others], level, None if groups is None else of[others])]
                )
        result[way] = _ends(volumes, way, bounds[0], bounds[1])
    return result


def choose_way(
    reference: ArrayLike,
    volumes: Volumes,
    ends: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    level: float,
    groups: ArrayLike | None = None,
) -> str:
    """Return the valid way with the narrowest intervals, relative to the predicted volume, in the mean over cases left out.

    Valid is a way whose share of covered cases is not below the level beyond chance (its 95 % binomial interval reaches the level); of
    ways none of which is, the one that covers most. The guarantee is that of a way fixed beforehand: choosing among four costs a little of it
    (docs/decisions.md has how much).

    Args:
        ends: of :func:`leave_one_out`; the other arguments are those of :func:`fit_interval`.
    """
    truth = _checked_reference(reference, volumes)
    n_units = len(volumes) if groups is None else np.unique(np.asarray(groups)).size
    share = {
        way: coverage((low <= truth + SLACK) & (truth <= high + SLACK), groups) for way, (low, high) in ends.items()
    }
    valid = [way for way in ends if binomial_interval(share[way], n_units)[1] >= level]
    if not valid:
        return max(share, key=share.__getitem__)
    return narrowest({way: ends[way] for way in valid}, volumes)


def narrowest(ends: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], volumes: Volumes) -> str:
    """Return the way whose intervals are narrowest, relative to the predicted volume, in the mean over cases."""
    width = {way: float(relative_width(low, high, volumes).mean()) for way, (low, high) in ends.items()}
    return min(width, key=width.__getitem__)  # the first of equals, which needs the least


def relative_width(low: ArrayLike, high: ArrayLike, volumes: Volumes) -> NDArray[np.float64]:
    """Return the width of each interval over the predicted volume, :data:`FLOOR_VOXELS` voxels added: ``(N,)`` float64."""
    floor = FLOOR_VOXELS * volumes.voxel
    return np.asarray((np.asarray(high) - np.asarray(low)) / (volumes.hard + floor))


def _patients(groups: NDArray[np.generic]) -> Iterator[NDArray[np.bool_]]:
    _, patient = np.unique(groups, return_inverse=True)
    for number in range(int(patient.max()) + 1):
        yield patient == number


def _ends(
    volumes: Volumes, way: str, lowest: float | NDArray[np.float64], highest: float | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends in ml that bounds of the errors give, whole voxels and at least 0."""
    base, floor, scale = _base(volumes, way), FLOOR_VOXELS * volumes.voxel, _scale(volumes, way)
    with np.errstate(over="ignore"):  # a case that is far more unsure than those of the fit may have no upper end
        low, high = ((base + floor) * np.exp(end * scale) - floor for end in (lowest, highest))
    # whole voxels, up to rounding of the logarithm and its inverse
    low = np.floor(low / volumes.voxel + 1e-6) * volumes.voxel
    high = np.ceil(high / volumes.voxel - 1e-6) * volumes.voxel
    return np.maximum(low, 0.0), np.maximum(high, 0.0)


def _errors(truth: NDArray[np.float64], volumes: Volumes, way: str) -> NDArray[np.float64]:
    floor = FLOOR_VOXELS * volumes.voxel
    return np.asarray(np.log((truth + floor) / (_base(volumes, way) + floor)) / _scale(volumes, way))


def _base(volumes: Volumes, way: str) -> NDArray[np.float64]:
    base = volumes.soft if way.startswith("soft") else volumes.hard
    assert base is not None
    return base


def _scale(volumes: Volumes, way: str) -> NDArray[np.float64]:
    """Return what errors are divided by: 1, or the uncertainty of the case relative to its volume."""
    if not way.endswith("adaptive"):
        return np.ones(len(volumes))
    assert volumes.spread is not None
    floor = FLOOR_VOXELS * volumes.voxel
    return np.asarray((volumes.spread + floor) / (_base(volumes, way) + floor))


def _checked_reference(reference: ArrayLike, volumes: Volumes) -> NDArray[np.float64]:
    truth = np.asarray(reference, np.float64)
    if truth.shape != (len(volumes),) or not (np.isfinite(truth).all() and (truth >= 0).all()):
        raise ValueError(
            f"Expected argument `reference` to be finite, at least 0 and of shape ({len(volumes)},), in ml."
        )
    return truth


def _check_enough(n_cases: int, level: float, groups: ArrayLike | None) -> None:
    patients = n_cases if groups is None else np.unique(np.asarray(groups)).size
    if patients < smallest_number(level):
        raise ValueError(
            f"An interval at level {level:g} needs at least {smallest_number(level)} patients, but got {patients}."
        )
