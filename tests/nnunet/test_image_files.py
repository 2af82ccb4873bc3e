"""Which image files a case has, as nnU-Net lists them."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.utils import create_paths_fn

from nnunet_nacl.errors import InputError
from nnunet_nacl.nnunet.image_files import images_in
from nnunet_nacl.training.share import _check_images
from nnunet_nacl.validation.case_inputs import RawCase
from nnunet_nacl.validation.model import digest_of


def test_are_those_that_nnunet_lists(tmp_path):
    names = ["a_0000.png", "a_0001.png", "a_b_0000.png", "a_00000.png", "a.png", "a_0002.png.bak", "xa_0000.png", "a(1)_0000.png"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    for case, channels in (("a", 6), ("a_b", 3), ("a(1)", 4)):
        found = images_in(tmp_path, case, channels, ".png", "NaturalImage2DIO")
        assert list(map(str, found)) == create_paths_fn(str(tmp_path), sorted(names), ".png", case)
    assert [path.name for path in images_in(tmp_path, "a", 2, ".png", "SimpleITKIO")] == ["a_0000.png", "a_0001.png"]


@pytest.mark.parametrize(
    ("channels", "reader", "message"),
    [
        (3, "SimpleITKIO", "a_0002.png: no such file; expected one image for each of 3 channels of a"),
        (1, "SimpleITKIO", "expected one image for each of 1 channels of a, but got 2: a_0000.png, a_0001.png"),
        (1, "NaturalImage2DIO", "expected one image for each of 1 channels of a, but got 2: a_0000.png, a_0001.png"),
    ],
)
def test_too_few_or_too_many_are_refused(tmp_path, channels, reader, message):
    for number in range(2):
        (tmp_path / f"a_{number:04d}.png").touch()
    with pytest.raises(InputError, match=message):
        images_in(tmp_path, "a", channels, ".png", reader)
    with pytest.raises(InputError, match="none/b_0000.png: no such file"):
        images_in(tmp_path / "none", "b", channels, ".png", reader)


def test_share_takes_a_colour_image_as_several_channels(tmp_path):
    image = tmp_path / "a_0000.png"
    image.touch()
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "R", "1": "G", "2": "B"}}))
    for reader, taken in (("NaturalImage2DIO", True), ("NibabelIO", False)):
        plans = {"image_reader_writer": reader, "configurations": {"2d": {}}}
        (tmp_path / "plans.json").write_text(json.dumps(plans))
        if taken:
            _check_images(tmp_path, "2d", [image])
        else:
            with pytest.raises(InputError, match="expected 3 image files with -i"):
                _check_images(tmp_path, "2d", [image])


@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".hdr", ".nii.gz"])
def test_the_digest_of_a_raw_case_is_that_of_its_voxels(tmp_path, ending):
    image = tmp_path / f"a_0000{ending}"
    digests = []
    for value in (1, 2, 1):
        sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 3, 4), value, np.uint8)), str(image))
        digests.append(digest_of(*RawCase("a", (image,)).files()))
    assert digests[0] == digests[2] != digests[1]


def test_the_digest_of_a_raw_tiff_is_that_of_its_spacing(tmp_path):
    image, spacing = tmp_path / "a_0000.tif", tmp_path / "a.json"
    image.write_bytes(b"voxels")
    assert RawCase("a", (image,)).files() == [image]
    spacing.write_text("{}")
    assert RawCase("a", (image,)).files() == [image, spacing]
