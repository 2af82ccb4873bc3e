"""What remains of the cases that were scored: a few numbers of each, and the sums over all.

The statistics of a case are 0.3 MB (3 classes) to 0.7 MB (105); those of a thousand cases, before and after, would be more than the voxels
that are fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics
from nnunet_nacl.calibration.arrays import Float64Array, Int64Array
from nnunet_nacl.calibration.statistics import total
from nnunet_nacl.evaluation.summary import named_scores
from nnunet_nacl.recalibration.heads import Scored


@dataclass(frozen=True)
class ScoredProblem:
    """A classification problem of a case.

    Attributes:
        scores: by voxel set and name; NaN where the case has none.
        soft_volumes, label_volumes: ``(C,)`` sums of the probabilities, and voxels with that label.
    """

    scores: Mapping[str, Mapping[str, float]]
    soft_volumes: Float64Array
    label_volumes: Float64Array


@dataclass
class ScoredCases:
    """Cases that were scored, each with its problems.

    Attributes:
        cases: of each case its problems.
        overlaps: of each case, see :class:`~nnunet_nacl.recalibration.heads.Scored`.
        totals: the statistics of each problem over all cases.
    """

    cases: list[tuple[ScoredProblem, ...]] = field(default_factory=list)
    overlaps: list[Int64Array] = field(default_factory=list)
    totals: list[CalibrationStatistics] = field(default_factory=list)

    def add(self, scored: Scored) -> None:
        """Add a case."""
        self.cases.append(tuple(map(scored_problem, scored.problems)))
        self.overlaps.append(scored.overlap)
        if self.totals:
            self.totals = [total(pair) for pair in zip(self.totals, scored.problems, strict=True)]
        else:
            self.totals = list(scored.problems)


def scored_problem(statistics: CalibrationStatistics) -> ScoredProblem:
    """Return what remains of a problem of a case."""
    return ScoredProblem(
        scores={voxel_set: named_scores([statistics], voxel_set) for voxel_set in VOXEL_SETS},
        soft_volumes=statistics.soft_volumes(),
        label_volumes=statistics.confusion.sum(1).astype(float),
    )
