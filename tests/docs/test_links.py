"""Every link within README and docs leads somewhere, also to the heading that it names. Offline: others are looked at for form."""

import re
from urllib.parse import urlsplit

import pytest
from pages import PAGES, ROOT, name, prose

_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_CODE = re.compile(r"`[^`\n]*`")


def targets(text):
    return [found[1].split(' "')[0].strip() for found in _LINK.finditer(_CODE.sub("code", text))]


def anchors(text):
    """Return the ids of the headings as GitHub makes them; `mkdocs build --strict` holds them against its own."""
    headings = re.findall(r"^#{1,6} +(.*?) *#*$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def fault(page, target):
    """Return what is wrong with a link, or None."""
    parts = urlsplit(target)
    if parts.scheme:
        fine = parts.scheme in ("http", "https") and "." in parts.netloc and not re.search(r"[\s<>\"]", target)
        return None if fine else "is no URL"
    path = (page.parent / parts.path).resolve() if parts.path else page
    if not path.is_relative_to(ROOT) or not path.is_file():
        return "leads nowhere"
    if parts.fragment and parts.fragment not in anchors(prose(path)):
        return "names no heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page):
    assert [(target, fault(page, target)) for target in targets(prose(page)) if fault(page, target)] == []


def test_there_are_links():
    assert len([target for page in PAGES for target in targets(prose(page))]) > 70


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](docs/none.md)", "leads nowhere"),
        ("[a](docs/scores.md#none)", "names no heading"),
        ("[a [b] c](#none)", "names no heading"),
        ("![a](docs/images/none.png)", "leads nowhere"),
        ("[a](../../../../etc/passwd)", "leads nowhere"),
        ("[a](https://with space.org)", "is no URL"),
        ("[a](docs/scores.md#at-the-edges)", None),
        ("[a](docs/trainers.md#what-nacl-promises-and-what-it-does-not)", None),
        ("[a](https://en.wikipedia.org/wiki/Calibration_(statistics))", None),
    ],
)
def test_faults_are_seen(link, expected):
    (target,) = targets(f"text {link} text")
    assert fault(ROOT / "README.md", target) == expected
