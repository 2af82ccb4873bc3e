"""The wheel as a user has it: installed elsewhere, run from another folder, found by nnU-Net."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]

FIND = """
import sys
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
import nnunet_nacl
for name in sys.argv[1:]:
    found = find(name)
    print("FOUND", found.__name__, found.__module__, nnunet_nacl.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "-o", folder, SOURCE], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel unpacked into a folder of its own, before everything else on the path."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, wheel]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def run(installed, cwd, *arguments, **variables):
    environment = os.environ | {"PYTHONPATH": str(installed)} | variables
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


def test_content(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nnunet_nacl"}
    assert "nnunet_nacl/_trainers/nnunet_nacl_trainers.py" in names
    assert "nnunet_nacl/py.typed" in names
    package = SOURCE / "nnunet_nacl"
    files = {
        path.relative_to(SOURCE).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files <= set(names)
    assert {"report/templates/style.css", "benchmark/engine/workflow/Snakefile", "benchmark/config/schema.json"} <= {
        name.removeprefix("nnunet_nacl/") for name in files
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_nnunet_finds_the_trainers_from_another_folder(installed, tmp_path):
    path = run(installed, tmp_path, "-m", "nnunet_nacl.cli", "trainer-path").strip()
    assert path == str(installed / "nnunet_nacl" / "_trainers")
    names = ["nnUNetTrainerNACL", "nnUNetTrainerDiceSVLS", "nnUNetTrainerDiceNACL_weight0p2_kernel5_100epochs"]
    printed = run(installed, tmp_path, "-c", FIND, *names, nnUNet_extTrainer=path)
    found = [line.split() for line in printed.splitlines() if line.startswith("FOUND")]
    assert [line[1] for line in found] == names
    assert all(line[3].startswith(str(installed)) for line in found)


def test_unknown_name_is_nnunets_own_error(installed, tmp_path):
    path = str(installed / "nnunet_nacl" / "_trainers")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(installed, tmp_path, "-c", FIND, "nnUNetTrainerNACL_wieght0p2", nnUNet_extTrainer=path)
    assert "Could not find requested nnunet trainer nnUNetTrainerNACL_wieght0p2" in failed.value.stderr


def test_trainers_import_torch_numpy_and_nnunet_only(installed, tmp_path):
    """What the trainers add to the modules that nnU-Net has loaded anyway."""
    script = (
        "import sys, nnunetv2.training.nnUNetTrainer.nnUNetTrainer, nnunetv2.utilities.find_objects\n"
        "before = set(sys.modules)\n"
        "import nnunet_nacl.training.variants\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    assert run(installed, tmp_path, "-c", script).split() == ["nnunet_nacl"]


def test_help_loads_nothing_heavy(installed, tmp_path):
    script = (
        "import sys\nfrom nnunet_nacl.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print('LOADED', [name for name in ('torch', 'numpy', 'nnunetv2', 'matplotlib', 'rich') if name in sys.modules])"
    )
    assert run(installed, tmp_path, "-c", script).splitlines()[-1] == "LOADED []"
