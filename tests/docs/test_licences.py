"""docs/licences.md lists what pyproject.toml asks for, no more and no less."""

import importlib.util
import re

import pytest
from pages import ROOT

from nnunet_nacl.benchmark.tasks.msd import LICENCE

PAGE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def licences():
    pytest.importorskip("tomllib", reason="Python 3.11 has it")
    spec = importlib.util.spec_from_file_location("licences", ROOT / "scripts" / "licences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listed():
    return re.findall(r"^\| ([\w.-]+) \| ((?:run time|extra)[^|]*) \| [^|]+ \| ([^|]+) \|", PAGE, re.MULTILINE)


def test_every_direct_dependency_is_listed_once(licences):
    assert [(name, group) for name, group, _ in listed()] == [
        (name, group) for group, names in licences.requirements().items() for name in names
    ]
    assert len(listed()) > 30


def test_each_has_a_licence_and_copyleft_is_spoken_of(licences):
    """A line of a package that was not installed, or is copyleft and not explained, is no table."""
    explained = PAGE.split("## What is not permissive")[1]
    for name, _, stated in listed():
        if not licences.PERMISSIVE.search(stated):
            assert stated not in ("-", "not stated", "not installed here"), name
            assert f"**{name}**" in explained, (name, stated)
    # a library of its own, which nnU-Net installs in any case
    used = [name for name, group, stated in listed() if group == "run time" and licences.COPYLEFT.search(stated)]
    assert used == ["connected-components-3d"]


def test_the_licence_of_the_data_is_named():
    assert LICENCE in PAGE
