"""What the code imports is what pyproject.toml asks for: the base for all, an extra for what one command alone needs."""

import ast
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nnunet_nacl.cli import EXTRAS, main

SOURCE = Path(__file__).parents[2]
# PyTorch brings it where it has CUDA, in the release that it needs; the kernels run there and nowhere else
BROUGHT = {"triton"}


def names(requirements):
    return {Requirement(text).name.lower() for text in requirements}


@pytest.fixture(scope="module")
def project():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 has it")
    return tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def imported(path):
    """Return the top-level names of other people's packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"nnunet_nacl"}


@cache
def distributions():
    return {module: {name.lower() for name in found} for module, found in packages_distributions().items()}


def test_imports_are_declared(project):
    base = names(project["dependencies"]) | names(requires("nnunetv2"))
    extras = {name: names(listed) for name, listed in project["optional-dependencies"].items()}
    undeclared = set()
    for path in [*(SOURCE / "nnunet_nacl").rglob("*.py"), *(SOURCE / "trainers").glob("*.py")]:
        for module in imported(path):
            if module in BROUGHT:
                continue
            allowed = extras[EXTRAS[module]] if module in EXTRAS else base
            if not distributions().get(module, {module}) & allowed:
                undeclared.add((str(path.relative_to(SOURCE)), module))
    assert undeclared == set()


def test_the_parts_that_train_and_evaluate_need_no_extra():
    parts = ("losses", "training", "calibration", "evaluation", "study", "recalibration")
    paths = [path for part in parts for path in (SOURCE / "nnunet_nacl" / part).rglob("*.py")]
    assert {(path.name, module) for path in paths for module in imported(path) if module in EXTRAS} == set()


def test_the_extras_are_named_as_the_documentation_has_them(project):
    assert {"report", "benchmark", "test", "docs", "dev"} == set(project["optional-dependencies"])
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


def without(module, *arguments):
    """Run the command line in a Python that lacks a module."""
    script = (
        f"import sys; sys.modules[{module!r}] = None\nfrom nnunet_nacl.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("jinja2", "report", ("report", "RUN")),
        ("yaml", "benchmark", ("benchmark", "commands", "STUDY")),
        ("jsonschema", "benchmark", ("benchmark", "commands", "STUDY")),
    ],
)
def test_one_line_says_which_extra_is_missing(module, extra, arguments, tmp_path):
    assert main(["benchmark", "init", str(tmp_path), "--tasks", "phantom"]) == 0
    finished = without(module, *(tmp_path if word == "STUDY" else word for word in arguments))
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith("nnunet-nacl: error: ")
    assert f"needs {module}, which is not installed: pip install 'nnunet-nacl[{extra}]'." in line


def test_another_missing_module_is_not_blamed_on_an_extra():
    finished = without("rich", "compare", "BASE", "RUN")
    assert finished.returncode == 1
    assert "ModuleNotFoundError: No module named 'rich" in finished.stderr
    assert "pip install" not in finished.stderr
