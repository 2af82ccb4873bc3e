"""Colour images, which hold three channels in one file: as nnU-Net has them of natural images."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from models import CASES, ColourImages, assert_same_result, validate_by_nnunet
from skimage import io

from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result

pytestmark = pytest.mark.nnunet


@pytest.fixture
def made(nnunet, tmp_path, monkeypatch):
    colours = ColourImages(nnunet, tmp_path)
    for name, value in colours.environment.items():
        monkeypatch.setenv(name, value)
    return colours


def said(capsys, *arguments):
    assert main(["validate", *map(str, arguments), "-device", "cpu"]) == 1
    return capsys.readouterr().err


def test_validated_from_the_raw_images(made, tmp_path, capsys):
    folder = validate_by_nnunet(made.trainer())
    assert main(["evaluate", str(folder), "-np", "1"]) == 0
    expected = read_result(folder / "calibration" / BINS_FILE)
    shutil.rmtree(made.preprocessed / made.plans["configurations"]["2d"].get("data_identifier", "nnUNetPlans_2d"))
    torch.set_num_threads(os.cpu_count())
    own = ("-f", 0, "-device", "cpu", "-o", tmp_path / "out")
    assert main(["validate", str(made.model), *map(str, own)]) == 0
    assert_same_result(read_result(tmp_path / "out" / BINS_FILE), expected)

    images = made.raw / "imagesTr"
    test_set = (made.model, "--images", images, "-gt", made.raw / "labelsTr", "-o", tmp_path / "test")
    assert main(["validate", *map(str, test_set), "-device", "cpu"]) == 0
    assert [result.case.name for result in read_result(tmp_path / "test" / BINS_FILE).cases] == list(CASES)

    grey = images / f"{CASES[0]}_0000.png"
    io.imsave(str(grey), io.imread(grey)[..., 0], check_contrast=False)
    assert "expected 3 channels, but its 1 images hold 1" in said(capsys, *test_set)
    for number in range(1, 4):
        shutil.copy(grey, str(grey).replace("_0000", f"_000{number}"))
    assert "expected one image for each of 3 channels of phantom_001, but got 4" in said(capsys, *test_set)
    assert not Path(tmp_path / "test" / ".calibration_cases").exists()
