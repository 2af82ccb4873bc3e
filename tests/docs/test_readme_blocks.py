"""README.md from an empty folder: each block is run by bash as it is written, with nnU-Net itself, in an environment of its own.

What is not as written, and why:

- The environment sees the packages of the one that runs the tests, so `pip install` builds and installs this project and finds the rest there.
- Words in capitals (PREDICTED) are the reader's own: here paths into what the demo has trained.
- Trainings are short and on the CPU: `demo.sh` by its options --quick and --no-install, nnU-Net's commands by the two of the same name below,
  which add `-device cpu` and the length (two iterations), and are nnU-Net's own otherwise.
- `bash scripts/test.sh` is what runs this test.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import SimpleITK as sitk
from pages import ROOT, blocks

pytestmark = pytest.mark.nnunet

INSTALL, EVALUATE, TRAIN, DEMO, TEST = BLOCKS = blocks(ROOT / "README.md", "bash")
MSD_ROOT = os.environ.get("NNUNET_NACL_MSD_ROOT")
TRAINER = re.search(r"-tr (\w+)", TRAIN)[1]

TRAIN_SHORTLY = """#!{python}
import sys

from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

initialize = nnUNetTrainer.initialize


def initialize_shortly(trainer):
    if trainer.num_epochs > 1:  # the demo's are short by name
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
    initialize(trainer)


if __name__ == "__main__":
    nnUNetTrainer.initialize = initialize_shortly
    sys.argv += ["-device", "cpu"]
    run_training_entry()
"""

PREDICT_ON_CPU = """#!{python}
import sys

from nnunetv2.inference.predict_from_raw_data import predict_entry_point

if __name__ == "__main__":
    sys.argv += ["-device", "cpu", "-npp", "1", "-nps", "1"]
    predict_entry_point()
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A checkout of this project that git has just made: what git would not see is not in it."""
    folder = tmp_path_factory.mktemp("empty") / "nnunet-nacl"
    unseen = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "nnunet-nacl-demo", ".*cache"
    )
    shutil.copytree(ROOT, folder, ignore=unseen)
    for command in (["init", "-q"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of a new virtual environment, which finds the packages of this one behind its own."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    site = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "packages_of_the_tests.pth").write_text(sysconfig.get_path("purelib"))
    for name, text in (("nnUNetv2_train", TRAIN_SHORTLY), ("nnUNetv2_predict", PREDICT_ON_CPU)):
        (venv / "bin" / name).write_text(text.format(python=venv / "bin" / "python"))
        (venv / "bin" / name).chmod(0o755)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("nnUNet_", "PYTHONPATH"))}
    path = os.pathsep.join((str(venv / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]))
    small = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "OMP_WAIT_POLICY": "passive"}
    return inherited | small | {"PATH": path, "VIRTUAL_ENV": str(venv), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(script, folder, environment):
    """Run lines of bash, stopping at the first that fails; return what they print."""
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, f"{script}\n{finished.stdout[-3000:]}\n{finished.stderr[-3000:]}"
    return finished.stdout


def filled_in(block, **words):
    """Return a block with the reader's own paths in the place of words in capitals."""
    return re.sub(r"\b(PREDICTED|LABELS|IMAGES|DATASET)\b", lambda word: str(words[word[1]]), block)


@pytest.fixture(scope="module")
def installed(clone, environment, tmp_path_factory):
    """The environment after the block `Install`, with nnU-Net's folders."""
    folders = {f"nnUNet_{name}": str(tmp_path_factory.mktemp(name)) for name in ("raw", "preprocessed", "results")}
    printed = run(INSTALL + '\necho "$nnUNet_extTrainer"', clone, environment | folders)
    assert "1 of 15" not in printed
    ext_trainer = printed.splitlines()[-1]
    assert Path(ext_trainer).is_relative_to(environment["VIRTUAL_ENV"])
    return environment | {"nnUNet_extTrainer": ext_trainer}


def demo(clone, environment, *options):
    (line,) = DEMO.splitlines()
    return run(" ".join((line, "--no-install --quick", *options)), clone, environment)


@pytest.fixture(scope="module")
def demonstrated(clone, installed):
    """What the demo printed, and the folder of its phantom."""
    return demo(clone, installed), clone / "nnunet-nacl-demo" / "phantom-quick"


def assert_ends_well(printed, folder, n_validated):
    assert re.search(r"^  epoch 1 of 1: loss -?\d.*, Dice of validation patches .* s$", printed, re.MULTILINE)
    *_, stock, recalibrated, ours, empty, last = printed.splitlines()
    for line, name in ((stock, "nnUNet "), (recalibrated, "nnUNet_recalibrated "), (ours, TRAINER[13:])):
        assert line.startswith(name)
        assert re.search(r"Dice 0\.\d{3}   says 0\.\d{3}, is right in 0\.\d{3}   ECE 0\.\d{3}", line), line
    assert (empty, last) == ("", f"open {folder / 'report.html'}")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("</html>") == 1
    assert f"nnUNet, nnUNet_recalibrated, {TRAINER[13:]} · {n_validated}" in page
    comparison = json.loads((folder / "comparison" / "comparison.json").read_text())
    assert len(comparison["cases"]) == n_validated
    tests = [test for test in comparison["tests"] if test["run"] == TRAINER[13:]]
    assert len(tests) == 5
    assert all(test["verdict"] in ("better", "worse", "unclear", "mixed") for test in tests)
    assert re.search(r"^ *ECE +predicted .* (better|worse|unclear|mixed) *$", printed, re.MULTILINE)


def test_every_block_is_run_here():
    assert blocks(ROOT / "README.md", "", "sh", "console", "python") == []
    assert TEST == "bash scripts/test.sh\n"


def test_demo(clone, installed, demonstrated):
    printed, folder = demonstrated
    assert_ends_well(printed, folder, n_validated=12)
    assert "nnUNetv2_train" in printed
    again = demo(clone, installed)
    assert "$ " not in again, "what is done is not done again"
    assert again.splitlines()[-5:] == printed.splitlines()[-5:]
    seen = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"], cwd=clone, capture_output=True, text=True
    )
    assert [line for line in seen.stdout.splitlines() if not line.startswith("A ")] == []


def test_trained_network(clone, installed, demonstrated, tmp_path):
    _, work = demonstrated
    data = "Dataset099_Phantom"
    (validation,) = (work / "nnUNet_results" / data).glob(
        "nnUNetTrainer_*__nnUNetPlansCPU__3d_fullres/fold_0/validation"
    )
    block = filled_in(EVALUATE, PREDICTED=validation, LABELS=work / "nnUNet_raw" / data / "labelsTr")
    printed = run(block, tmp_path, installed)
    assert re.search(r"^ *predicted( +-?\d\.\d{4}){3}", printed, re.MULTILINE)
    assert (validation / "calibration" / "calibration.json").is_file()
    assert (tmp_path / "temperature.json").is_file()
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count("</html>") == 1


def test_training(clone, installed, demonstrated, tmp_path):
    _, work = demonstrated
    folders = {f"nnUNet_{name}": str(work / f"nnUNet_{name}") for name in ("raw", "preprocessed", "results")}
    images = tmp_path / "images"
    images.mkdir()
    for image in sorted((work / "nnUNet_raw" / "Dataset099_Phantom" / "imagesTr").iterdir())[:2]:
        shutil.copy(image, images)
    block = filled_in(TRAIN, DATASET=99, IMAGES=images, PREDICTED=tmp_path / "predicted")
    run(block, tmp_path, installed | folders)
    fold = work / "nnUNet_results" / "Dataset099_Phantom" / f"{TRAINER}__nnUNetPlans__3d_fullres" / "fold_0"
    assert (fold / "validation" / "calibration" / "calibration.json").is_file()
    assert len(list((tmp_path / "predicted").glob("*.npz"))) == 2
    labels = work / "nnUNet_raw" / "Dataset099_Phantom" / "labelsTr"
    run(filled_in(EVALUATE.splitlines()[0], PREDICTED=tmp_path / "predicted", LABELS=labels), tmp_path, installed)
    assert (tmp_path / "predicted" / "calibration" / "calibration.json").is_file()


def crop(source, target, corner):
    """Write 24 x 32 x 24 voxels of an image, in its geometry."""
    target.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.ReadImage(str(source))
    size = [min(side, there) for side, there in zip((24, 32, 24), image.GetSize(), strict=True)]
    start = [min(begin, there - side) for begin, side, there in zip(corner, size, image.GetSize(), strict=True)]
    sitk.WriteImage(sitk.RegionOfInterest(image, size, start), str(target))


@pytest.mark.skipif(MSD_ROOT is None, reason="NNUNET_NACL_MSD_ROOT names no folder with Task04_Hippocampus")
def test_demo_on_the_real_task(clone, installed, tmp_path):
    """Sixty real cases, cropped around the hippocampus so that a short training is enough; fold 0 validates twelve."""
    task, subset = Path(MSD_ROOT) / "Task04_Hippocampus", tmp_path / "Task04_Hippocampus"
    content = json.loads((task / "dataset.json").read_text())
    content |= {"training": content["training"][:60], "numTraining": 60, "test": [], "numTest": 0}
    for entry in content["training"]:
        labelled = sitk.LabelShapeStatisticsImageFilter()
        labelled.Execute(sitk.ReadImage(str(task / entry["label"])) > 0)
        for path in entry.values():
            crop(task / path, subset / path, labelled.GetBoundingBox(1)[:3])
    (subset / "imagesTs").mkdir()
    (subset / "dataset.json").write_text(json.dumps(content))
    printed = demo(clone, installed, "--msd", str(subset), "--work", str(tmp_path / "work"))
    folder = tmp_path / "work" / "Task04_Hippocampus-quick"
    # eighty iterations do not always find a structure here, and then nothing is scored in `predicted`
    assert printed.splitlines()[-1] == f"open {folder / 'report.html'}"
    assert f"{TRAINER[13:]} · 12" in (folder / "report.html").read_text(encoding="utf-8")
    comparison = json.loads((folder / "comparison" / "comparison.json").read_text())
    assert len(comparison["cases"]) == 12
    tests = [test for test in comparison["tests"] if test["run"] == TRAINER[13:] and test["voxel_set"] == "all"]
    assert len(tests) == 2
    assert all(test["verdict"] in ("better", "worse", "unclear", "mixed") for test in tests)
