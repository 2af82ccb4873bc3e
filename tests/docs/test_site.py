"""The site of the documentation."""

import re
import subprocess
import sys

import pytest
from pages import PAGES, ROOT


def test_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "nnUNetTrainerDiceL1ACE" in start
    assert 'href="scores/"' in start
    assert "recalibrate fit | apply" in start
    made = {path.parent.name for path in tmp_path.rglob("index.html")}
    assert {page.stem for page in PAGES if page.parent != ROOT} <= made
    assert not re.search(r"""(?:src|href)=["']https?://[^"']*(?:google|cdn|unpkg)""", start)
