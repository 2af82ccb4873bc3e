"""Which finding stands for which lesion: one to one, and as many as possible at every threshold.

Findings are taken from the most to the least confident, as in detection benchmarks, and each asks for one of the lesions that the overlap
rule allows it. Where all of these are taken, their holders make room if they can take another one (an augmenting path: Kuhn 1955, Berge
1957). So the number of matches is the largest possible, not among all findings only but among those above any threshold: a finding that is
matched stays matched, and a lesion that is found stays found, when less confident findings follow. Filtering findings by their confidence
therefore gives the same true findings as matching anew, which the curves rest on (:mod:`nnunet_nacl.lesions.froc`). Plain greedy matching
keeps that order as well, but may give a lesion away that another finding needs; ``scipy.optimize.linear_sum_assignment`` finds as many
matches among all findings, but may take other findings when some are removed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from nnunet_nacl.calibration.arrays import Int64Array

NONE = -1
"""No partner."""


def match_in_order(candidates: Sequence[Sequence[int]], order: Sequence[int], n_lesions: int) -> Int64Array:
    """Return the lesion of each finding, ``(n_findings,)``, :data:`NONE` for those without.

    Args:
        candidates: for each finding, the lesions that it may stand for, the best first.
        order: the findings, the most confident first.
        n_lesions: number of lesions.

    The second of two findings in one lesion goes without:

    >>> match_in_order([[0], [0]], [1, 0], n_lesions=1).tolist()
    [-1, 0]

    A finding over two lesions makes room for one that is only in the first:

    >>> match_in_order([[0, 1], [0]], [0, 1], n_lesions=2).tolist()
    [1, 0]
    """
    lesion_of = np.full(len(candidates), NONE, np.int64)
    holder = np.full(n_lesions, NONE, np.int64)
    for finding in order:
        _augment(finding, candidates, lesion_of, holder)
    return lesion_of


def _augment(start: int, candidates: Sequence[Sequence[int]], lesion_of: Int64Array, holder: Int64Array) -> None:
    """Match a finding if that can be done without leaving another one without its match; breadth first, so few are moved."""
    asked_by: dict[int, int] = {}
    waiting = deque([start])
    while waiting:
        finding = waiting.popleft()
        for lesion in candidates[finding]:
            if lesion in asked_by:
                continue
            asked_by[lesion] = finding
            if holder[lesion] == NONE:
                _hand_over(lesion, asked_by, lesion_of, holder)
                return
            waiting.append(int(holder[lesion]))


def _hand_over(lesion: int, asked_by: dict[int, int], lesion_of: Int64Array, holder: Int64Array) -> None:
    """Give a free lesion to the finding that asked for it, the one that this had held to whoever asked for that, and so on."""
    while lesion != NONE:
        finding = asked_by[lesion]
        given_up = int(lesion_of[finding])
        lesion_of[finding], holder[lesion] = lesion, finding
        lesion = given_up
