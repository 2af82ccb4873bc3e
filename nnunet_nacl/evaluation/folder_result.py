"""What evaluating a folder, or merging several results, gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.evaluation.case_result import CaseResult


@dataclass(frozen=True)
class FolderResult:
    """The evaluated cases of a folder, or of several that were merged.

    Attributes:
        cases: sorted by name.
        protocol: what they were evaluated with, see :func:`~nnunet_nacl.evaluation.protocol.protocol_of`.
        files: where they come from, for the provenance.
        recalled: how many of the cases an earlier run had finished.
    """

    cases: tuple[CaseResult, ...]
    protocol: dict[str, Any]
    files: dict[str, Any]
    recalled: int = 0

    @property
    def pooled_problems(self) -> tuple[CalibrationStatistics, ...]:
        """The statistics of all cases added up, one entry per problem."""
        return tuple(total(parts) for parts in zip(*(result.problems for result in self.cases), strict=True))

    @property
    def pooled(self) -> CalibrationStatistics:
        """The statistics of all cases and problems added up."""
        return total(self.pooled_problems)
