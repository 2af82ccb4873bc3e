"""What the page says, and where it stands."""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from networks import run_of
from test_report_command import Elements

from nnunet_nacl.report.case_files import Given
from nnunet_nacl.report.html import render
from nnunet_nacl.report.page_content import Options, prepare_page
from nnunet_nacl.report.pictures import class_color, confidence_stops
from nnunet_nacl.report.prepare_reliability import prepare_reliability
from nnunet_nacl.report.prepare_warnings import warnings_once
from nnunet_nacl.report.reliability import COLOR_ACCURACY, COLOR_OVERCONFIDENT, COLOR_UNDERCONFIDENT, draw_grid
from nnunet_nacl.study.run import load_run


@pytest.fixture(scope="module")
def page(evaluated):
    runs = [load_run(evaluated.truth), load_run(evaluated.sharp)]
    return render(prepare_page(runs, Options(given=Given(images=evaluated.images), worst=1)))


@pytest.fixture(scope="module")
def text(page):
    return " ".join(" ".join(Elements(re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)).text).split())


def test_mean_over_cases_and_pooled_are_told_apart(page):
    names = re.findall(r"<dt>((?:ECE|Dice)[^<]*)</dt>", page.split('id="reading"')[0])
    assert (
        names == ["Dice, mean of the foreground classes", "ECE predicted, mean of cases", "ECE all, mean of cases"] * 2
    )
    below = re.findall(r'<p class="numbers">(ECE[^<]*)</p>', page.split('id="diagrams"')[1].split('id="worst"')[0])
    assert len(below) == 2 * 5 * (1 + 3)
    assert all(re.match(r"ECE [\d.]+ pooled", words) for words in below)
    assert (
        sum("mean of cases" in words for words in below) == 2 * 5
    )  # of a class against the rest there is no mean here


def test_the_same_warning_once(page, evaluated):
    assert page.count("Only 6 cases") == 1
    runs = [load_run(evaluated.truth), load_run(evaluated.sharp)]
    told = {warning.text: warning.runs for warning in warnings_once(runs, "predicted")}
    assert len(told) == len(warnings_once(runs, "predicted"))
    assert next(runs for text, runs in told.items() if text.startswith("Only 6 cases")) == ""


def test_classes_share_a_warning(evaluated):
    run = load_run(evaluated.truth)
    for case in run.summary["metric_per_case"][:2]:
        for label in ("1", "2"):
            case["metrics"][label]["n_ref"] = 0
    told = [warning.text for warning in warnings_once([run], "predicted") if "absent" in warning.text]
    assert len(told) == 1 and "absent is body from 2, cap from 2 of 6 cases: class-wise" in told[0]


def test_one_voxel_set_is_unfolded(page):
    for section in ("scores", "differences", "diagrams"):
        part = page.split(f'<section id="{section}">')[1].split("</section>")[0]
        opened = re.findall(r"<details open><summary><h3>(\S+)", part)
        assert [name for name in opened if name != "class"] == ["predicted"], section
        assert len(re.findall(r"<summary><h3>(?:all|union|foreground|predicted|boundary)\b", part)) == 5, section


def test_values_are_in_words(text):
    assert "kind of model one label for each voxel" in text
    assert "HD95 not computed" in text
    assert not re.search(r"\b(False|True|None|regions False|boundary mm|dataset json)\b", text)


def test_no_backticks_and_no_files_that_a_reader_lacks(text):
    assert "`" not in text
    # up to the command line of the evaluation, which is quoted
    assert not re.search(r"docs/|\.md\b", text.split("What was evaluated")[1])


def test_terms_of_the_field(text):
    for private in (
        "missing to the confidence",
        "at its word",
        "Before you believe",
        "looked at here",
        "shows the house",
    ):
        assert private not in text


def test_zero_has_no_sign(text):
    assert not re.search(r"[-+]0\.0+(?!\d)", text)


def test_confidence_is_bright_where_the_network_is_sure():
    def luminance(color):
        return np.dot([0.2126, 0.7152, 0.0722], [int(part) for part in re.findall(r"\d+", color)])

    brightness = [luminance(color) for color in confidence_stops(9)]
    assert brightness == sorted(brightness) and brightness[-1] > 220 and brightness[0] < 10


def test_many_classes_have_colours_of_their_own():
    assert len({class_color(label) for label in range(1, 25)}) == 24


def test_what_a_merged_result_is_made_of(evaluated, tmp_path):
    from nnunet_nacl.cli import main

    assert main(["merge", str(evaluated.truth), "-o", str(tmp_path / "merged")]) == 0
    shown = render(prepare_page([load_run(tmp_path / "merged")], Options(worst=0)))
    assert re.search(rf"<dt>merged from</dt><dd><code>{evaluated.truth}</code></dd>", shown)
    assert "{&#39;" not in shown


@pytest.mark.parametrize("groups", [[(0.95, 0.6, 500), (0.6, 0.95, 500)], [(0.9, 0.9, 100)]])
def test_the_legend_lies_off_the_bars_and_in_their_colours(groups):
    run = run_of([groups])
    figure = draw_grid([[prepare_reliability(run.statistics["case_00"], "all")]], ["network"])
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert not any(legend.get_window_extent().overlaps(box) for box in boxes)
    assert not any(axes.texts or axes.get_legend() for axes in figure.axes)
    bars = [bar for bar in figure.axes[0].patches if bar.get_height() > 0]
    # opaque, and none on another: what is seen is the colour of the legend
    assert all(bar.get_alpha() is None for bar in bars)
    for one in bars:
        for other in bars:
            overlap = min(one.get_y() + one.get_height(), other.get_y() + other.get_height()) - max(
                one.get_y(), other.get_y()
            )
            assert one is other or one.get_x() != other.get_x() or overlap < 1e-9
    colors = {handle.get_label(): handle for handle in figure.axes[0].containers}
    assert [colors[name].patches[0].get_facecolor() for name in colors] == [
        to_rgba(color) for color in (COLOR_ACCURACY, COLOR_UNDERCONFIDENT, COLOR_OVERCONFIDENT)
    ]
    assert "pooled" in figure.axes[0].get_title()
