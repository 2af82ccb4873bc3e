"""docs/extending.md: its Python runs, and nnU-Net finds its trainers."""

import os

import pytest
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from pages import ROOT, blocks

from nnunet_nacl.cli import main
from nnunet_nacl.training.trainer_path import trainer_path

BLOCKS = blocks(ROOT / "docs" / "extending.md", "python")
DEFINING = [block for block in BLOCKS if "class " in block]


@pytest.fixture
def evaluated(phantom_task, dataset_files, tmp_path, monkeypatch):
    """A folder PREDICTED in the working directory, as `evaluate` leaves it."""
    monkeypatch.chdir(tmp_path)
    folders = [str(phantom_task / "posteriorTr"), "-gt", str(phantom_task / "labelsTr")]
    files = ["-djfile", str(dataset_files[0]), "-pfile", str(dataset_files[1])]
    assert main(["evaluate", *folders, *files, "-np", "1", "-o", "PREDICTED"]) == 0


@pytest.mark.usefixtures("evaluated")
def test_every_block_runs(capsys):
    namespace = {}
    for block in BLOCKS:
        exec(compile(block, "docs/extending.md", "exec"), namespace)
    assert namespace["logits"].grad.abs().max() > 0
    assert namespace["overconfidence_error"](namespace["statistics"]) == pytest.approx(0.18)
    assert len(namespace["of_cases"]) == 6
    assert "LogitPenaltyLoss(weight=0.01, " in capsys.readouterr().out


def test_the_loss_is_what_the_page_says():
    namespace = {}
    exec(DEFINING[0], namespace)
    logits, target = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]]), torch.tensor([[[0, 1]]])
    cross_entropy = torch.nn.functional.cross_entropy(logits, target[:, 0])
    expected = cross_entropy + 0.5 * torch.tensor([1.0, 9.0, 4.0, 25.0]).mean()
    torch.testing.assert_close(namespace["LogitPenaltyLoss"](0.5)(logits, target), expected)


def test_nnunet_finds_the_trainers(tmp_path, monkeypatch):
    (tmp_path / "page_extending_trainers.py").write_text("\n".join(DEFINING))
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join((str(trainer_path()), str(tmp_path))))
    for name in ("LogitPenalty", "DiceLogitPenalty", "LogitPenalty0p1", "NACLNoMirroring", "Followed"):
        assert recursive_find_trainer_class_by_name(f"nnUNetTrainer{name}").__name__ == f"nnUNetTrainer{name}"
