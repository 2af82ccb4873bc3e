"""Disagreement of the members of an ensemble, against plain formulas on small arrays."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_nacl.validation.disagreement import Members
from nnunet_nacl.validation.disagreement_file import DisagreementStore


def members_of(arrays, regions=None, region_labels=()):
    targets = [str(number) for number in range(len(arrays[0]))]
    members = Members(regions, region_labels, targets)
    for array in arrays:
        members.add(array)
    mean = members.mean()
    return mean, members.disagreement(mean)


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 4))
def test_labels_against_plain_formulas(seed, n_members, n_classes):
    rng = np.random.default_rng(seed)
    arrays = rng.dirichlet(np.full(n_classes, 0.3), (n_members, 2, 3, 4)).transpose(0, 4, 1, 2, 3).astype(np.float32)
    arrays[:, :, 0, 0, 0] = np.eye(n_classes, dtype=np.float32)[0][:, None].T  # certain, and all agree
    mean, found = members_of(arrays)
    np.testing.assert_allclose(mean, arrays.mean(0), rtol=1e-6)
    information, foreground = [], []
    for voxel in np.ndindex(2, 3, 4):
        given_ = [array[(slice(None), *voxel)].astype(float) for array in arrays]
        entropy = [-sum(p * math.log(p) for p in each if p > 0) for each in (np.mean(given_, 0), *given_)]
        information.append(entropy[0] - sum(entropy[1:]) / n_members)
        foreground.append(any(each.argmax() > 0 for each in given_))
    assert found.mutual_information == pytest.approx(np.mean(information), abs=1e-6)
    chosen = [value for value, taken in zip(information, foreground, strict=True) if taken]
    assert found.mutual_information_foreground == pytest.approx(
        np.mean(chosen) if chosen else math.nan, abs=1e-6, nan_ok=True
    )
    assert list(found.pairwise_dice) == [str(number) for number in range(1, n_classes)]
    for number in range(1, n_classes):
        masks = [set(zip(*np.nonzero(array.argmax(0) == number), strict=True)) for array in arrays]
        pairs = [2 * len(a & b) / (len(a) + len(b)) for a, b in itertools.combinations(masks, 2) if a or b]
        assert found.pairwise_dice[str(number)] == pytest.approx(np.mean(pairs) if pairs else math.nan, nan_ok=True)


def test_regions():
    """Two regions, the second within the first; the masks are those of the label map that nnU-Net writes."""
    first = np.array([[0.9, 0.9, 0.2], [0.9, 0.1, 0.1]], np.float32).reshape(2, 1, 1, 3)
    second = np.array([[0.9, 0.9, 0.2], [0.1, 0.1, 0.1]], np.float32).reshape(2, 1, 1, 3)
    _, found = members_of([first, second], regions=[(1, 2), (2,)], region_labels=(1, 2))
    assert found.pairwise_dice == {"0": 1.0, "1": 0.0}

    def entropy(p):
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    voxel = (entropy(0.5) - (entropy(0.9) + entropy(0.1)) / 2) / 2
    assert found.mutual_information == pytest.approx(voxel / 3, abs=1e-6)
    assert found.mutual_information_foreground == pytest.approx(voxel / 2, abs=1e-6)


def test_members_that_agree_have_none():
    array = np.random.default_rng(0).dirichlet(np.ones(3), (4, 4, 4)).transpose(3, 0, 1, 2).astype(np.float32)
    _, found = members_of([array] * 3)
    assert 0 <= found.mutual_information < 1e-6
    assert set(found.pairwise_dice.values()) == {1.0}


def test_store_gives_back_what_it_was_given(tmp_path):
    store = DisagreementStore(tmp_path)
    _, found = members_of([np.eye(2, dtype=np.float32)[0].reshape(2, 1, 1, 1)] * 2)
    assert math.isnan(found.mutual_information_foreground) and math.isnan(found.pairwise_dice["1"])
    store.save("print", found)
    again = store.load("print")
    assert again.mutual_information == 0 and math.isnan(again.pairwise_dice["1"])
    assert store.load("other") is None and store.load("") is None
    (path,) = tmp_path.rglob("print.json")
    for damaged in (
        "",
        "[]",
        "{}",
        json.dumps({"mutual_information": -1, "mutual_information_foreground": 0, "pairwise_dice": {}}),
    ):
        path.write_text(damaged)
        assert store.load("print") is None
