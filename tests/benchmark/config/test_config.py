"""The configuration: defaults, and messages that name the key that is wrong."""

import pytest
from studies import write_study

from nnunet_nacl.benchmark.config.study import load_study
from nnunet_nacl.errors import InputError
from nnunet_nacl.training.variants import resolve

BASE = {
    "tasks": ["Task04_Hippocampus", {"name": "Task99_Phantom", "phantom": {"cases": 6}}],
    "trainers": ["nnUNetTrainer", "nnUNetTrainerCELoss", "nnUNetTrainerNACL_weight0p2"],
}


def load(folder, **changes):
    return write_study(folder, **(BASE | changes))


def test_cpu_scale(tmp_path):
    study = load(tmp_path, tasks=[{"name": "Task04_Hippocampus", "from": "data/four.tar", "id": 44}])
    assert study.trainers == (
        "nnUNetTrainer_20epochs",
        "nnUNetTrainerCELoss_20epochs",
        "nnUNetTrainerNACL_weight0p2_20epochs",
    )
    assert study.baseline == "nnUNetTrainer_20epochs"
    assert (study.plans, study.device, study.shortened) == ("nnUNetPlansCPU", "cpu", True)
    assert study.tasks[0].source == tmp_path / "data" / "four.tar"
    assert study.tasks[0].dataset == "Dataset044_Hippocampus"
    assert study.folder == tmp_path


def test_paper_scale(tmp_path):
    study = load(tmp_path, scale="paper")
    assert study.trainers == tuple(BASE["trainers"])
    assert (study.plans, study.device, study.shortened) == ("nnUNetPlans", "cuda", False)
    assert load(tmp_path, scale="paper", length="50epochs").shortened
    assert load(tmp_path, scale="paper", trainers=["nnUNetTrainer_50epochs"]).shortened


def test_every_trainer_can_be_shortened_alike(tmp_path):
    """Also nnU-Net's own, of which nnU-Net itself has a 20epochs form of one and none of the other."""
    study = load(tmp_path, length="3epochs_2iterations")
    epochs = [resolve(name).__mro__ for name in study.trainers]
    assert [resolve(name).num_epochs for name in study.trainers] == [3, 3, 3]
    assert len({mro[1] for mro in epochs}) == 3, "each from its own base"


WRONG = {
    "unknown key": ({"trainer": []}, "Unexpected key `trainer`: did you mean `trainers`?"),
    "unknown task key": ({"tasks": [{"name": "Task02_Heart", "form": "x"}]}, "Unexpected key `tasks[0].form`: did you mean `from`?"),
    "missing": ({"folds": None}, "Expected `folds` to be a list of folds, each once, but it is missing."),
    "type": ({"folds": 0}, "Expected `folds` to be a list of folds, each once, but got 0."),
    "element": ({"folds": [0, 7]}, "Expected `folds[1]` to be a whole number from 0 to 4, but got 7."),
    "twice": ({"folds": [0, 0]}, "Expected `folds` to be a list of folds, each once, but got [0, 0]."),
    "nested": ({"tasks": [{"name": "Task02_Heart", "id": 0}]}, "Expected `tasks[0].id` to be the data set's number, from 1 to 999, but got 0."),
    "task": ({"tasks": ["Heart"]}, "Expected `tasks[0]` to be a task's name TaskXX_Name, or a mapping"),
    "version": ({"version": 2}, "Expected `version` to be 1, the version of this form, but got 2."),
    "scale": ({"scale": "gpu"}, "Expected `scale` to be paper (nnU-Net's defaults) or cpu"),
    "trainer": ({"trainers": ["nnUNetTrainer__x"]}, "Expected `trainers[0]` to be a trainer's name"),
    "length": ({"length": "20"}, "Expected `length` to be settings of length such as 20epochs"),
    "trainings": ({"trainings": 0}, "Expected `trainings` to be a whole number from 1 to 20, how often each fold is trained, but got 0."),
    "hd95": ({"hd95": "yes"}, "Expected `hd95` to be true or false, but got 'yes'."),
    "execution": ({"execution": {"gpus": [-1]}}, "Expected `execution.gpus[0]` to be a GPU's number, from 0, but got -1."),
    "baseline": ({"baseline": "nnUNetTrainerLS"}, "Expected `baseline` to be one of `trainers`, but got 'nnUNetTrainerLS'."),
    "two lengths": ({"trainers": ["nnUNetTrainer_5epochs"]}, "Expected `trainers[0]` to leave its length to `length`"),
    "no source": ({"tasks": ["Task77_Mine"]}, "Expected `tasks[0]` to be one of Task01_BrainTumour"),
    "two sources": ({"tasks": [{"name": "Task77_Mine", "from": "x", "phantom": {}}]}, "`tasks[0]` to have `from` or `phantom`, but got both"),
    "same number": ({"tasks": ["Task02_Heart", {"name": "Task09_Spleen", "id": 2}]}, "Dataset002_Heart and Dataset002_Spleen share one"),
    "patch": ({"scale": "paper", "patch_size": [8, 8, 8]}, "Expected `patch_size` only with `scale: cpu`"),
    "gpus on a cpu": ({"num_gpus": 2}, "Expected `num_gpus` to be 1 with `device: cpu`, but got 2."),
    "too few gpus": ({"scale": "paper", "num_gpus": 2, "execution": {"gpus": [0]}}, "at least `num_gpus` (2) GPUs, but got [0]"),
}  # fmt: skip


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_messages_name_the_key(changes, message, tmp_path):
    with pytest.raises(InputError) as caught:
        load(tmp_path, **changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'benchmark.yaml'}: ")


def test_a_folder_whose_results_cannot_be_joined(tmp_path):
    assert load(tmp_path / "a,b").trainings == 1
    with pytest.raises(InputError, match="Expected a folder without a comma with `trainings` above 1"):
        load(tmp_path / "a,b", trainings=2)


def test_no_file_and_no_yaml(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read .*`nnunet-nacl benchmark init"):
        load_study(tmp_path)
    (tmp_path / "benchmark.yaml").write_text("a: [")
    with pytest.raises(InputError, match="is not YAML"):
        load_study(tmp_path)
    (tmp_path / "benchmark.yaml").write_text("just text")
    with pytest.raises(InputError, match="Expected the file to be a mapping of keys.*but got 'just text'"):
        load_study(tmp_path)
