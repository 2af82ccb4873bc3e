"""`nnunet-nacl trainers`."""

import json

from nnunet_nacl.cli import main
from nnunet_nacl.training.trainers import TRAINERS


def test_lists_every_trainer_with_its_defaults(capsys):
    assert main(["trainers", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(listed) == list(TRAINERS)
    assert listed["nnUNetTrainerDiceMbLS"]["hyper_parameters"] == {
        "mbls_weight": 0.1,
        "mbls_margin": 10.0,
        "with_dice": True,
        "warm_up_epochs": 0,
    }
    assert "margin5" in listed["nnUNetTrainerMbLS"]["settings"]


def test_explains_a_variant(capsys):
    assert main(["trainers", "nnUNetTrainerNACL_weight0p2_100epochs"]) == 0
    printed = capsys.readouterr().out
    assert "nnUNetTrainerNACL with nacl_weight=0.2, num_epochs=100" in printed
    assert "nacl_weight=0.2, nacl_kernel_size=3" in printed


def test_says_which_part_of_a_name_is_wrong(capsys):
    assert main(["trainers", "nnUNetTrainerSVLS_weight0p2"]) == 1
    assert "'weight0p2' in nnUNetTrainerSVLS_weight0p2 has no meaning for nnUNetTrainerSVLS" in capsys.readouterr().err
