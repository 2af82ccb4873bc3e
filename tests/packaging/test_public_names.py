"""What the package says of itself: its public names, and the Python versions that it is for."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

from nnunet_nacl import __version__
from nnunet_nacl.decisions import threshold_fit, triage_fit, volume_fit
from nnunet_nacl.evaluation import protocol
from nnunet_nacl.lesions import output as lesions_output
from nnunet_nacl.recalibration import temperature_file
from nnunet_nacl.study import comparison_files
from nnunet_nacl.validation import disagreement_file

SOURCE = Path(__file__).parents[2]
PUBLIC = ["calibration", "decisions", "evaluation", "lesions", "losses"]
API = ast.parse((SOURCE / "tests" / "typing" / "public_api.py").read_text(encoding="utf-8"))
CONFIG = (SOURCE / "pyproject.toml").read_text(encoding="utf-8")


def imported(module):
    """Return the names that tests/typing/public_api.py takes from a module."""
    found = [node for node in ast.walk(API) if isinstance(node, ast.ImportFrom) and node.module == module]
    return {alias.name for node in found for alias in node.names}


def of_the_pages():
    """Return the modules and names that code in README.md and docs imports from the package."""
    files = [SOURCE / "README.md", *(SOURCE / "docs").rglob("*.md"), *(SOURCE / "docs").rglob("*.py")]
    lines = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return sorted(set(re.findall(r"^\s*from (nnunet_nacl[\w.]*) import ([\w, ]+)$", lines, re.M)))


@pytest.mark.parametrize("room", PUBLIC)
def test_public_names_are_those_of_all(room):
    module = importlib.import_module(f"nnunet_nacl.{room}")
    assert dir(module) == sorted(module.__all__)
    assert all(getattr(module, name) is not None for name in module.__all__)


@pytest.mark.parametrize("room", PUBLIC)
def test_each_is_type_checked_as_a_user_writes_it(room):
    module = importlib.import_module(f"nnunet_nacl.{room}")
    assert imported(module.__name__) == set(module.__all__)
    used = {node.id for node in ast.walk(API) if isinstance(node, ast.Name)}
    assert set(module.__all__) <= used


@pytest.mark.parametrize(("module", "names"), of_the_pages())
def test_what_the_pages_import_from_a_public_package_is_public(module, names):
    _, _, path = module.partition(".")
    room = path.partition(".")[0]
    if room in PUBLIC:
        assert path == room, "import from the package, whose names stay where they are"
        assert set(names.split(", ")) <= set(importlib.import_module(module).__all__)
    else:
        page = (SOURCE / "docs" / "upgrading.md").read_text(encoding="utf-8")
        assert f"`nnunet_nacl.{room}`" in page.split("may move")[0].rsplit("are the public packages", 1)[1]


@pytest.mark.parametrize("room", PUBLIC)
def test_each_public_name_says_what_it_takes(room):
    """A function and a class name their arguments or attributes; a class of results says its attributes."""
    module = importlib.import_module(f"nnunet_nacl.{room}")
    held = {name: getattr(module, name) for name in module.__all__}
    said = {name: inspect.getdoc(each) or "" for name, each in held.items() if callable(each)}
    assert [
        name
        for name, text in said.items()
        if not re.search(r"^(Args|Attributes|Arguments)\b|columns of :class:", text, re.M)
    ] == []


def test_no_other_package_has_public_names():
    """One that gets some belongs into PUBLIC."""
    packages = [path.parent for path in (SOURCE / "nnunet_nacl").rglob("__init__.py")]
    with_names = {path.name for path in packages if "__all__" in (path / "__init__.py").read_text(encoding="utf-8")}
    assert with_names == {*PUBLIC, "nnunet_nacl"}


def minor_versions(text):
    return sorted({int(minor) for minor in re.findall(r"3\.(\d+)", text)})


def test_python_versions_are_said_once():
    """The classifiers are the place; everything else is held to them."""
    versions = minor_versions("\n".join(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', CONFIG)))
    lowest, highest = versions[0], versions[-1]
    assert versions == list(range(lowest, highest + 1))
    assert f'requires-python = ">=3.{lowest}"' in CONFIG
    assert f'target-version = "py3{lowest}"' in CONFIG
    compatibility = (SOURCE / "docs" / "compatibility.md").read_text(encoding="utf-8")
    row, *_ = re.findall(r"^\| Python \| (.*) \|$", compatibility, re.M)
    assert row.startswith(f"3.{lowest} or newer")
    assert minor_versions(row) == versions
    assert f"Python 3.{lowest} or newer" in (SOURCE / "README.md").read_text(encoding="utf-8")
    assert sys.version_info[1] in versions, "CI and whoever runs this use one of them"


def test_the_version_is_the_same_everywhere():
    citation = (SOURCE / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.M) == [__version__]
    changes = (SOURCE / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## ([\d.]+)", changes, re.M)[0] == __version__


def test_file_versions_are_those_that_upgrading_says():
    """Each file of ours: the version that is written."""
    page = (SOURCE / "docs" / "upgrading.md").read_text(encoding="utf-8")
    said = {name: int(version) for name, version in re.findall(r"^\| `(\w+\.json)`.*?\|[^|]*\| (\d+) \|", page, re.M)}
    assert said == {
        "calibration.json": protocol.SCHEMA_VERSION,
        "temperature.json": temperature_file.SCHEMA_VERSION,
        "volumes.json": volume_fit.SCHEMA_VERSION,
        "triage.json": triage_fit.SCHEMA_VERSION,
        "thresholds.json": threshold_fit.SCHEMA_VERSION,
        "lesions.json": lesions_output.SCHEMA_VERSION,
        "comparison.json": comparison_files.SCHEMA_VERSION,
        "ensemble.json": disagreement_file.SCHEMA_VERSION,
    }
