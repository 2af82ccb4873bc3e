"""Maps lie where the case lies, through each of nnU-Net's readers, and their values survive the 16 bits."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from skimage import io

from nnunet_nacl.evaluation.geometry import geometry_of
from nnunet_nacl.report.nifti import SLOPE, SLOPE_SIGNED, write_map

SHAPE = (5, 8, 7)


def oblique(angle=0.4):
    """A direction matrix along none of the axes, with x and y exchanged."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
    return turn @ tilt @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])


@pytest.fixture
def case(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetOrigin((-31.5, 12.25, 104.0))
    image.SetDirection(oblique().ravel())
    sitk.WriteImage(image, str(tmp_path / "case.nii.gz"))
    return tmp_path / "case.nii.gz"


def map_of(case, reader, path):
    """Write the labels' own values, halved, as a map."""
    array, properties = recursive_find_reader_writer_by_name(reader)().read_seg(str(case))
    lies = geometry_of(properties)
    write_map(array[0] / 2, False, lies.affine, lies.dimensions, "labels", path)
    return sitk.ReadImage(str(path))


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO"])
def test_geometry_is_the_cases(case, reader, tmp_path):
    image, found = sitk.ReadImage(str(case)), map_of(case, reader, tmp_path / "map.nii.gz")
    np.testing.assert_allclose(found.GetDirection(), oblique().ravel(), atol=1e-5)
    np.testing.assert_allclose(found.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(found.GetSpacing(), image.GetSpacing(), rtol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(image) / 2)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient"])
def test_each_point_in_space_has_its_value(case, reader, tmp_path):
    image, found = sitk.ReadImage(str(case)), map_of(case, reader, tmp_path / "map.nii.gz")
    resampled = sitk.Resample(found, image, sitk.Transform(), sitk.sitkNearestNeighbor, -1.0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(resampled), sitk.GetArrayFromImage(image) / 2)


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_other_formats(case, ending, tmp_path):
    image = sitk.ReadImage(str(case))
    sitk.WriteImage(image, str(tmp_path / f"case.{ending}"))
    found = map_of(tmp_path / f"case.{ending}", "SimpleITKIO", tmp_path / "map.nii.gz")
    np.testing.assert_allclose(found.GetDirection(), image.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(found.GetOrigin(), image.GetOrigin(), atol=1e-4)


def test_sheared_affine(tmp_path):
    """A gantry tilt: the qform cannot say it, so only the sform does."""
    affine = np.array([[0.7, 0, 0, -3], [0, 0.9, 0.8, 5], [0, 0, 2.5, 7], [0, 0, 0, 1]])
    write_map(np.zeros(SHAPE), False, affine, 3, "nothing", tmp_path / "map.nii.gz")
    written = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    assert written.header["qform_code"] == 0


def test_two_dimensional_nifti(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, SHAPE[1:]).astype(np.uint8)
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.7, 0.9))
    image.SetOrigin((-31.5, 12.25))
    image.SetDirection((-1, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "case.mha"))
    found = map_of(tmp_path / "case.mha", "SimpleITKIO", tmp_path / "map.nii.gz")
    assert found.GetDimension() == 2
    np.testing.assert_allclose(found.GetSpacing(), image.GetSpacing(), rtol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), labels / 2)
    # ITK reads no rotation of a two-dimensional NIfTI, not even its own; the header has it
    affine = nibabel.load(tmp_path / "map.nii.gz").affine
    np.testing.assert_allclose(affine, [[0.7, 0, 0, 31.5], [0, -0.9, 0, -12.25], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-6)


def test_png(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, SHAPE[1:]).astype(np.uint8)
    io.imsave(tmp_path / "case.png", labels, check_contrast=False)
    found = map_of(tmp_path / "case.png", "NaturalImage2DIO", tmp_path / "map.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "case.png"))
    assert found.GetSize() == image.GetSize()
    assert found.GetSpacing() == image.GetSpacing()
    assert found.GetOrigin() == image.GetOrigin()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), labels / 2)


@pytest.mark.parametrize(("signed", "slope", "dtype"), [(False, SLOPE, np.uint16), (True, SLOPE_SIGNED, np.int16)])
def test_values_survive(signed, slope, dtype, tmp_path):
    values = np.linspace(-1 if signed else 0, 1, 5 * 8 * 7).reshape(SHAPE)
    values[1, 2, :2] = 1.0001, 0
    write_map(values, signed, np.eye(4), 3, "x" * 200, tmp_path / "map.nii.gz")
    stored = nibabel.load(tmp_path / "map.nii.gz")
    assert stored.get_data_dtype() == dtype
    as_itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "map.nii.gz")))
    for read in (as_itk, stored.get_fdata().transpose(2, 1, 0)):
        np.testing.assert_allclose(read, np.clip(values, -1, 1), atol=slope / 2)
        assert read.max() == 1
        assert read[1, 2, 1] == 0
        assert read.min() == (-1 if signed else 0)


def test_same_values_same_file(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_map(np.full(SHAPE, 0.3), False, np.eye(4), 3, "map", tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
