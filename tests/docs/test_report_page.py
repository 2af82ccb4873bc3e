"""docs/report.md: the warnings that it explains are those that the report gives, all of them."""

import ast
import re

import pytest
from pages import ROOT

PACKAGE = ROOT / "nnunet_nacl"
PAGE = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
SAID = re.findall(r"^\| ([^|]+) \|", PAGE.split("## Warnings")[1].split("\n## ")[0], re.MULTILINE)[1:]


def texts(module):
    """Return the strings of a module, with a gap where something is filled in."""
    found = []
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
    return found


WARNINGS = [text for text in texts("report/prepare_warnings.py") if len(text) > 40]
ALL = [*WARNINGS, *texts("study/cautions.py"), *texts("evaluation/remarks.py"), *texts("study/failure_detection.py")]


def explains(said, text):
    """Tell whether the words of a row occur in a warning, in their order."""
    return re.search(".*".join(re.escape(piece.strip()) for piece in said.split("...")), text, re.DOTALL)


@pytest.mark.parametrize("said", [said for said in SAID if said != "No picture"])
def test_the_report_says_so(said):
    assert any(explains(said, text) for text in ALL)


@pytest.mark.parametrize("text", WARNINGS, ids=lambda text: text.replace("\0", "_")[:40])
def test_every_warning_is_explained(text):
    assert any(explains(said, text) for said in SAID)


def test_there_are_warnings():
    assert len(WARNINGS) == 8
    assert "No picture" in SAID
    assert any(text.startswith("No \0 for") for text in texts("report/not_shown.py"))
