"""The checks that pyproject.toml, scripts/test.sh and .pre-commit-config.yaml promise are on, and are the same everywhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SOURCE = Path(__file__).parents[2]
CONFIG = SOURCE / "pyproject.toml"


def tools_of_script():
    text = (SOURCE / "scripts" / "test.sh").read_text(encoding="utf-8")
    return re.findall(r'^(?:exec )?"\$venv/bin/([\w-]+)"(.*)$', text, re.MULTILINE)


def test_script_and_pre_commit_run_the_same():
    config = yaml.safe_load((SOURCE / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook["entry"].split()[0] for repository in config["repos"] for hook in repository["hooks"]]
    in_script = [tool for tool, _ in tools_of_script() if tool not in ("python", "pip")]
    assert in_script == hooks
    assert "ruff" in in_script


def test_ci_runs_the_script_as_a_whole():
    """With an argument it would leave tests and the coverage gate out."""
    assert (SOURCE / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == "bash scripts/test.sh"


def pytest_here(folder, *arguments):
    """Run pytest under this project's configuration in another folder, unmeasured by a coverage run around this one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
    command = [sys.executable, "-m", "pytest", "-c", CONFIG, "--rootdir", folder, "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_unknown_marks_and_tests_that_should_fail_are_errors(tmp_path):
    (tmp_path / "test_mark.py").write_text("import pytest\n@pytest.mark.nnuent\ndef test(): pass\n")
    (tmp_path / "test_pass.py").write_text("import pytest\n@pytest.mark.xfail\ndef test(): pass\n")
    marked, passed = pytest_here(tmp_path, "test_mark.py"), pytest_here(tmp_path, "test_pass.py")
    assert (marked.returncode, passed.returncode) == (2, 1)
    assert "'nnuent' not found in `markers` configuration option" in marked.stdout
    assert "[XPASS(strict)]" in passed.stdout


@pytest.mark.parametrize(
    ("category", "module", "status"),
    [("UserWarning", "nnunet_nacl.x", 1), ("UserWarning", "torch.x", 0), ("RuntimeWarning", "numpy.x", 1)],
)
def test_warnings_are_errors(tmp_path, category, module, status):
    """All of this package, and of others those of arithmetic."""
    warn = f"warnings.warn_explicit('beware', {category}, 'x.py', 1, module='{module}')"
    (tmp_path / "test_warns.py").write_text(f"import warnings\ndef test(): {warn}\n")
    finished = pytest_here(tmp_path, "test_warns.py")
    assert finished.returncode == status
    assert (f"{category}: beware" in finished.stdout) == bool(status)


def test_coverage_counts_child_processes_and_leaves_out_machine_code(tmp_path):
    (tmp_path / "test_child.py").write_text(
        "import subprocess, sys\n"
        "def test():\n"
        "    subprocess.run([sys.executable, '-c', 'import nnunet_nacl.calibration.boundary'], check=True)\n"
    )
    finished = pytest_here(
        tmp_path, "test_child.py", "--cov", f"--cov-config={CONFIG}", "--cov-report=json:coverage.json"
    )
    assert finished.returncode == 0, finished.stdout
    files = json.loads((tmp_path / "coverage.json").read_text())["files"]
    (boundary,) = (counts for name, counts in files.items() if name.endswith("calibration/boundary.py"))
    assert boundary["summary"]["covered_lines"] > 0
    source = (SOURCE / "nnunet_nacl" / "calibration" / "boundary.py").read_text(encoding="utf-8").splitlines()
    first = source.index("@compiled") + 1
    assert {first, first + 1, first + 2} <= set(boundary["excluded_lines"])
