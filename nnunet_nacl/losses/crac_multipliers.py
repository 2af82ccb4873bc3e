"""The multipliers of CRaC: what weights its constraints, and how that adapts to validation data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnunet_nacl.losses.targets import is_compiling

# From the authors' published configuration, github.com/Bala93/CRac, configs/lag/spatial_bndry_cls_aug_lag.yaml and the
# defaults of its class.
SMALLEST_MULTIPLIER = 1e-6
LARGEST_RHO = 10.0
RHO_GROWTH = 1.2
UPDATES_PER_RHO = 10
ENOUGH_PROGRESS = 0.9


@dataclass
class ConstraintSums:
    """The constraints of some batches, added up.

    Attributes:
        total: ``(2, K)``, float64: sum over the boundary voxels and over the inner ones, per channel.
        n_voxels: scalar, int64: voxels that count, of both kinds.
    """

    total: Tensor
    n_voxels: Tensor

    def __add__(self, other: ConstraintSums) -> ConstraintSums:
        """Return the sums of both."""
        return ConstraintSums(self.total + other.total, self.n_voxels + other.n_voxels)

    def mean(self) -> Tensor:
        """Return the mean constraint ``(2, K)`` on the CPU; NaN where no voxel counts."""
        return self.total.cpu() / self.n_voxels.cpu()


class Multipliers:
    r"""The multipliers :math:`\lambda` and :math:`\rho` for boundary and inner voxels of each channel.

    Args:
        channels: number of classes or regions K.
        rho: initial :math:`\rho`, above 0 and at most 10.
        largest: that :math:`\lambda` may become.

    Attributes:
        lambdas: ``(2, K)``, float64, on the CPU, first the boundary; 1e-6 at first.
        rhos: likewise.
        constraint: likewise, the mean constraint of the last update; NaN before.
        updates: how many there have been.
    """

    def __init__(self, channels: int, rho: float, largest: float) -> None:
        self.lambdas = torch.full((2, channels), SMALLEST_MULTIPLIER, dtype=torch.float64)
        self.rhos = torch.full((2, channels), rho, dtype=torch.float64)
        self.constraint = torch.full((2, channels), torch.nan, dtype=torch.float64)
        self.updates = 0
        self.largest = largest
        # what was sent to a device, in a dtype: the tables, their versions (PyTorch counts changes in place) and the copies
        self._sent: dict[tuple[torch.device, torch.dtype], tuple[tuple[Tensor, ...], list[int], list[Tensor]]] = {}

    def on(self, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        """Return the lambdas and the rhos, each ``(2, K)``, on a device and in a dtype; not to be changed.

        They are sent there when they have changed, and no more: each training step needs them, and could have to wait for a GPU that is
        busy with the one before.
        """
        tables = (self.lambdas, self.rhos)
        if is_compiling():
            return [table.to(dtype).to(device) for table in tables]
        sent, versions, copies = self._sent.get((device, dtype), ((), [], []))
        now = [0 if table.is_inference() else table._version for table in tables]
        if versions != now or any(one is not other for one, other in zip(sent, tables, strict=True)):
            copies = [table.to(dtype).to(device) for table in tables]
            self._sent[device, dtype] = tables, now, copies
        return copies

    def update(self, sums: ConstraintSums) -> None:
        r"""Adapt the multipliers to an epoch's validation data.

        :math:`\lambda` becomes the mean over the voxels of the penalty's derivative, :math:`\max(0, \lambda + \rho h)`. A
        voxel of the other kind has h = 0 there, and neither h nor :math:`\lambda` is negative, so that is
        :math:`\lambda + \rho \bar h` with the mean constraint over all voxels. Each tenth time :math:`\rho` grows by a
        fifth, up to 10, where the mean constraint is more than 0.9 of what it was one update before.

        A mean that is not finite (a network that diverged, no voxel that counts) changes nothing.
        """
        mean = sums.mean()
        usable = mean.isfinite()
        grown = (self.lambdas + self.rhos * mean).clamp(SMALLEST_MULTIPLIER, self.largest)
        self.lambdas = torch.where(usable, grown, self.lambdas)
        self.updates += 1
        if self.updates % UPDATES_PER_RHO == 0:
            # not true of NaN, before the first update
            stuck = usable & (mean > ENOUGH_PROGRESS * self.constraint)
            self.rhos = torch.where(stuck, (RHO_GROWTH * self.rhos).clamp(max=LARGEST_RHO), self.rhos)
        self.constraint = torch.where(usable, mean, self.constraint)

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` takes, as plain numbers and lists."""
        tables = {name: getattr(self, name).tolist() for name in ("lambdas", "rhos", "constraint")}
        return tables | {"updates": self.updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned.

        Raises:
            ValueError: it is of another number of channels.
        """
        for name in ("lambdas", "rhos", "constraint"):
            table = torch.tensor(state[name], dtype=torch.float64)
            if table.shape != self.lambdas.shape:
                raise ValueError(
                    f"Expected argument `state` to hold {name} of shape {tuple(self.lambdas.shape)}, but got "
                    f"{tuple(table.shape)}."
                )
            setattr(self, name, table)
        self.updates = int(state["updates"])
