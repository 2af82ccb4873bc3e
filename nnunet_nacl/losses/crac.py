"""Class- and region-adaptive constraints (CRaC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nnunet_nacl.losses.base import Loss, check_not_negative
from nnunet_nacl.losses.crac_multipliers import LARGEST_RHO, SMALLEST_MULTIPLIER, ConstraintSums, Multipliers
from nnunet_nacl.losses.cross_entropy import hard_cross_entropy
from nnunet_nacl.losses.gradient_in_forward import precise_sum, with_gradient
from nnunet_nacl.losses.neighborhood import Window, chunks
from nnunet_nacl.losses.targets import compute_dtype, count_valid, counted_logits, members_and_valid, sum_dtype


class CRaCLoss(Loss):
    r"""Cross-entropy plus NACL's constraint as an augmented Lagrangian, weighted by class and by region of the image.

    .. math::
        \mathcal L = \mathrm{CE}(l, y) + \frac{1}{|V|} \sum_{v \in V} \frac{1}{2K} \sum_k
        \lambda_{rk} h_k(v) + \frac{\rho_{rk}}{2} h_k(v)^2, \qquad
        h_k(v) = \begin{cases} |\tau_k(v) - l_k(v)| & r = \mathrm{boundary} \\
        |m \, \tau_k(v) - l_k(v)| & r = \mathrm{inner} \end{cases}

    with the soft class proportions :math:`\tau` of NACL (mean kernel) and :math:`r` the region that v lies in: ``boundary``
    where v's window holds more than one class, ``inner`` where it holds one. The 2K multipliers :math:`\lambda` and
    :math:`\rho` are no hyper-parameters: call :meth:`update` at the end of each epoch with the :meth:`constraint_sums` of
    validation batches (:class:`~nnunet_nacl.losses.crac_multipliers.Multipliers` has the rule). Until then
    :math:`\lambda` is 1e-6. They are part of ``state_dict()``.

    Source: Murugesan et al., "Class and Region-Adaptive Constraints for Network Calibration", MICCAI 2024, arXiv 2403.12364.
    Of the paper only the abstract, the start of the introduction and third parties' summaries could be read: one multiplier
    per class and region, learned with an augmented Lagrangian method; a voxel is inner where the patch around it in the
    label map is of one class. The formulas are those of the authors' published experiments (github.com/Bala93/CRac,
    ``SpatialBndClsAugLagrangian``): the constraints h, rho 0.1 and margin 5 (their README; 1 and 1 in their
    configuration), the mean over voxels and 2K multipliers (hence 1/2K: a voxel has one region), and the
    Powell-Hestenes-Rockafellar penalty :math:`\lambda h + \rho h^2 / 2` where :math:`\lambda + \rho h \ge 0`, else
    :math:`- \lambda^2 / 2 \rho`. As h is not negative, the second branch never happens and :math:`\lambda` can only grow.
    Their code takes a voxel as boundary where the sum of float32 differences to the window's mean label is not 0, which
    depends on rounding, and pads the label map with background; here it is as the paper has it, with NACL's window.

    Where the penalty rules, the logits are ``margin`` and 0 in the interior (a confidence of 0.987 for K = 3) and between 0
    and 1 at boundaries.

    Args:
        margin: :math:`m`, not negative.
        rho: initial :math:`\rho`, above 0 and at most 10.
        kernel_size: odd side of the neighbourhood in voxels, one for all axes or one per axis.
        max_lambda: largest :math:`\lambda`. The authors' 1e6 is no bound in practice.
        ignore_label: label of voxels that neither count as neighbours nor enter the loss; unused with regions.
        regions: one sigmoid per region instead of a softmax over classes. Cross-entropy becomes binary cross-entropy (mean
            over regions), the proportion of a region is the share of the neighbours inside it, and each region has its own
            boundary: where the window holds voxels inside and outside of it.

    Shape:
        - logits: ``(B, K, *spatial)``, one to three spatial axes, at least one voxel, any floating dtype; computed in float32
          (float64 stays). K is taken from the first batch.
        - target: ``(B, 1, *spatial)`` or ``(B, *spatial)``, whole numbers in any integer or float dtype (fractions are cut off).
          With regions ``(B, R, *spatial)`` of 0 and 1 (above 0.5 is 1, NaN is 0), or ``(B, R + 1, *spatial)`` whose last channel is
          1 at voxels to ignore.
        - output: scalar in the dtype of the computation; 0 with a zero gradient where every voxel is ignored. A NaN logit makes it NaN,
          an infinite one may, unless the voxel is ignored.

    Raises:
        TypeError: logits that are not floating point.
        ValueError: a parameter out of its range; another K than in the first batch; shapes that do not go together; no voxel; a label that is no class
            and not the ignore label (not looked at on a GPU and under ``torch.compile``: there PyTorch's assertion on an index fails).
        RuntimeError: a second derivative is asked for (``create_graph=True``).

    Example:
        >>> import torch
        >>> loss = CRaCLoss()
        >>> logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
        >>> loss(logits, target)  # log 2 + 0.1 / 2 * (5 ** 2 + 0 ** 2) / 4
        tensor(1.0056)
        >>> loss.update(loss.constraint_sums(logits, target)).lambdas[1, 0]  # of the inner background: 0.1 * 5
        tensor(0.5000, dtype=torch.float64)
        >>> loss(logits, target)  # + 0.5 * 5 / 4
        tensor(1.6306)
    """

    def __init__(
        self,
        margin: float = 5.0,
        rho: float = 0.1,
        kernel_size: int | Sequence[int] = 3,
        max_lambda: float = 1e6,
        ignore_label: int | None = None,
        regions: bool = False,
    ) -> None:
        super().__init__(ignore_label, regions)
        check_not_negative(margin=margin)
        if not 0 < rho <= LARGEST_RHO:
            raise ValueError(f"Expected argument `rho` to be above 0 and at most {LARGEST_RHO}, but got {rho!r}.")
        if not max_lambda >= SMALLEST_MULTIPLIER:
            raise ValueError(
                f"Expected argument `max_lambda` to be at least {SMALLEST_MULTIPLIER}, but got {max_lambda!r}."
            )
        self._window = Window(kernel_size, "mean", 1.0)
        self.margin = margin
        self.rho = rho
        self.kernel_size = kernel_size
        self.max_lambda = max_lambda
        self.multipliers: Multipliers | None = None

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss; see the class for shapes."""
        dtype = compute_dtype(logits)
        members, valid = members_and_valid(logits, target, self.ignore_label, self.regions)
        constraints = _Constraints(self._window, self.margin, members, valid, dtype)
        n_voxels = count_valid(members, valid)
        multipliers = self._multipliers_of(logits.shape[1])

        def value_and_gradient(logits: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
            total, gradient = hard_cross_entropy(logits, members, valid, self.regions)
            total = total + _add_penalty(logits, constraints, multipliers, gradient)
            gradient.mul_(1 / n_voxels if valid is None else valid.to(dtype) / n_voxels)
            return total / n_voxels, gradient if wanted else None

        return with_gradient(counted_logits(logits, valid), value_and_gradient)

    @torch.no_grad()
    def constraint_sums(self, logits: Tensor, target: Tensor) -> ConstraintSums:
        """Return the constraints of a validation batch, summed where the logits are; see the class for shapes and errors.

        Where every voxel is ignored all sums and the number of voxels are 0.
        """
        dtype = compute_dtype(logits)
        members, valid = members_and_valid(logits, target, self.ignore_label, self.regions)
        constraints = _Constraints(self._window, self.margin, members, valid, dtype)
        logits = counted_logits(logits, valid)
        total = torch.zeros(2, logits.shape[1], dtype=sum_dtype(logits), device=logits.device)
        for first, last in chunks(logits.shape[1], logits.device):
            difference, boundary = constraints.difference(logits, first, last)
            size = difference.abs_()
            total[0, first:last] = _sum_per_channel(size * boundary)
            total[1, first:last] = _sum_per_channel(size.masked_fill_(boundary, 0))
        # full, since torch.tensor would wait for a GPU
        counted = valid.sum() if valid is not None else torch.full((), members[:, :1].numel(), device=logits.device)
        return ConstraintSums(total, counted)

    def update(self, sums: ConstraintSums) -> Multipliers:
        """Adapt the multipliers to the constraints of an epoch's validation batches, and return them.

        Without a voxel that counts, or where the mean constraint is not finite, they stay as they are.

        Raises:
            ValueError: another K than in the first batch.
        """
        multipliers = self._multipliers_of(sums.total.shape[1])
        multipliers.update(sums)
        return multipliers

    def restore(self, state: dict[str, Any]) -> None:
        """Take over multipliers, see :meth:`~nnunet_nacl.losses.crac_multipliers.Multipliers.state`.

        Raises:
            ValueError: they are of another K than the first batch.
        """
        self._multipliers_of(len(state["lambdas"][0])).restore(state)

    def get_extra_state(self) -> dict[str, Any] | None:
        """Return the multipliers, for ``state_dict()``; None before the first batch."""
        return None if self.multipliers is None else self.multipliers.state()

    def set_extra_state(self, state: dict[str, Any] | None) -> None:
        """Take over the multipliers, for ``load_state_dict()``; None changes nothing."""
        if state is not None:
            self.restore(state)

    def _multipliers_of(self, channels: int) -> Multipliers:
        if self.multipliers is None:
            self.multipliers = Multipliers(channels, self.rho, self.max_lambda)
        held = self.multipliers.lambdas.shape[1]
        if held != channels:
            raise ValueError(f"Expected {held} channels, as in the first batch, but got {channels}.")
        return self.multipliers


class _Constraints:
    """What the constraints take from the labels of a batch."""

    def __init__(
        self, window: Window, margin: float, members: Tensor, valid: Tensor | None, dtype: torch.dtype
    ) -> None:
        self._neighborhood = window.over(members, valid, dtype)
        self._boundary = window.is_mixed(members, valid)
        self._margin = margin
        self._valid = valid

    def difference(self, logits: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return what the logits of a few channels should be minus what they are, and which voxels are boundary.

        The difference, ``(B, last - first, *spatial)``, is 0 at ignored voxels; its size is the constraint.
        """
        # all classes share one boundary; each region has its own
        boundary = self._boundary if self._boundary.shape[1] == 1 else self._boundary[:, first:last]
        wanted = self._neighborhood.proportions(first, last)
        difference = torch.where(boundary, wanted, wanted * self._margin).sub_(logits[:, first:last])
        return difference if self._valid is None else difference.mul_(self._valid), boundary


def _add_penalty(logits: Tensor, constraints: _Constraints, multipliers: Multipliers, gradient: Tensor) -> Tensor:
    """Return the penalty summed over the voxels and add its gradient to a buffer."""
    channels, spatial_axes = logits.shape[1], logits.ndim - 2
    factor = 1 / (2 * channels)
    # (2, K, 1, 1, 1)
    lambdas, rhos = (
        table.view(2, channels, *[1] * spatial_axes) for table in multipliers.on(logits.device, logits.dtype)
    )
    total = logits.new_zeros((), dtype=sum_dtype(logits))
    for first, last in chunks(channels, logits.device):
        difference, boundary = constraints.difference(logits, first, last)
        size = difference.abs()
        slope = torch.where(boundary, rhos[0, first:last], rhos[1, first:last]).mul_(size)
        lambda_of_voxel = torch.where(boundary, lambdas[0, first:last], lambdas[1, first:last])
        total += precise_sum(slope.mul(0.5).add_(lambda_of_voxel).mul_(size))
        slope.add_(lambda_of_voxel)
        gradient[:, first:last].addcmul_(slope, difference.sign_(), value=-factor)
    return factor * total


def _sum_per_channel(values: Tensor) -> Tensor:
    """Return the sums ``(K,)`` as float64: rows in their own dtype, which is fast, then the rows exactly enough."""
    return values.sum(-1).transpose(0, 1).flatten(1).sum(1, dtype=sum_dtype(values))
