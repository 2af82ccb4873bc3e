"""Fixtures that several test folders share: a small phantom, and nnU-Net with that phantom planned and preprocessed."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# Triton reads it when it is imported, which PyTorch does: its kernels run in NumPy then, on any machine (tests/losses/test_triton.py)
os.environ["TRITON_INTERPRET"] = "1"

import hypothesis
import pytest
import SimpleITK as sitk

from nnunet_nacl.benchmark.tasks.phantom import write_task

PHANTOM_ID = 99
MODEL_TRAINER = "nnUNetTrainerDiceNACL_gaussian_1epochs_2iterations_1valiterations"
ONE_PROCESS = ("-np", 1, "-npfp", 1)
"""Of planning and preprocessing: nnU-Net's eight each import PyTorch before they look at six tiny cases."""

# A busy machine is no failure, and CI tries the same examples each time; elsewhere new ones are tried.
hypothesis.settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("here")


def pytest_collection_modifyitems(items):
    """Files that run nnU-Net come first: parallel workers take whole files in turn, and the last is waited for."""
    slow = {item.path for item in items if item.get_closest_marker("nnunet")}
    items.sort(key=lambda item: item.path not in slow)


@dataclass
class NNUNet:
    """nnU-Net's folders in a temporary place and its commands, run as a user runs them."""

    root: Path
    variables: dict = field(default_factory=dict)

    @property
    def environment(self):
        folders = {f"nnUNet_{name}": str(self.root / name) for name in ("raw", "preprocessed", "results")}
        small = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1", "OMP_WAIT_POLICY": "passive"}
        small |= {
            "NNUNET_NACL_VALIDATE": "f"
        }  # a second prediction of each training; test_calibration_evaluation has one
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("nnUNet_")}
        return inherited | folders | small | self.variables

    def run(self, command, *arguments, check=True):
        """Run a command of this Python's environment in a folder of its own; return the finished process.

        The coverage of nnU-Net's own commands is not measured: that of a start of PyTorch costs as much as an epoch here, each of
        them starts it up to four times, and what they run of ours is measured where tests train in this process.
        """
        program = Path(sys.executable).with_name(command)
        measured = not command.startswith("nnUNetv2")
        environment = {
            key: value for key, value in self.environment.items() if measured or not key.startswith("COVERAGE_")
        }
        finished = subprocess.run(
            [program, *map(str, arguments)], env=environment, cwd=self.root, capture_output=True, text=True
        )
        if check and finished.returncode:
            raise AssertionError(f"{command} {arguments} failed:\n{finished.stdout[-3000:]}\n{finished.stderr[-3000:]}")
        return finished

    def prepare_variant(self, number, name, labels, change_labels=lambda values: values, **dataset):
        """Make a data set of the phantom's images with other labels or regions, planned and preprocessed."""
        raw = self.root / "raw"
        folder = raw / f"Dataset{number:03d}_{name}"
        shutil.copytree(raw / "Dataset099_Phantom", folder)
        for path in (folder / "labelsTr").iterdir():
            values = change_labels(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
            sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
        content = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps(content | {"labels": labels} | dataset))
        self.run("nnUNetv2_plan_and_preprocess", "-d", number, "-c", "3d_fullres", *ONE_PROCESS)
        self.run("nnunet-nacl", "cpu-plans", number)
        return self.root / "preprocessed" / folder.name

    def fold(self, trainer, configuration="3d_fullres", plans="nnUNetPlansCPU"):
        """Return the result folder of fold 0."""
        return self.root / "results" / "Dataset099_Phantom" / f"{trainer}__{plans}__{configuration}" / "fold_0"

    @property
    def preprocessed(self):
        return self.root / "preprocessed" / "Dataset099_Phantom"


def made_once(tmp_path_factory, name, make):
    """Return a folder that ``make`` has filled, once for all parallel workers of a test run: the others wait for the first."""
    of_all = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_all = of_all.parent
    folder, unfinished = of_all / name, of_all / f"{name}.unfinished"
    with (of_all / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)  # of a worker that failed
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def phantom_task(tmp_path_factory):
    """An MSD-style phantom task of six cases, 16 voxels a side."""
    folder = tmp_path_factory.mktemp("phantom") / "Task99_Phantom"
    write_task(folder, n_cases=6, size=16)
    return folder


@pytest.fixture(scope="session")
def new_nnunet(phantom_task, tmp_path_factory):
    """A function that gives nnU-Net with the phantom imported, planned and preprocessed by its own commands, and CPU plans.

    The first of the parallel workers has them made; each call copies them to a new place, to train in.
    """

    def prepare(root):
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
        first = NNUNet(root)
        first.run("nnUNetv2_convert_MSD_dataset", "-i", phantom_task, "-overwrite_id", PHANTOM_ID, "-np", 1)
        first.run("nnUNetv2_plan_and_preprocess", "-d", PHANTOM_ID, "-c", "2d", "3d_fullres", *ONE_PROCESS)
        first.run("nnunet-nacl", "cpu-plans", PHANTOM_ID)

    def copy():
        root = tmp_path_factory.mktemp("nnunet")
        shutil.copytree(made_once(tmp_path_factory, "prepared-nnunet", prepare), root, dirs_exist_ok=True)
        nnunet = NNUNet(root)
        nnunet.variables["nnUNet_extTrainer"] = nnunet.run("nnunet-nacl", "trainer-path").stdout.strip()
        return nnunet

    return copy


@pytest.fixture(scope="session")
def nnunet(new_nnunet):
    """nnU-Net's folders that the tests of a worker share."""
    return new_nnunet()


@pytest.fixture(scope="session")
def trained_model(nnunet, tmp_path_factory):
    """nnU-Net's folder of a network trained for two iterations, once for all parallel workers; not to be changed."""
    folder = nnunet.fold(MODEL_TRAINER).parent

    def train(made):
        nnunet.run(
            "nnUNetv2_train", 99, "3d_fullres", 0, "-tr", MODEL_TRAINER, "-p", "nnUNetPlansCPU", "-device", "cpu"
        )
        shutil.copytree(folder, made, dirs_exist_ok=True)

    made = made_once(tmp_path_factory, "trained-model", train)
    if not folder.exists():
        shutil.copytree(made, folder)
    return folder


@pytest.fixture(scope="session")
def dataset_files(tmp_path_factory):
    """dataset.json and plans.json as nnU-Net would have them for the phantom, for tests that need no training."""
    folder = tmp_path_factory.mktemp("dataset")
    labels = {"background": 0, "body": 1, "cap": 2}
    dataset = {"labels": labels, "channel_names": {"0": "phantom"}, "file_ending": ".nii.gz", "numTraining": 6}
    plans = {
        "dataset_name": "Dataset099_Phantom",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "configurations": {},
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder / "dataset.json", folder / "plans.json"
