"""Matching in the order of confidence, against SciPy's matching of each prefix."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from nnunet_nacl.lesions.matching import NONE, match_in_order

CANDIDATES = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, n - 1), unique=True, max_size=n), max_size=7).map(lambda c: (c, n))
)


def most_matches(candidates, n_lesions):
    graph = np.zeros((max(len(candidates), 1), n_lesions), int)
    for row, lesions in enumerate(candidates):
        graph[row, lesions] = 1
    rows, columns = linear_sum_assignment(graph, maximize=True)
    size = int((maximum_bipartite_matching(csr_matrix(graph), perm_type="column") != NONE).sum())
    assert graph[rows, columns].sum() == size
    return size


@given(CANDIDATES)
def test_as_many_matches_as_possible_at_every_threshold(drawn):
    candidates, n_lesions = drawn
    before_findings, before_lesions = set(), set()
    for threshold in range(len(candidates) + 1):
        lesion_of = match_in_order(candidates[:threshold], range(threshold), n_lesions)
        matched = {row: int(lesion) for row, lesion in enumerate(lesion_of) if lesion != NONE}
        assert all(lesion in candidates[row] for row, lesion in matched.items())
        assert len(set(matched.values())) == len(matched) == most_matches(candidates[:threshold], n_lesions)
        # what is true stays true, and what is found stays found, when less confident findings follow
        assert before_findings <= set(matched) and before_lesions <= set(matched.values())
        before_findings, before_lesions = set(matched), set(matched.values())


def test_the_order_decides_which_of_two_is_true():
    assert match_in_order([[0], [0]], [0, 1], 1).tolist() == [0, NONE]
    assert match_in_order([[0], [0]], [1, 0], 1).tolist() == [NONE, 0]


def test_a_long_chain_is_no_recursion():
    n = 3000
    candidates = [[row, row + 1] for row in range(n)] + [[0]]
    assert (match_in_order(candidates, range(n + 1), n + 1) != NONE).all()
