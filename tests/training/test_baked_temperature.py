"""A temperature in the segmentation layers: linear in the network, checked in float64, refused where there is no place for it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from scipy.special import expit, softmax

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.cli import main
from nnunet_nacl.commands.share import temperatures_of
from nnunet_nacl.errors import InputError
from nnunet_nacl.recalibration.temperature_file import FILE_TYPE, SCHEMA_VERSION
from nnunet_nacl.training import share as module
from nnunet_nacl.training.baked_temperature import agreement, divided
from nnunet_nacl.training.share import share

PATH = Path("checkpoint_final.pth")


def network():
    torch.manual_seed(0)
    return PlainConvUNet(
        1,
        3,
        (4, 8, 8),
        torch.nn.Conv3d,
        3,
        (1, 2, 2),
        1,
        3,
        1,
        conv_bias=True,
        deep_supervision=True,
        nonlin=torch.nn.ReLU,
    )


def outputs(weights):
    model = network()
    model.load_state_dict(weights)
    with torch.no_grad():
        return [
            head.numpy() for head in model(torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1)))
        ]


def test_all_heads_are_divided_channel_by_channel():
    weights = network().state_dict()
    temperatures = np.array([2.0, 4.0, 0.5])  # powers of two: not one bit is rounded
    before, after = outputs(weights), outputs(divided(weights, temperatures, "n", PATH))
    assert len(before) == 2
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one / temperatures.reshape(1, 3, 1, 1, 1).astype(np.float32), two)


def test_agreement_of_outputs_and_probabilities():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4, size=(3, 8, 9, 10))
    temperatures = np.full(3, 1.7)
    original = {"outputs_fold_0": logits[None], "probabilities_fold_0": softmax(logits, axis=0)}
    copy = {"outputs_fold_0": logits[None] / 1.7, "probabilities_fold_0": softmax(logits / 1.7, axis=0)}
    found = agreement(original, copy, {"fold_0": temperatures}, regions=False)
    assert found.output_difference < 1e-15
    assert found.probability_difference < 1e-12
    assert (found.n_moved, found.n_voxels) == (0, 2 * 720)
    copy["outputs_fold_0"] = copy["outputs_fold_0"].copy()
    copy["outputs_fold_0"][0, :, 0, 0, 0] = [9, 0, 0] if logits[:, 0, 0, 0].argmax() else [0, 9, 0]
    found = agreement(original, copy, {"fold_0": temperatures}, regions=False)
    assert found.output_difference > 0.1
    assert found.n_moved == 1
    assert np.isnan(agreement({"outputs_fold_0": logits[None]}, {"outputs_fold_0": logits[None]}, {"fold_0": np.ones(3)}, False).probability_difference)  # fmt: skip


def test_agreement_of_regions_each_with_its_own():
    logits = np.random.default_rng(0).normal(scale=4, size=(2, 8, 9, 10))
    temperatures = np.array([0.6, 3.0])
    tempered = logits / temperatures.reshape(2, 1, 1, 1)
    original = {"outputs_fold_1": logits[None], "probabilities_fold_1": expit(logits)}
    copy = {"outputs_fold_1": tempered[None], "probabilities_fold_1": expit(tempered)}
    found = agreement(original, copy, {"fold_1": temperatures}, regions=True)
    assert max(found.output_difference, found.probability_difference) < 1e-12
    assert found.n_moved == 0


def test_no_place_for_a_temperature():
    weights = network().state_dict()
    other = {name.replace("seg_layers", "head"): tensor for name, tensor in weights.items()}
    with pytest.raises(
        InputError, match=r"the network of X has no segmentation layers .* \(seg_layers; it has encoder, decoder\)"
    ):
        divided(other, np.ones(3), "the network of X", PATH)
    with pytest.raises(InputError, match="seg_layers.0.weight has 3 channels, but there are 2 temperatures"):
        divided(weights, np.ones(2), "n", PATH)


def temperature_file(folder, method, numbers, channels=("background", "body", "cap")):
    content = {
        "file_type": FILE_TYPE, "schema_version": SCHEMA_VERSION, "method": method, "kind": "softmax", "harm": {"in_words": []},
        "channels": list(channels), "cross_fit": None, "cases": [], "factors": [1 / number for number in numbers],
        "temperatures": list(numbers),
    }  # fmt: skip
    path = folder / f"{method}_{numbers[0]}_{len(channels)}.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def model_folder(tmp_path, dataset_files):
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold in ("fold_0", "fold_1"):
        (folder / fold).mkdir(parents=True)
        (folder / fold / "checkpoint_final.pth").touch()
    for path in dataset_files:
        (folder / path.name).write_text(path.read_text())
    return folder


def test_files_that_are_refused(model_folder, tmp_path, capsys):
    one = temperature_file(tmp_path, "temperature", [2.0] * 3)
    for files, message in (
        ([temperature_file(tmp_path, "by-prediction", [2.0, 1.0, 1.0])], "the method by-prediction depends on all classes of a voxel, which a layer of the network cannot compute"),
        ([temperature_file(tmp_path, "temperature", [2.0] * 2, ("background", "body"))], "was fitted for the softmax channels background, body, but"),
        ([one, one, one], "expected one temperature file, or 2, in the order of fold_0, fold_1; got 3"),
        ([tmp_path / "none.json"], "none.json: cannot be read"),
        ([Path("1e9")], "--temperature 1e9: expected a temperature from 0.01 to 100"),
        ([Path("nan")], "--temperature nan: expected a temperature from 0.01 to 100"),
    ):  # fmt: skip
        assert main(["share", str(model_folder), "-o", str(tmp_path / "out"), "--temperature", *map(str, files)]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_number_is_a_temperature_unless_it_is_a_file(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert temperatures_of(Path("1.5"), model_folder).tolist() == [1.5] * 3
    temperature_file(tmp_path, "temperature", [2.0] * 3).rename(tmp_path / "1.5")
    assert temperatures_of(Path("1.5"), model_folder).tolist() == [2.0] * 3


@pytest.mark.nnunet
def test_nnunet_alone_predicts_what_apply_makes(nnunet, trained_model, tmp_path):
    images = nnunet.root / "raw" / "Dataset099_Phantom" / "imagesTs"
    case = sorted(images.iterdir())[0]
    temperature = temperature_file(tmp_path, "temperature", [2.0] * 3)
    said = nnunet.run(
        "nnunet-nacl", "share", trained_model, "-o", tmp_path / "shared", "-i", case, "--temperature", temperature
    ).stdout
    assert "gives the original's network outputs divided by the temperature on a random patch" in said
    assert "voxels change their class through rounding" in said
    shared = tmp_path / "shared" / "nnUNetTrainer__nnUNetPlansCPU__3d_fullres"
    note = json.loads((shared / "shared.json").read_text())["temperature"]
    assert note["segmentation_layers_divided_by"] == {"fold_0": [2.0] * 3}
    assert note["output_difference"] < 1e-5
    assert note["probability_difference"] < 1e-5
    folders = {}
    for name, model in (("given", trained_model), ("baked", shared)):
        folders[name] = tmp_path / name
        program = Path(sys.executable).with_name("nnUNetv2_predict_from_modelfolder")
        options = ("-f", 0, "-device", "cpu", "--save_probabilities", "-npp", 1, "-nps", 1)
        command = [program, "-i", images, "-o", folders[name], "-m", model, *options]
        subprocess.run([str(part) for part in command], env=nnunet.environment, check=True, capture_output=True)
    nnunet.run(
        "nnunet-nacl", "recalibrate", "apply", temperature, folders["given"], "-o", tmp_path / "applied", "-np", 1
    )
    for path in folders["baked"].glob("*.npz"):
        # nnU-Net adds tiles in half precision, with a Gaussian weight that is next to nothing towards the corners of the image: there the
        # small logits of a network trained for two iterations lose their last bits, and halved ones lose more of them
        given, baked, applied = (
            np.load(folder / path.name)["probabilities"][:, 4:-4, 4:-4, 4:-4]
            for folder in (folders["given"], folders["baked"], tmp_path / "applied")
        )
        # elsewhere a power of two is no rounding, in half precision neither
        np.testing.assert_allclose(baked, applied, atol=1e-4)
        assert np.abs(given - applied).max() > 0.02
        labels = np.roll(given.argmax(0), 1, axis=0)
        assert ece(baked, labels) == pytest.approx(ece(applied, labels), abs=1e-4)
        assert abs(ece(given, labels) - ece(applied, labels)) > 1e-3


def ece(probabilities, labels):
    statistics = CalibrationStatistics.empty(3)
    statistics.update(probabilities, labels)
    return statistics.scores("all").ece


@pytest.mark.nnunet
def test_a_copy_with_another_temperature_is_not_kept(trained_model, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module, "divided", lambda weights, temperatures, *rest: divided(weights, temperatures * 1.001, *rest)
    )
    with pytest.raises(InputError, match="does not predict what the original does with the temperature"):
        share(trained_model, tmp_path / "shared", temperatures=[np.full(3, 2.0)])
    assert list((tmp_path / "shared").iterdir()) == []
