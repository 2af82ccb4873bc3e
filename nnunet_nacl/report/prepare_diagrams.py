"""The reliability diagrams of a run, of label and of region models."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_nacl.report.prepare_reliability import ReliabilityDiagram, prepare_reliability_over_cases
from nnunet_nacl.report.prepare_scores import has_regions, label_names
from nnunet_nacl.study.run import Run


def top_diagram(run: Run, cases: Sequence[str], voxel_set: str) -> ReliabilityDiagram:
    """Return the diagram of the predicted class, or of all regions' predictions, over the given cases."""
    return prepare_reliability_over_cases([run.statistics[case] for case in cases], voxel_set)


def class_diagrams(run: Run, cases: Sequence[str], voxel_set: str) -> list[ReliabilityDiagram]:
    """Return the diagram of each class, or region, against the rest, in the order of the labels."""
    diagrams = []
    for place in range(len(label_names(run))):
        # each region is a problem of its own, with the inside as class 1
        problem, inside = (place, 1) if has_regions(run) else (0, place)
        statistics = [run.problems[case][problem] for case in cases]
        diagrams.append(prepare_reliability_over_cases(statistics, voxel_set, inside))
    return diagrams
