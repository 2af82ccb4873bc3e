"""Any text is shown as it is: rendered by a CommonMark parser it gives itself back, and nothing else."""

import html

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nnunet_nacl.results_page.markdown import WIDTH, block, code, item, number, sentence, signed, table, text, wrapped

PARSER = MarkdownIt("commonmark").enable("table")
WORDS = st.text(st.characters(codec="utf-8"), max_size=30)


def plain(value):
    """Return a text as one line, as :func:`text` does."""
    return " ".join("".join(" " if is_control(letter) else letter for letter in value).split())


def is_control(letter):
    return letter <= "\x1f" or "\x7f" <= letter <= "\x9f" or letter in "\u2028\u2029"


@given(WORDS)
@example("__0__")
@example("*_a_*")
def test_text_gives_itself_back(value):
    # behind a word, as all text in a page is
    assert html.unescape(PARSER.render(f"x {text(value)}")) == f"<p>{f'x {plain(value)}'.strip()}</p>\n"


@given(st.text("ab_*~:/w.<&! ", max_size=14))
def test_text_of_what_marks_up_gives_itself_back(value):
    assert html.unescape(PARSER.render(f"x {text(value)}")) == f"<p>{f'x {plain(value)}'.strip()}</p>\n"


@given(WORDS, WORDS)
def test_cells_give_themselves_back(first, second):
    rows = table(["name", "value"], [[text(f"x{first}"), text(f"x{second}")]])
    shown = html.unescape(PARSER.render(rows))
    cells = [part.split("</td>")[0] for part in shown.split("<td")[1:]]
    assert [cell.split(">", 1)[1] for cell in cells] == [plain(f"x{first}"), plain(f"x{second}")]


@given(st.text("ab`|_ *\\<", max_size=12))
def test_code_is_code_or_text(value):
    shown = PARSER.render(f"x {code(value)}")
    inner = shown.removeprefix("<p>x").removesuffix("</p>\n").replace("<code>", "").replace("</code>", "")
    assert "<" not in inner
    assert plain(html.unescape(inner)) == plain(value)


@given(st.text("ab`|_ *\\<&", max_size=16))
def test_sentence_is_code_and_text(value):
    inner = PARSER.render(f"x {sentence(value)}").removeprefix("<p>x").removesuffix("</p>\n")
    names = "".join(inner.replace("<code>", "`").replace("</code>", "`").split())
    assert "<" not in names
    assert html.unescape(names) == "".join(value.split())


def test_names_in_a_sentence_are_code():
    assert sentence("run `nnunet-nacl merge` a|b") == "run `nnunet-nacl merge` a&#124;b"
    assert "&#96;" in sentence("run `a|b`") and "&#96;" in sentence("one ` only")


@given(st.lists(st.sampled_from(["word", "-", "1.", "#", "+", "longerword" * 3, "="]), max_size=80))
def test_breaking_lines_makes_no_list_or_heading(words):
    paragraph = " ".join(["begin", *words])
    shown = PARSER.render(wrapped(paragraph))
    assert shown.replace("\n", " ").strip() == f"<p>{paragraph}</p>"
    longest = max(len(line) for line in item(" ".join(["word"] * 200)).split("\n"))
    assert longest <= WIDTH


@pytest.mark.parametrize("content", ["a: 1", "```\n# x", "````", "```yaml\na\n```\nb"])
def test_a_block_ends_where_it_should(content):
    shown = PARSER.render(f"{block(content, 'yaml')}\n\nafter")
    assert html.unescape(shown) == f'<pre><code class="language-yaml">{content}\n</code></pre>\n<p>after</p>\n'


def test_numbers():
    assert number(0.123456) == "0.1235"
    assert signed(-0.00004) == "-0.0000"
    assert [number(value) for value in (None, float("nan"), "1", True)] == ["-"] * 4
