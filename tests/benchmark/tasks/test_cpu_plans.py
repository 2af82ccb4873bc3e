"""Small plans derived from those of nnU-Net."""

import json
import os
from unittest import mock

import pytest

from nnunet_nacl.benchmark.tasks.cpu_plans import small_plans
from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError


def plans(n_stages=6, strides=2, patch=(128, 128, 112)):
    architecture = {
        "n_stages": n_stages,
        "features_per_stage": [32 * 2**stage for stage in range(n_stages)],
        "kernel_sizes": [[3, 3, 3]] * n_stages,
        "strides": [[1, 1, 1], *[[strides] * 3] * (n_stages - 1)],
        "n_conv_per_stage": [2] * n_stages,
        "n_conv_per_stage_decoder": [2] * (n_stages - 1),
        "conv_bias": True,
    }
    fullres = {"patch_size": list(patch), "batch_size": 4, "architecture": {"arch_kwargs": architecture}}
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return {"plans_name": "nnUNetPlans", "configurations": {"3d_fullres": fullres, "3d_cascade_fullres": cascade}}


def test_four_stages_small_patch_small_batch():
    planned = plans()
    small = small_plans(planned, "nnUNetPlansCPU")
    configuration = small["configurations"]["3d_fullres"]
    architecture = configuration["architecture"]["arch_kwargs"]
    assert architecture["features_per_stage"] == [8, 16, 32, 64]
    assert len(architecture["strides"]) == len(architecture["n_conv_per_stage"]) == 4
    assert len(architecture["n_conv_per_stage_decoder"]) == 3
    assert configuration["patch_size"] == [40, 40, 40]
    assert configuration["batch_size"] == 2
    assert small["plans_name"] == "nnUNetPlansCPU"
    assert small["configurations"]["3d_cascade_fullres"] == planned["configurations"]["3d_cascade_fullres"]
    assert planned == plans(), "the planned ones are not changed"


def test_patch_is_a_multiple_of_the_strides():
    assert small_plans(plans(patch=(20, 28, 9)), "x")["configurations"]["3d_fullres"]["patch_size"] == [16, 24, 8]


def test_own_patch_size():
    assert small_plans(plans(), "x", (32, 40, 32))["configurations"]["3d_fullres"]["patch_size"] == [32, 40, 32]
    with pytest.raises(InputError, match=r"multiples of \[8, 8, 8\] for 3d_fullres, got \[30, 40, 32\]"):
        small_plans(plans(), "x", (30, 40, 32))


@pytest.mark.nnunet
def test_command(nnunet, capsys):
    with mock.patch.dict(os.environ, nnunet.environment):
        assert main(["cpu-plans", "99", "-o", "mine"]) == 0
        assert main(["cpu-plans", "987"]) == 1
        assert main(["cpu-plans", "99", "-p", "missing"]) == 1
        assert main(["cpu-plans", "99", "-o", "nnUNetPlans"]) == 1
    assert json.loads((nnunet.preprocessed / "mine.json").read_text())["plans_name"] == "mine"
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert [
        part in line
        for part, line in zip(("987: nnU-Net knows no such", "missing.json: no such", "new name"), errors, strict=True)
    ] == [True] * 3


def test_unset_variable(monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    assert main(["cpu-plans", "99"]) == 1
    assert "nnUNet_preprocessed is not set" in capsys.readouterr().err
