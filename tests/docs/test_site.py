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
    assert "nnUNetTrainerNACL" in start
    assert 'href="scores/"' in start
    assert "recalibrate fit | apply" in start
    made = {path.parent.name for path in tmp_path.rglob("index.html")}
    assert {page.stem for page in PAGES if page.parent != ROOT} <= made
    assert not re.search(r"""(?:src|href)=["']https?://[^"']*(?:google|cdn|unpkg)""", start)


def test_security_lists_every_direct_dependency():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 has it")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["report"] + extras["benchmark"] + extras["docs"]
    # an extra may name another of our own
    needed = [re.split(r"[^\w.-]", line)[0].lower() for line in lines if not line.startswith("nnunet-nacl[")]
    assert "nnunetv2" in needed
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").lower()
    assert [package for package in needed if not re.search(rf"\|[^|]*\b{re.escape(package)} \|", page)] == []
