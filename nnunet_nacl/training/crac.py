"""The mixin that trains with CRaC, whose multipliers adapt to the validation data of each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, distributed, nn

from nnunet_nacl.losses import CRaCLoss
from nnunet_nacl.losses.crac_multipliers import ConstraintSums, Multipliers
from nnunet_nacl.training.calibrated_loss import CalibratedLossMixin
from nnunet_nacl.training.watching import watching
from nnunet_nacl.training.window import in_plane_sides

HISTORY_KEY = "crac_multipliers"


class CRaCMixin(CalibratedLossMixin):
    """Train with :class:`~nnunet_nacl.losses.CRaCLoss`; the class attributes are its arguments.

    At the end of each epoch the multipliers adapt to nnU-Net's validation patches, in full resolution and of all processes.
    Not so during a warm-up, which trains the network towards other logits: lambda can only grow, and would be beyond what
    the cross-entropy can hold against it at the hand-over. They are kept as ``crac_multipliers``, one entry per epoch, in nnU-Net's local logger, which every checkpoint holds, so
    ``--c`` goes on with the last ones. Prediction does without. Where the spacing is anisotropic, the neighbourhood stays
    in-plane.
    """

    crac_margin: float = 5.0
    crac_rho: float = 0.1
    crac_kernel_size: int = 3
    crac_max_lambda: float = 1e6
    # the epoch's sums; None before the first validation batch
    _constraint_sums: ConstraintSums | None = None

    @classmethod
    def make_loss(cls, spacing: Sequence[float], ignore_label: int | None, regions: bool) -> nn.Module:
        """Return the CRaC loss with this trainer's hyper-parameters."""
        return CRaCLoss(
            margin=cls.crac_margin,
            rho=cls.crac_rho,
            kernel_size=in_plane_sides(cls.crac_kernel_size, spacing),
            max_lambda=cls.crac_max_lambda,
            ignore_label=ignore_label,
            regions=regions,
        )

    def on_validation_epoch_start(self) -> None:
        """Start the epoch's sums."""
        super().on_validation_epoch_start()
        self._constraint_sums = None

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Validate as the base trainer does, and add up the batch's constraints."""
        if self.is_warming_up:
            return super().validation_step(batch)
        with watching(self.loss, self._add_constraints):
            return super().validation_step(batch)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """End validation as the base trainer does, then adapt the multipliers."""
        super().on_validation_epoch_end(val_outputs)
        sums = self._constraint_sums
        if sums is None:
            # progress.png ends where the shortest list does
            self._pad_multiplier_history(self.current_epoch + 1)
            return
        if self.is_ddp:
            distributed.all_reduce(sums.total)
            distributed.all_reduce(sums.n_voxels)
        multipliers = self._crac_loss.update(sums)
        self._pad_multiplier_history(self.current_epoch)
        self.logger.local_logger.log(HISTORY_KEY, multipliers.state(), self.current_epoch)
        self.print_to_log_file(_in_words(multipliers))

    def load_checkpoint(self, *arguments: Any, **options: Any) -> None:
        """Load as the base trainer does, with its arguments; then go on with the checkpoint's multipliers."""
        super().load_checkpoint(*arguments, **options)
        history = self._multiplier_history()
        if history and history[-1] is not None:
            self._crac_loss.restore(history[-1])
        elif self.current_epoch > self.warm_up_epochs:
            self.print_to_log_file("The checkpoint has no multipliers of CRaC, so they start anew.")

    @property
    def _crac_loss(self) -> CRaCLoss:
        loss = self._calibrated_loss
        assert isinstance(loss, CRaCLoss)
        return loss

    def _add_constraints(self, logits: Tensor, target: Tensor) -> None:
        sums = self._crac_loss.constraint_sums(logits, target)
        self._constraint_sums = sums if self._constraint_sums is None else self._constraint_sums + sums

    def _multiplier_history(self) -> list[dict[str, Any] | None]:
        """Return the logger's list of one entry per epoch, made if it is missing; None in epochs without an update."""
        history: list[dict[str, Any] | None]
        history = self.logger.local_logger.my_fantastic_logging.setdefault(HISTORY_KEY, [])
        return history

    def _pad_multiplier_history(self, length: int) -> None:
        history = self._multiplier_history()
        history += [None] * (length - len(history))


def _in_words(multipliers: Multipliers) -> str:
    ranges = (
        f"{name} {kind} {table.min():.3g} to {table.max():.3g}"
        for name, tables in (("lambda", multipliers.lambdas), ("rho", multipliers.rhos))
        for kind, table in zip(("boundary", "inner"), tables, strict=True)
    )
    return f"CRaC multipliers over the classes: {', '.join(ranges)}"
