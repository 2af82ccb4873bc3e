"""Voxels drawn at random: from each group in proportion, each with the same chance, however many there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.recalibration.voxels import proportional_shares


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=50), st.floats(0, 1), st.integers(0, 99))
def test_shares_add_up_and_are_there(available, part, seed):
    available = np.array(available)
    wanted = int(part * available.sum())
    shares = proportional_shares(available, wanted, np.random.default_rng(seed))
    assert shares.sum() == wanted
    assert (shares >= 0).all() and (shares <= available).all()
    exact = available * (wanted / max(available.sum(), 1))
    assert (np.abs(shares - exact) <= 1 + 1e-9 * exact).all()


def test_each_voxel_has_the_same_chance():
    available = np.array([3, 10, 0, 1, 86])
    drawn = [proportional_shares(available, 7, np.random.default_rng(seed)) for seed in range(4000)]
    np.testing.assert_allclose(np.mean(drawn, 0), available * 0.07, atol=0.03)


def test_beyond_a_billion():
    """40 CTs of 30 million voxels, of which numpy's multivariate hypergeometric distribution knows nothing."""
    available = np.full(40, 30_000_000)
    with pytest.raises(ValueError, match="1000000000"):
        np.random.default_rng(0).multivariate_hypergeometric(available, 10_000_000, method="marginals")
    np.testing.assert_array_equal(proportional_shares(available, 10_000_000, np.random.default_rng(0)), 250_000)
