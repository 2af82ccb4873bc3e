"""What a method of recalibration is: it fits a map on voxels that stream by, and the map turns probabilities into better ones.

A method sees one classification problem: the K classes, or a region's outside and inside. Voxels come as log probabilities, which are
the logits up to a constant per voxel. A map gives each class a score whose softmax is the new probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from nnunet_nacl.calibration.arrays import Float64Array, FloatArray
from nnunet_nacl.calibration.temperature import Blocks

Voxels = Callable[[], Blocks]
"""Gives the voxels anew at each call: pairs of log probabilities ``(C, n)`` float32 and labels ``(n,)``."""

Kind = Literal["softmax", "sigmoid"]


class Map(Protocol):
    """A fitted recalibration of one problem of C classes."""

    @property
    def keeps_argmax(self) -> bool:
        """Whether the largest score is that of the class with the largest probability."""

    def scores(self, logarithm: FloatArray, prediction: NDArray[Any]) -> Float64Array:
        """Return ``(C, n)`` float64 scores of log probabilities ``(C, n)`` whose first largest is at ``prediction (n,)``."""


@dataclass(frozen=True)
class Remark:
    """Where a fit is not what a user would take it for.

    Attributes:
        what: ``separable``, no voxel is wrong, so that the likelihood has no maximum; ``flat``, all classes are equally probable
            in every voxel, so that no factor changes anything; ``no_voxel``, there is nothing to fit on; ``not_labelled``, a class
            that no voxel has as its label; ``at_bound``, the optimum is beyond the range of a factor. All but the last leave what
            they are about as it was given, or with the factor of its like.
        where: classes, or pairs of predicted and other class; empty: all of it.
    """

    what: Literal["separable", "flat", "no_voxel", "not_labelled", "at_bound"]
    where: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Fit:
    """A fitted map and how it came about.

    Attributes:
        map: what was fitted.
        n_voxels: voxels that the fit saw.
        nll_before, nll_after: their mean negative log likelihood, in nats, as given and with the map.
        evaluations: how often the voxels were gone through.
        converged: whether the optimiser says so.
        optimiser, message: which, and its last word.
        remarks: what to beware of.
    """

    map: Map
    n_voxels: int
    nll_before: float
    nll_after: float
    evaluations: int
    converged: bool
    optimiser: str
    message: str
    remarks: tuple[Remark, ...] = ()


class Method(Protocol):
    """One way to recalibrate; what its maps keep is in :data:`~nnunet_nacl.recalibration.guarantees.GUARANTEES`."""

    @property
    def name(self) -> str:
        """Its name on the command line and in the file."""

    @property
    def one_for_all_regions(self) -> bool:
        """Whether one map is fitted on the voxels of all regions together."""

    def fit(self, voxels: Voxels, num_classes: int, kind: Kind, start: Map | None = None) -> Fit:
        """Return the map of the highest likelihood.

        Args:
            voxels: to fit on; gone through once per evaluation.
            num_classes: C.
            kind: what the classes are: those of a softmax, or outside and inside of a region.
            start: a map of this method to start from, which changes the time taken but not the optimum.

        Raises:
            NoVoxelsError: no voxel at all.
        """

    def to_json(self, maps: Sequence[Any], kind: Kind, num_channels: int) -> dict[str, Any]:
        """Return the numbers of the maps of all problems in plain values."""

    def from_json(self, content: dict[str, Any], kind: Kind, num_channels: int) -> tuple[Map, ...]:
        """Return the maps of all problems.

        Raises:
            KeyError, TypeError, ValueError, ArithmeticError: the content is damaged.
        """
