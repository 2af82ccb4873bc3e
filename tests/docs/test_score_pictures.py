"""docs/scores.md: the examples behind its pictures have the answers that the page gives, and the pictures are drawn and small."""

import importlib.util
import re
import sys

import numpy as np
import pytest
from pages import ROOT

PAGE = " ".join((ROOT / "docs" / "scores.md").read_text(encoding="utf-8").split())
IMAGES = ROOT / "docs" / "images"
LARGEST = 100_000  # bytes


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("draw_score_pictures", ROOT / "scripts" / "draw_score_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_anatomy(pictures):
    scores = pictures.anatomy().scores("all")
    # by hand: shares .1 .1 .2 .6 and gaps 0, .1, -.05, .1
    assert (scores.ece, scores.ace, scores.mce, scores.gap) == pytest.approx((0.08, 0.0625, 0.1, 0.06))
    assert "0.1 · 0.10 + 0.2 · 0.05 + 0.6 · 0.10 = 0.080" in PAGE
    assert "the four gaps, is 0.0625; MCE, the largest gap, is 0.10;" in PAGE
    assert "opposite signs, is +0.060" in PAGE


def test_shells(pictures):
    scores = {name: pictures.shells().scores(name) for name in pictures.SETS_OF_SHELLS}
    # by hand: 232 voxels are structure, 174 of them called so; 220 are called structure
    right = (90 + 84) / 232
    said = (0.9 * 90 + 0.7 * 84 + 0.7 * 42 + 0.9 * 16) / 232
    assert (scores["foreground"].confidence, scores["foreground"].accuracy) == pytest.approx((said, right))
    assert [scores[name].gap for name in ("all", "predicted")] == pytest.approx([0, 0], abs=1e-12)
    assert (
        f"overconfident by {scores['foreground'].gap:.2f}. `union` also contains the false positive voxels: {scores['union'].gap:.2f}"
        in PAGE
    )


def test_bins_and_brier(pictures):
    honest, sharpened, blunted = (pictures.phantoms(power).scores("predicted") for power in (1, 2, 0.4))
    assert f"({sharpened.ece:.3f} and {sharpened.equal_mass_ece:.3f})" in PAGE
    assert f"from {honest.brier:.3f} to {sharpened.brier:.3f} and {blunted.brier:.3f}" in PAGE
    assert honest.brier_reliability < 0.001 < 0.01 < sharpened.brier_reliability
    count = pictures.phantoms(2).top_label_bins("predicted")[0]
    assert 0.7 < count[-1] / count.sum() < 0.75  # "nearly three quarters of the voxels"


def test_voxel_sets_are_those_of_the_evaluator(pictures):
    case = pictures.make_phantom(24, np.random.default_rng(0))
    statistics = pictures.CalibrationStatistics.empty(3)
    statistics.update(case.posterior, case.labels, spacing=(1, 1, 1))
    masks = pictures.voxel_sets_of(case)
    assert {name: mask.sum() for name, mask in masks.items()} == {
        name: statistics.scores(name).n_voxels for name in masks
    }


def test_pictures_are_drawn(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["draw_score_pictures.py", "-o", str(tmp_path)])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # put back what the script sets
    assert pictures.main() == 0
    made = {path.name for path in tmp_path.iterdir()}
    assert made == set(re.findall(r"\(images/(score_\w+\.svg)\)", PAGE))
    for name in made:
        for content in ((tmp_path / name).read_bytes(), (IMAGES / name).read_bytes()):
            assert b"<svg" in content
            assert len(content) < LARGEST
