"""The pictures are the product: what they show is compared with a baseline that was looked at; drawn.py says how."""

import matplotlib as mpl
import pytest
from drawn import BASELINE, PICTURES, drawn, lines


def read(name):
    return (BASELINE / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module", autouse=True)
def matplotlib_as_it_comes():
    """After a training in this process it is not: nnU-Net's progress.png is drawn in seaborn's style, which stays."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


@pytest.fixture(scope="module")
def now(matplotlib_as_it_comes):
    return drawn()


@pytest.mark.parametrize("name", ["inline", *PICTURES])
def test_is_drawn_as_in_its_baseline(name, now):
    assert now[name] == read(name)


@pytest.mark.parametrize("name", PICTURES)
def test_other_data_are_seen(name):
    """A network that is a little surer: such a test can fail."""
    assert lines(PICTURES[name](1.1)) != read(name)


def test_another_color_and_another_word_are_seen():
    figure = PICTURES["paper"]()
    assert lines(figure) == read("paper")
    figure.axes[0].patches[0].set_facecolor("red")
    assert len(set(lines(figure)) ^ set(read("paper"))) == 2
    figure.axes[1].set_ylabel("part")
    assert len(set(lines(figure)) ^ set(read("paper"))) == 4
