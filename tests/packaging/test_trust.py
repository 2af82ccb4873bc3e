"""What docs/security.md promises about the code: nothing unpickled, nothing executed, no network, but in the places it names."""

import ast
from pathlib import Path

import pytest

import nnunet_nacl

PACKAGE = Path(nnunet_nacl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

MODULES = {
    # the exception that a checkpoint raises which weights_only refuses; nothing is loaded with it
    "pickle": {"training/share.py"},
    "requests": {"benchmark/tasks/download.py"},
    "pooch": {"benchmark/tasks/download.py"},
    "tarfile": {"benchmark/tasks/download.py"},
    # a system call: a child ends with its parent
    "ctypes": {"benchmark/engine/child.py"},
    # where this host's name goes into states and locks of a benchmark; no connection is made
    "socket": {"benchmark/engine/status.py", "benchmark/engine/step.py"},
} | {
    name: set()
    for name in ("_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "urllib", "http", "ftplib", "httpx",
                 "aiohttp", "urllib3", "smtplib", "ssl", "xmlrpc", "webbrowser", "code")
}  # fmt: skip
"""Files that may import a module which unpickles, runs code or opens connections."""

NAMES = {"eval", "exec", "compile", "__import__"}
METHODS = {
    "load_module",
    "exec_module",
    "unpack_archive",
    "extractall",
    "read_pickle",
    "to_pickle",
    "fromstring",
    "genfromtxt",
}


def imports(tree):
    """Yield the top-level name of each imported module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def faults(tree, file):
    """Return what of a file docs/security.md does not speak of."""
    found = [f"imports {name}" for name in imports(tree) if name in MODULES and file not in MODULES[name]]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, keywords = ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
        if called in NAMES:
            found.append(f"calls {called}")
        method = called.rsplit(".", 1)[-1]
        if method in METHODS and not (method == "extractall" and _is(keywords.get("filter"), "data")):
            found.append(f"calls {called}")
        if "allow_pickle" in keywords and not _is(keywords["allow_pickle"], False):
            found.append("allows pickle")
        if called in ("np.load", "numpy.load", "np.lib.format.read_array") and "allow_pickle" not in keywords:
            found.append(f"{called} without allow_pickle=False")
        if called == "torch.load" and not (file == "training/share.py" and _is(keywords.get("weights_only"), True)):
            found.append("torch.load without weights_only=True, or outside of share")
        if called.startswith("yaml.") and called.endswith(("load", "load_all")) and not called.startswith("yaml.safe_"):
            found.append(f"calls {called}")
        if _is(keywords.get("shell"), True) or called in ("os.system", "os.popen", "subprocess.getoutput"):
            found.append(f"calls {called} with a shell")
        if method in ("load_from_checkpoint", "load_url", "urlopen", "urlretrieve", "hub"):
            found.append(f"calls {called}")
    return found


def _is(node, value):
    return isinstance(node, ast.Constant) and node.value == value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_unpickled_executed_or_fetched(path):
    file = path.relative_to(PACKAGE).as_posix()
    assert faults(ast.parse(path.read_text(encoding="utf-8")), file) == []


def test_the_package_was_looked_at():
    assert {"evaluation/probabilities.py", "training/share.py", "benchmark/tasks/download.py"} <= {
        path.relative_to(PACKAGE).as_posix() for path in FILES
    }


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "import urllib.request", "from requests import get", "import numpy as np; np.load(p)",
        "np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=flag)", "torch.load(p, weights_only=True)", "eval(text)", "exec(text)",
        "yaml.load(text, Loader)", "yaml.unsafe_load(text)", "subprocess.run(c, shell=True)", "os.system(c)", "tar.extractall(p)",
        "tar.extractall(p, filter='fully_trusted')", "shutil.unpack_archive(p)", "pandas.read_pickle(p)",
    ],
)  # fmt: skip
def test_faults_are_seen(line):
    assert faults(ast.parse(line), "evaluation/new.py")


def test_share_may_load_weights_only():
    assert faults(ast.parse("torch.load(p, weights_only=True)"), "training/share.py") == []
    assert faults(ast.parse("torch.load(p)"), "training/share.py") != []
    assert faults(ast.parse("torch.load(p, weights_only=False)"), "training/share.py") != []
