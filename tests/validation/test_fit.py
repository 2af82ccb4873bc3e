"""`validate --fit` fits what `recalibrate fit` fits on nnU-Net's files, up to the half precision of its scratch files."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import Variant, validate_by_nnunet
from scipy.special import log_softmax

from nnunet_nacl.cli import main
from nnunet_nacl.validation.scratch_voxels import pack, unpack


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(0, 40))
def test_packed_voxels_are_the_same_to_half_precision(seed, n_classes, n_voxels):
    rng = np.random.default_rng(seed)
    logarithm = log_softmax(rng.normal(scale=6, size=(n_classes, n_voxels)), 0).astype(np.float32)
    labels = rng.integers(0, n_classes, n_voxels).astype(np.uint8)
    packed = pack(logarithm, labels)
    assert packed.nbytes == n_voxels * (2 * (n_classes - 1) + 2)
    found, same = unpack(packed)
    np.testing.assert_array_equal(same, labels)
    np.testing.assert_allclose(np.exp(found.astype(float)).sum(0), 1, rtol=1e-6)
    np.testing.assert_allclose(found, logarithm, rtol=2e-3, atol=1e-3)
    lead = np.sort(logarithm, 0)[-1] - np.sort(logarithm, 0)[-2]
    clear = lead > 1e-3
    np.testing.assert_array_equal(found.argmax(0)[clear], logarithm.argmax(0)[clear])


@pytest.mark.nnunet
@pytest.mark.parametrize("kind", ["labels", "regions"])
def test_equals_the_fit_on_nnunets_files(kind, nnunet, tmp_path, capsys):
    regions = {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
    made = Variant(nnunet, tmp_path, dataset=regions if kind == "regions" else None, margin=3)
    with made.variables():
        folds = [validate_by_nnunet(made.trainer(fold)) for fold in range(2)]
        assert main(["recalibrate", "fit", *map(str, folds), "-o", str(tmp_path / "files.json")]) == 0
        for fold in folds:
            (fold / "phantom_001.npz").unlink(missing_ok=True)
            (fold / "phantom_002.npz").unlink(missing_ok=True)
        capsys.readouterr()
        arguments = [made.model, "-device", "cpu", "-o", tmp_path / "out", "--fit", tmp_path / "memory.json"]
        assert main(["validate", *map(str, arguments)]) == 0
    torch.set_num_threads(1)
    said = capsys.readouterr().out
    assert "scratch files of the voxels that were fitted on" in said
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("  without ")] == [
        "  without fold_0",
        "  without fold_1",
    ]
    expected, found = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("files", "memory"))
    assert_close(without_places(found), without_places(expected))
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("reliability")) == [
        "calibration.json", "calibration_bins.npz", "calibration_cases.csv"
    ]  # fmt: skip


def without_places(content):
    """Leave out where files are, and the optimiser's own account."""
    left = ("provenance", "fits", "fit", "compared", "message", "evaluations", "optimiser", "crc32")
    if isinstance(content, dict):
        return {key: without_places(value) for key, value in content.items() if key not in left}
    return [without_places(value) for value in content] if isinstance(content, list) else content


def assert_close(found, expected, where=""):
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_close(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, (mine, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(mine, other, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=2e-3, abs=2e-4), where
    else:
        assert found == expected, where
