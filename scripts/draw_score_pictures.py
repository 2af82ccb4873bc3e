"""Draw the pictures of docs/scores.md from examples whose answers are known.

    python scripts/draw_score_pictures.py [-o FOLDER]

The figures in the pictures are computed by ``nnunet_nacl.calibration``; ``tests/docs/test_score_pictures.py`` holds them, and those that the
page mentions, against the answers.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnunet_nacl.benchmark.tasks.phantom import Phantom, make_phantom
from nnunet_nacl.calibration import VOXEL_SETS, CalibrationStatistics, Scores
from nnunet_nacl.calibration.boundary import DEFAULT_BOUNDARY_MM, boundary_band
from nnunet_nacl.calibration.scores import bins_of_equal_mass
from nnunet_nacl.report.reliability import COLOR_ACCURACY, COLOR_OVERCONFIDENT, COLOR_UNDERCONFIDENT

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
# fixed ids, so that the same figures give the same file
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "svg.hashsalt": "nnunet-nacl",
    "axes.spines.top": False,
    "axes.spines.right": False,
}

# voxels, confidence and share of right ones of each group
ANATOMY = ((100, 0.3, 0.3), (100, 0.5, 0.4), (200, 0.7, 0.75), (600, 0.9, 0.8))
# voxels of each shell around a structure's border, from inside to outside, and their true probability to be structure
SHELLS = ((100, 0.9), (120, 0.7), (140, 0.3), (160, 0.1))
SETS_OF_SHELLS = ("all", "predicted", "foreground", "union")
N_CASES = 20


def anatomy() -> CalibrationStatistics:
    """Return 1000 voxels of five classes in five bins; the predicted class is always 0."""
    statistics = CalibrationStatistics.empty(num_classes=5, n_bins=5)
    for voxels, confidence, accuracy in ANATOMY:
        rest = (1 - confidence) / 4
        probabilities = np.tile([[confidence], *[[rest]] * 4], voxels)
        labels = (np.arange(voxels) >= round(voxels * accuracy)).astype(int)
        statistics.update(probabilities, labels)
    return statistics


def shells() -> CalibrationStatistics:
    """Return a structure's border as an honest network sees it: in each shell as many voxels are structure as it says."""
    statistics = CalibrationStatistics.empty(num_classes=2)
    for voxels, probability in SHELLS:
        probabilities = np.tile([[1 - probability], [probability]], voxels)
        statistics.update(probabilities, (np.arange(voxels) < round(voxels * probability)).astype(int))
    return statistics


def phantoms(power: float) -> CalibrationStatistics:
    """Return the phantom's cases under their true posterior raised to a power; above 1 is overconfident."""
    statistics = CalibrationStatistics.empty(num_classes=3)
    for number in range(N_CASES):
        case = make_phantom(32, np.random.default_rng([0, number]))
        raised = case.posterior.astype(np.float64) ** power
        statistics.update(raised / raised.sum(0), case.labels)
    return statistics


def draw_anatomy() -> Figure:
    """A reliability diagram part by part, and its ECE as an area."""
    count, confidence, right = anatomy().top_label_bins("all")
    filled = count > 0
    edges = np.linspace(0, 1, count.size + 1)[:-1][filled]
    count, confidence, right = count[filled], confidence[filled], right[filled]
    said, was, width = confidence / count, right / count, 1 / 5
    figure = Figure(figsize=(7.6, 3.3), layout="constrained")
    diagram, area = figure.subplots(1, 2)
    diagram.bar(edges, was, width, align="edge", color=COLOR_ACCURACY, edgecolor="white")
    for left, bottom, gap in zip(edges, was, said - was, strict=True):
        diagram.bar(left, gap, width, bottom, align="edge", color=_color(gap), alpha=0.6)
    diagram.plot([0, 1], [0, 1], "--", color="0.35", linewidth=1)
    diagram.plot(said, said, "o", color="black", markersize=3)
    diagram.annotate("gap: 0.90 said,\n0.80 right", (0.9, 0.86), (0.36, 0.88), arrowprops={"arrowstyle": "->"})
    diagram.annotate("underconfident", (0.7, 0.735), (0.2, 0.72), arrowprops={"arrowstyle": "->"})
    diagram.annotate("honest", (0.3, 0.3), (0.02, 0.45), arrowprops={"arrowstyle": "->"})
    diagram.set(
        xlim=(0, 1),
        ylim=(0, 1.05),
        xlabel="confidence, in bins",
        ylabel="share of right voxels",
        title="reliability diagram",
    )
    scores = anatomy().scores("all")
    _draw_gaps(
        area, count, said - was, f"the same bins, as wide as they have voxels\ncoloured area = ECE = {scores.ece:.3f}"
    )
    for number, middle in zip(count, np.cumsum(count) - count / 2, strict=True):
        area.text(middle / count.sum(), 0.003, f"{number}", ha="center", fontsize=8)
    return figure


def draw_bins() -> Figure:
    """Bins of equal width and of equal mass on one overconfident model."""
    statistics = phantoms(2)
    scores = statistics.scores("predicted")
    wide = statistics.top_label_bins("predicted")
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, bins, title in (
        (left, wide, f"15 bins of equal width: ECE {scores.ece:.3f}"),
        (
            right,
            bins_of_equal_mass(statistics.grid_cells("predicted"), 15),
            f"15 bins of equal mass: ECE {scores.equal_mass_ece:.3f}",
        ),
    ):
        filled = bins[0] > 0
        count, confidence, hits = (part[filled] for part in bins)
        _draw_gaps(axes, count, (confidence - hits) / count, title)
    return figure


def draw_voxel_sets() -> Figure:
    """The voxel sets in a slice of a case."""
    case = make_phantom(48, np.random.default_rng([0, 3]))
    masks = voxel_sets_of(case)
    z = int((case.labels == 2).sum((1, 2)).argmax())
    rows, columns = (_around(masks["boundary"][z].any(axis)) for axis in (1, 0))
    figure = Figure(figsize=(7.6, 5.3), layout="constrained")
    for panel, name in zip(figure.subplots(2, 3).ravel(), ("", *masks), strict=True):
        shown = masks[name][z, rows, columns] if name else np.zeros(1, bool)
        panel.imshow(_tinted(case.image[z, rows, columns], shown), interpolation="none")
        _draw_outlines(panel, case.labels[z, rows, columns] > 0, COLOR_ACCURACY)
        _draw_outlines(panel, case.posterior[:, z, rows, columns].argmax(0) > 0, COLOR_OVERCONFIDENT)
        panel.set_title(f"{name}: {masks[name].mean():.0%}" if name else "label: blue, prediction: orange")
        panel.axis("off")
    return figure


def draw_foreground() -> Figure:
    """Why an honest network has an error in sets that are chosen by the label."""
    statistics = shells()
    figure = Figure(figsize=(7.6, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(SETS_OF_SHELLS), sharey=True), SETS_OF_SHELLS, strict=True):
        _draw_shells(axes, name, statistics.scores(name))
    figure.axes[0].set_ylabel("voxels")
    figure.supxlabel("true probability to be structure, from inside to outside", fontsize=9)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def draw_brier() -> Figure:
    """The Brier score as uncertainty - resolution + reliability."""
    models = {"honest": phantoms(1), "sharpened": phantoms(2), "blunted": phantoms(0.4)}
    figure = Figure(figsize=(7.6, 2.9), layout="constrained")
    for axes, (name, statistics) in zip(figure.subplots(1, 3, sharey=True), models.items(), strict=True):
        _draw_brier(axes, name, statistics.scores("predicted"))
    figure.axes[0].set_ylabel("voxel set predicted")
    return figure


PICTURES = {
    "score_anatomy": draw_anatomy,
    "score_bins": draw_bins,
    "score_voxel_sets": draw_voxel_sets,
    "score_foreground": draw_foreground,
    "score_brier": draw_brier,
}


def voxel_sets_of(case: Phantom) -> dict[str, NDArray[np.bool_]]:
    """Return which voxels of a case are in which set."""
    labelled, predicted = case.labels > 0, case.posterior.argmax(0) > 0
    masks = {
        "all": np.ones(labelled.shape, bool),
        "foreground": labelled,
        "union": labelled | predicted,
        "predicted": predicted,
        "boundary": boundary_band(case.labels.astype(np.int16), (1.0, 1.0, 1.0), DEFAULT_BOUNDARY_MM),
    }
    return {name: masks[name] for name in VOXEL_SETS}


def _color(gap: float) -> str:
    return COLOR_OVERCONFIDENT if gap > 0 else COLOR_UNDERCONFIDENT


def _draw_gaps(axes: Axes, count: NDArray[np.int64], gaps: NDArray[np.float64], title: str) -> None:
    """Draw the size of each bin's gap over its share of the voxels."""
    share = count / count.sum()
    axes.bar(np.cumsum(share) - share, np.abs(gaps), share, align="edge", color=[_color(gap) for gap in gaps], alpha=0.75, edgecolor="black", linewidth=0.6)  # fmt: skip
    axes.set(xlim=(0, 1), xlabel="share of voxels, from unsure to sure", ylabel="|confidence - accuracy|", title=title)


def _around(occupied: NDArray[np.bool_]) -> slice:
    held = np.flatnonzero(occupied)
    return slice(max(int(held[0]) - 2, 0), int(held[-1]) + 3)


def _tinted(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the image as RGB, yellow where the mask is: one picture instead of two layers."""
    gray = np.clip((image - image.min()) / np.ptp(image), 0, 1)[..., None]
    yellow = np.array([1, 0.84, 0])
    tinted = np.where(np.broadcast_to(mask, image.shape)[..., None], 0.5 * gray + 0.5 * yellow, gray)
    return np.asarray(255 * np.broadcast_to(tinted, (*image.shape, 3))).astype(np.uint8)


def _draw_outlines(axes: Axes, structure: NDArray[np.bool_], color: str) -> None:
    """Draw the edges of the voxels at the border of a structure: one path with gaps, which keeps the file small."""
    points: list[tuple[float, float]] = []
    for swapped in (False, True):
        volume = structure.T if swapped else structure
        for row, sides in enumerate(np.diff(volume.astype(np.int8), axis=0) != 0):
            ends = np.flatnonzero(np.diff(np.pad(sides, 1).astype(np.int8))) - 0.5
            for start, end in ends.reshape(-1, 2):
                edge = [(start, row + 0.5), (end, row + 0.5)]
                points += [*([point[::-1] for point in edge] if swapped else edge), (np.nan, np.nan)]
    axes.plot(*np.array(points).T, color=color, linewidth=1.2)


def _draw_shells(axes: Axes, name: str, scores: Scores) -> None:
    places = np.arange(len(SHELLS))
    voxels, probability = np.array(SHELLS).T
    structure = voxels * probability
    called = probability > 0.5
    keeps_background = np.array([name == "all" or (name in ("predicted", "union") and bool(one)) for one in called])
    keeps_structure = np.array([name != "predicted" or bool(one) for one in called])
    for bottom, height, kept, color, text in (
        (np.zeros(4), structure, keeps_structure, COLOR_ACCURACY, "is structure"),
        (structure, voxels - structure, keeps_background, "0.65", "is background"),
    ):
        axes.bar(places, height, 0.85, bottom, color="none", edgecolor="0.75", linewidth=0.8)
        axes.bar(places[kept], height[kept], 0.85, bottom[kept], color=color, label=text)
    axes.axvline(1.5, color="black", linestyle="--", linewidth=1, label="called structure to the left")
    axes.set_xticks(places, [f"{one:.1f}" for one in probability])
    axes.set_title(
        f"{name}\nsays {scores.confidence:.2f}, right {scores.accuracy:.2f}\ngap {round(scores.gap, 2) + 0.0:+.2f}"
    )


def _draw_brier(axes: Axes, name: str, scores: Scores) -> None:
    steps = {
        "uncertainty": (0.0, scores.brier_uncertainty, "0.65"),
        "- resolution": (scores.brier_uncertainty - scores.brier_resolution, scores.brier_resolution, COLOR_ACCURACY),
        "+ reliability": (scores.brier_uncertainty - scores.brier_resolution, scores.brier_reliability, COLOR_OVERCONFIDENT),
        "= Brier": (0.0, scores.brier, "0.25"),
    }  # fmt: skip
    for place, (bottom, height, color) in enumerate(steps.values()):
        axes.bar(place, height, 0.8, bottom, color=color)
        axes.text(place, bottom + height, f"{height:.3f}", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(4), list(steps), rotation=25, fontsize=8)
    axes.set_title(name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", type=Path, default=IMAGES, metavar="FOLDER")
    parsed = parser.parse_args()
    parsed.o.mkdir(parents=True, exist_ok=True)
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    with mpl.rc_context(STYLE):
        for name, draw in PICTURES.items():
            draw().savefig(parsed.o / f"{name}.svg", facecolor="white")
            print(f"wrote {parsed.o / name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
