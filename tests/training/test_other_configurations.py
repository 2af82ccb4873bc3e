"""The trainers in nnU-Net's other configurations and networks: two dimensions, residual encoders, the cascade."""

import json
from copy import deepcopy

import pytest
import torch
from real_trainers import assert_dice_of_nnunet, newest_log, train_by_command

pytestmark = pytest.mark.nnunet

SHORT = "2iterations_1valiterations"


def test_two_dimensional(nnunet):
    trainer = f"nnUNetTrainerNACL_1epochs_{SHORT}"
    train_by_command(nnunet, trainer, configuration="2d")
    assert_dice_of_nnunet(nnunet.fold(trainer, "2d") / "validation")


def test_residual_encoder(nnunet):
    nnunet.run("nnUNetv2_plan_experiment", "-d", 99, "-pl", "nnUNetPlannerResEncM")
    nnunet.run("nnunet-nacl", "cpu-plans", 99, "-p", "nnUNetResEncUNetMPlans", "-o", "nnUNetResEncCPU")
    plans = json.loads((nnunet.preprocessed / "nnUNetResEncCPU.json").read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    assert architecture["network_class_name"].endswith("ResidualEncoderUNet")
    trainer = f"nnUNetTrainerNACL_1epochs_{SHORT}"
    nnunet.run("nnUNetv2_train", 99, "3d_fullres", 0, "-tr", trainer, "-p", "nnUNetResEncCPU", "-device", "cpu")
    fold = nnunet.fold(trainer, plans="nnUNetResEncCPU")
    assert "Training with NACLLoss(" in newest_log(fold)
    network = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert any("conv1" in name for name in network), "the blocks of residual encoders"
    assert max(len(weights) for weights in network.values()) <= 64
    assert (fold / "validation" / "summary.json").is_file()


def test_lowres_and_cascade(nnunet):
    """3d_lowres, whose predictions the cascade's fullres stage takes as input."""
    add_cascade(nnunet.preprocessed / "nnUNetPlansCPU.json")
    nnunet.run("nnUNetv2_preprocess", "-d", 99, "-plans_name", "nnUNetPlansCPU", "-c", "3d_lowres", "-np", 1)
    trainer = f"nnUNetTrainerDiceSVLS_1epochs_{SHORT}"
    # the cascade needs every case predicted, as the validation of nnU-Net's fold `all` does
    nnunet.run("nnUNetv2_train", 99, "3d_lowres", "all", "-tr", trainer, "-p", "nnUNetPlansCPU", "-device", "cpu")
    train_by_command(nnunet, trainer, configuration="3d_cascade_fullres")
    assert_dice_of_nnunet(nnunet.fold(trainer, "3d_cascade_fullres") / "validation")


def add_cascade(plans_file):
    plans = json.loads(plans_file.read_text())
    configurations = plans["configurations"]
    lowres = deepcopy(configurations["3d_fullres"])
    lowres |= {"data_identifier": "nnUNetPlansCPU_3d_lowres", "spacing": [1.25] * 3, "patch_size": [16] * 3}
    lowres["next_stage"] = "3d_cascade_fullres"
    configurations["3d_lowres"] = lowres
    configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    plans_file.write_text(json.dumps(plans))
