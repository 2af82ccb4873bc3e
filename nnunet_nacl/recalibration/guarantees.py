"""What each method of recalibration keeps and needs. No heavy import: the command's help shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Guarantees:
    """What holds for every fitted map of a method.

    Attributes:
        keeps_argmax: no voxel changes its predicted class (regions: no voxel crosses the threshold of 0.5).
        keeps_order: no two classes of a voxel change places.
        into_model: whether ``share --temperature`` can put it into a network.
        volumes: measured, not guaranteed: of how many soft volumes (two structures of four trainers, each case with what was fitted on
            other folds) the bias became smaller; docs/results/recalibration-methods.md.
        parameters: how many, for K classes; for regions K is 2, and each region has its own.
        voxel_set: what it is fitted on unless told otherwise.
        what: the map in one line.
    """

    keeps_argmax: bool
    keeps_order: bool
    into_model: bool
    volumes: str
    parameters: str
    voxel_set: str
    what: str


GUARANTEES: Mapping[str, Guarantees] = MappingProxyType(
    {
        "by-prediction": Guarantees(True, True, False, "8 of 8", "K", "all", "a temperature by predicted class"),
        "temperature": Guarantees(True, True, True, "0 of 8", "1", "predicted", "one temperature"),
        "margins": Guarantees(True, False, False, "8 of 8", "2 K (K - 1)", "all", "slope and offset for each pair"),
        "per-class": Guarantees(False, False, False, "7 of 8", "K", "predicted", "a factor for each class"),
    }
)
"""By the name of the method, the default first."""

DEFAULT_METHOD = next(iter(GUARANTEES))


def guarantee_lines() -> list[str]:
    """Return the table as lines that a terminal holds."""
    head = f"{'method':13} {'numbers':11} {'argmax':6} {'order':6} {'volumes':7} {'in model':8} {'fitted on':9} map"
    rows = [
        f"{name:13} {each.parameters:11} {_kept(each.keeps_argmax):6} {_kept(each.keeps_order):6} {each.volumes:7} "
        f"{'yes' if each.into_model else 'no':8} {each.voxel_set:9} {each.what}"
        for name, each in GUARANTEES.items()
    ]
    return [head, *rows]


def _kept(kept: bool) -> str:
    return "kept" if kept else "moves"
