"""Intervals for the true volume of a structure in a new case, from the errors seen in evaluated ones.

The error of a case is the log ratio r = log((V + e) / (v + e)) of its true volume V and its predicted volume v, where e is
:data:`FLOOR_VOXELS` voxels of that case: so a structure that is absent, predicted or not, has a finite error, which counts like any
other, and errors of a few voxels in a tiny structure do not dwarf all else. Two-sided conformal bounds of r
(:mod:`~nnunet_nacl.decisions.conformal`) become bounds of V. They need no model of the errors and correct a bias by themselves, since
errors keep their sign.

Four ways to measure v and r, all with the same guarantee, since each is a function of the case alone: v from the segmentation
(``hard``) or as the sum of the probabilities (``soft``); r as it is, or divided by the case's own uncertainty
(sum p (1 - p) + e) / (v + e), which makes the interval wider where the network is unsure (``adaptive``). :mod:`~nnunet_nacl.decisions.volume_choice`
chooses one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnunet_nacl.decisions.conformal import case_weights, check_level, checked_groups, smallest_number, two_sided_bounds

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

    Volumes may be 0, and there may be no case (N = 0).

    Raises:
        ValueError: values that are not finite or below 0, a ``voxel`` of 0, other shapes, or ``spread`` without ``soft``.
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


class Bounds(NamedTuple):
    """What errors of a way lie between, and their median (patients weighing alike), which corrects the bias of a volume."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class VolumeInterval:
    """What was fitted for one structure.

    Attributes:
        level: of the intervals.
        bounds: of each way, from all cases. They are valid for a way that is named without a look at these cases.
        chosen: the way that was chosen.
        chosen_bounds: its bounds, from the patients that it was not chosen on; from all where there was no choice.
    """

    level: float
    bounds: Mapping[str, Bounds]
    chosen: str
    chosen_bounds: Bounds

    def way_for(self, volumes: Volumes) -> str:
        """Return the chosen way, or ``hard`` where what it needs is not there."""
        return self.chosen if self.chosen in volumes.ways else WAYS[0]

    def apply(self, volumes: Volumes, way: str | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lower and upper ends of new cases, each ``(N,)`` float64 in ml.

        They are widened to whole voxels, since a true volume has no others, and are never below 0. The upper end is infinite for a case
        that is far more unsure than those of the fit. Where the chosen way lacks its probabilities, ``hard`` with its bounds is used.

        Args:
            volumes: of the new cases.
            way: one of :data:`WAYS`, named without a look at the cases of the fit; that of :meth:`way_for` by default.

        Raises:
            ValueError: the way needs probabilities that are not there, or was not fitted.
        """
        name, bounds = self._used(volumes, way)
        return ends_of(volumes, name, bounds.low, bounds.high)

    def estimate(self, volumes: Volumes, way: str | None = None) -> NDArray[np.float64]:
        """Return the volumes corrected by the median error of the fit, ``(N,)`` float64 in ml; arguments and errors as in :meth:`apply`.

        An estimate lies in the interval of the same case.
        """
        name, bounds = self._used(volumes, way)
        return np.maximum(_moved(volumes, name, bounds.median), 0.0)

    def _used(self, volumes: Volumes, way: str | None) -> tuple[str, Bounds]:
        if way is None and self.chosen in volumes.ways and len(volumes.ways) > 1:
            return self.chosen, self.chosen_bounds
        way = way or WAYS[0]
        if way not in volumes.ways or way not in self.bounds:
            raise ValueError(
                f"Expected argument `way` to be one of {', '.join(self.bounds)} with what it needs, but got {way}."
            )
        return way, self.bounds[way]


def fit_bounds(
    reference: ArrayLike, volumes: Volumes, level: float = 0.9, groups: ArrayLike | None = None
) -> dict[str, Bounds]:
    """Return the bounds of the errors, per way.

    Arguments and errors as in :func:`~nnunet_nacl.decisions.volume_choice.fit_interval`.
    """
    truth = checked_reference(reference, volumes)
    _check_enough(len(volumes), level, groups)
    found = {}
    for way in volumes.ways:
        errors = errors_of(truth, volumes, way)
        low, high = two_sided_bounds(errors, level, groups)
        found[way] = Bounds(low, quantile(errors, 0.5, groups), high)
    return found


def quantile(errors: NDArray[np.float64], share: float, groups: ArrayLike | None = None) -> float:
    """Return the quantile of the errors themselves, of a share below 1, without a correction for a new case; patients weigh alike."""
    order, weights = np.argsort(errors, kind="stable"), case_weights(errors.size, groups)
    reached = np.cumsum(weights[order]) / weights.sum()
    upper = errors[order][np.argmax(reached >= share - 1e-12)]
    lower = errors[order][np.argmax(reached > share + 1e-12)]
    return float((lower + upper) / 2)  # the mean of the middle two where the share falls between them


def leave_one_out(
    reference: ArrayLike, volumes: Volumes, level: float = 0.9, groups: ArrayLike | None = None
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return, per way, the ends of each case's interval fitted without its patient, each ``(N,)`` float64 in ml.

    Arguments as in :func:`~nnunet_nacl.decisions.volume_choice.fit_interval`, but with too few patients the intervals go from 0 to
    infinity; so they do with the smallest number that the level allows, since one patient less is too few. How many of the
    plain intervals hold follows from the number of patients, whatever was predicted (but for ties and whole voxels): the ends are ranks of
    the errors. So their coverage is no evidence for or against a network; their widths are.

    Raises:
        ValueError: no case, groups of another length, a level outside (0, 1), or reference volumes that are not finite, below 0 or of another
            number of cases.
    """
    truth = checked_reference(reference, volumes)
    if not len(volumes):
        raise ValueError("Expected argument `volumes` to have at least one case, but got none.")
    check_level(level)
    of = np.arange(len(volumes)) if groups is None else checked_groups(groups, len(volumes))
    result = {}
    for way in volumes.ways:
        errors = errors_of(truth, volumes, way)
        bounds = np.tile([[-np.inf], [np.inf]], len(volumes))
        for inside in patients(of):
            others = ~inside
            if others.any():
                bounds[:, inside] = np.transpose(
                    [two_sided_bounds(errors[others], level, None if groups is None else of[others])]
                )
        result[way] = ends_of(volumes, way, bounds[0], bounds[1])
    return result


def relative_width(low: ArrayLike, high: ArrayLike, volumes: Volumes) -> NDArray[np.float64]:
    """Return the width of each interval over the predicted volume, :data:`FLOOR_VOXELS` voxels added: ``(N,)`` float64."""
    floor = FLOOR_VOXELS * volumes.voxel
    return np.asarray((np.asarray(high) - np.asarray(low)) / (volumes.hard + floor))


def patients(groups: NDArray[np.generic]) -> Iterator[NDArray[np.bool_]]:
    """Yield which cases are of a patient, ``(N,)`` bool, for each patient."""
    _, patient = np.unique(groups, return_inverse=True)
    for number in range(int(patient.max()) + 1):
        yield patient == number


def ends_of(
    volumes: Volumes, way: str, lowest: float | NDArray[np.float64], highest: float | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends in ml that bounds of the errors give, whole voxels and at least 0."""
    low, high = (_moved(volumes, way, end) for end in (lowest, highest))
    # whole voxels, up to rounding of the logarithm and its inverse
    low = np.floor(low / volumes.voxel + 1e-6) * volumes.voxel
    high = np.ceil(high / volumes.voxel - 1e-6) * volumes.voxel
    return np.maximum(low, 0.0), np.maximum(high, 0.0)


def errors_of(truth: NDArray[np.float64], volumes: Volumes, way: str) -> NDArray[np.float64]:
    """Return the error of each case, ``(N,)`` float64, as a way measures it."""
    floor = FLOOR_VOXELS * volumes.voxel
    return np.asarray(np.log((truth + floor) / (base_of(volumes, way) + floor)) / scale_of(volumes, way))


def _moved(volumes: Volumes, way: str, error: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the true volumes in ml that cases with this error have; below 0 by at most the floor."""
    floor = FLOOR_VOXELS * volumes.voxel
    with np.errstate(over="ignore"):  # a case that is far more unsure than those of the fit may have no upper end
        return np.asarray((base_of(volumes, way) + floor) * np.exp(error * scale_of(volumes, way)) - floor)


def base_of(volumes: Volumes, way: str) -> NDArray[np.float64]:
    """Return the predicted volumes that a way starts from, ``(N,)`` float64 in ml."""
    base = volumes.soft if way.startswith("soft") else volumes.hard
    assert base is not None
    return base


def scale_of(volumes: Volumes, way: str) -> NDArray[np.float64]:
    """Return what errors are divided by: 1, or the uncertainty of the case relative to its volume."""
    if not way.endswith("adaptive"):
        return np.ones(len(volumes))
    assert volumes.spread is not None
    floor = FLOOR_VOXELS * volumes.voxel
    return np.asarray((volumes.spread + floor) / (base_of(volumes, way) + floor))


def checked_reference(reference: ArrayLike, volumes: Volumes) -> NDArray[np.float64]:
    """Return true volumes as an array; ValueError if they do not go with the predicted ones."""
    truth = np.asarray(reference, np.float64)
    if truth.shape != (len(volumes),) or not (np.isfinite(truth).all() and (truth >= 0).all()):
        raise ValueError(
            f"Expected argument `reference` to be finite, at least 0 and of shape ({len(volumes)},), in ml."
        )
    return truth


def _check_enough(n_cases: int, level: float, groups: ArrayLike | None) -> None:
    patients = n_cases if groups is None else np.unique(checked_groups(groups, n_cases)).size
    if patients < smallest_number(level):
        raise ValueError(
            f"An interval at level {level:g} needs at least {smallest_number(level)} patients, but got {patients}."
        )
