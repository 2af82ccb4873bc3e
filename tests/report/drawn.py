"""The pictures that are compared with baselines, and how: what is drawn, in the coordinates of its axes, a line each.

Pixels differ with the version of matplotlib and the fonts of a machine (a mean of 4 % of the range between 3.7 and 3.11, as much as a visible
change of the data); these lines are the same. `python tests/report/drawn.py` writes the baselines anew; look at the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.report import figures, reliability
from nnunet_nacl.report.figure_style import STYLE
from nnunet_nacl.report.prepare_reliability import prepare_reliability
from nnunet_nacl.report.svg import reliability_svg
from nnunet_nacl.results_page import reliability_figure

BASELINE = Path(__file__).parent / "baseline"


def diagram(power=1.0, n_bins=10):
    """The diagram of a network that says p where p ** power is right."""
    confidence = np.linspace(0.52, 0.98, 400)
    right = np.random.default_rng(0).random(400) < confidence**power
    statistics = CalibrationStatistics.empty(2, n_bins=n_bins)
    statistics.update(np.stack([1 - confidence, confidence]), right.astype(int))
    return prepare_reliability(statistics, "all")


def paper(power=1.0):
    with mpl.rc_context(STYLE):
        return figures.draw(diagram(power), "a network\nall")


def pages(power=1.0):
    return reliability.draw_grid([[diagram(), diagram(power)]], ["one", "another"])


def results(power=1.0):
    stages = {"as trained": diagram(2.0), "after scaling": diagram(power)}
    with mpl.rc_context(reliability_figure.LIGHT):
        return reliability_figure._draw({"nnUNetTrainer": stages, "nnUNetTrainerNACL": {"as trained": diagram()}})


PICTURES = {"paper": paper, "pages": pages, "results": results}


def numbers(values) -> str:
    return " ".join(f"{value + 0.0:.3f}".replace("-0.000", "0.000") for value in np.ravel(values))


def lines(figure: Figure) -> list[str]:
    """Return what a figure shows: the limits, bars, lines and words of its axes, and its legend."""
    found = []
    for number, axes in enumerate(figure.axes):
        name = f"axes {number}"
        found.append(f"{name} limits {numbers([*axes.get_xlim(), *axes.get_ylim()])}")
        for patch in axes.patches:
            corners = np.nan_to_num(patch.get_path().transformed(patch.get_patch_transform()).vertices)
            fill = to_hex(patch.get_facecolor()) if patch.get_fill() else "none"
            found.append(f"{name} patch {fill} edge {to_hex(patch.get_edgecolor())} {numbers(corners)}")
        for line in axes.lines:
            style = f"{to_hex(line.get_color())} {line.get_linestyle()} {line.get_marker()}"
            found.append(f"{name} line {style} {numbers(line.get_xydata())}")
        for collection in axes.collections:
            found += [f"{name} segment {numbers(segment)}" for segment in collection.get_segments()]
        words = [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
        found += [f"{name} says {word!r}" for word in words if word]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]
    return found + [f"legend {text.get_text()!r}" for legend in legends for text in legend.get_texts()]


def inline() -> list[str]:
    return str(reliability_svg(diagram(), "a network")).replace("><", ">\n<").splitlines()


def drawn() -> dict[str, list[str]]:
    """Return the lines of every picture, by the name of its baseline."""
    return {"inline": inline(), **{name: lines(draw()) for name, draw in PICTURES.items()}}


def main() -> None:
    BASELINE.mkdir(exist_ok=True)
    for name, content in drawn().items():
        (BASELINE / f"{name}.txt").write_text("\n".join(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
