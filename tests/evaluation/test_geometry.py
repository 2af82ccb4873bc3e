"""Spacing, volume and place are taken from the file that knows them, and what disagrees is said."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from scipy.ndimage import distance_transform_edt

from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.fingerprint import fingerprint
from nnunet_nacl.evaluation.geometry import geometry_of
from nnunet_nacl.evaluation.label_files import read_case_labels

NAME = "Dataset701_Tiff"
SPACING = [6.0, 2.0, 2.0]
LABEL = np.zeros((8, 12, 14), np.uint8)
LABEL[3:7, 3:8, 3:8] = 1


def described(reader="Tiff3DIO", ending=".tif"):
    return Dataset(NAME, {"0": "background", "1": "mito"}, None, None, ending, reader)


def write_files(folder, reader, ending):
    dataset = {"channel_names": {"0": "EM"}, "labels": {"background": 0, "mito": 1}, "numTraining": 1}
    (folder / "dataset.json").write_text(json.dumps(dataset | {"file_ending": ending}))
    plans = {"dataset_name": NAME, "plans_name": "nnUNetPlans", "label_manager": "LabelManager", "configurations": {}}
    (folder / "plans.json").write_text(json.dumps(plans | {"image_reader_writer": reader}))
    for name in ("gt", "pred"):
        (folder / name).mkdir()
    p = np.where(np.roll(LABEL, 1, 0) == 1, 0.9, 0.2).astype(np.float32)
    np.savez_compressed(folder / "pred" / "cell.npz", probabilities=np.stack([1 - p, p]))
    return (p > 0.5).astype(np.uint8)


def evaluate(folder, *extra):
    command = [
        "evaluate",
        folder / "pred",
        "-gt",
        folder / "gt",
        "-djfile",
        folder / "dataset.json",
        "-pfile",
        folder / "plans.json",
    ]
    assert main([*map(str, [*command, "-np", 1, "-o", folder / "out", *extra])]) == 0  # fmt: skip
    return json.loads((folder / "out" / "calibration.json").read_text())


@pytest.fixture
def tiff(tmp_path, monkeypatch):
    """A case after a training: the label without its spacing file, as nnU-Net copies it, the prediction with one."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    prediction = write_files(tmp_path, "Tiff3DIO", ".tif")
    tifffile.imwrite(tmp_path / "gt" / "cell.tif", LABEL)
    Tiff3DIO().write_seg(prediction, str(tmp_path / "pred" / "cell.tif"), {"spacing": SPACING})
    return tmp_path


def assert_right(summary):
    entry = summary["metric_per_case"][0]
    assert entry["metrics"]["1"]["volume_ml"]["reference"] == LABEL.sum() * 24 / 1000
    assert entry["metrics"]["1"]["HD95"] == 6
    near = [((k == LABEL) & (distance_transform_edt(k == LABEL, sampling=SPACING) <= 3)).sum() for k in (0, 1)]
    assert entry["voxel_sets"]["boundary"]["n_voxels"] == sum(near)


def test_spacing_beside_the_prediction_counts_where_the_label_has_none(tiff, capsys):
    summary = evaluate(tiff, "--hd95")
    assert_right(summary)
    assert not summary["remarks"]
    assert "Assuming spacing" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("folder", ["labelsTr", "imagesTr", "imagesTs"])
def test_spacing_of_the_raw_data_counts_where_no_other_file_has_one(folder, tiff, monkeypatch):
    (tiff / "pred" / "cell.json").unlink()
    raw = tiff / "raw" / NAME / folder
    raw.mkdir(parents=True)
    (raw / "cell.json").write_text(json.dumps({"spacing": SPACING}))
    monkeypatch.setenv("nnUNet_raw", str(tiff / "raw"))
    summary = evaluate(tiff, "--hd95")
    assert_right(summary)
    assert not summary["remarks"]


def test_a_spacing_that_nobody_knows_is_said(tiff, capsys):
    (tiff / "pred" / "cell.json").unlink()
    summary = evaluate(tiff)
    assert summary["metric_per_case"][0]["metrics"]["1"]["volume_ml"]["reference"] == LABEL.sum() / 1000
    assert list(summary["remarks"]) == ["spacing_assumed"]
    assert "1 of 1 cases: no file contains the spacing of the voxels" in capsys.readouterr().err


def test_two_spacing_files_that_disagree(tiff):
    (tiff / "gt" / "cell.json").write_text(json.dumps({"spacing": [5.0, 2.0, 2.0]}))
    summary = evaluate(tiff)
    assert summary["metric_per_case"][0]["metrics"]["1"]["volume_ml"]["reference"] == LABEL.sum() * 20 / 1000
    named = summary["remarks"]["geometry_differs"]["cases"]["cell"]
    assert named == "spacing (5, 2, 2) mm in the label file, (6, 2, 2) in the prediction"


@pytest.mark.parametrize("place", ["gt", "pred", "raw"])
def test_a_corrected_spacing_file_is_noticed(place, tiff, monkeypatch):
    (tiff / "pred" / "cell.json").unlink()
    folder = tiff / place
    if place == "raw":
        folder = tiff / "raw" / NAME / "labelsTr"
        folder.mkdir(parents=True)
        monkeypatch.setenv("nnUNet_raw", str(tiff / "raw"))
    for spacing in ([1.0, 1.0, 1.0], SPACING):
        (folder / "cell.json").write_text(json.dumps({"spacing": spacing}))
        summary = evaluate(tiff)
    assert summary["metric_per_case"][0]["metrics"]["1"]["volume_ml"]["reference"] == LABEL.sum() * 24 / 1000


@pytest.mark.parametrize(
    "content", ["{}", '{"spacing": 3}', '{"spacing": [1, 2]}', "[]", "{", '{"spacing": [1, 0, 1]}']
)
def test_spacing_files_that_are_none(content, tiff):
    (tiff / "pred" / "cell.json").write_text(content)
    case = Case("cell", tiff / "pred" / "cell.npz", tiff / "gt" / "cell.tif")
    with pytest.raises(InputError, match=r"cell\.(json|tif): (expected|cannot be read)"):
        read_case_labels(case, described())


def test_map_and_recalibration_use_the_same_spacing(tiff):
    """Of a prediction folder whose own spacing file is gone, and of one that has it."""
    from nnunet_nacl.recalibration.heads import SoftmaxHeads
    from nnunet_nacl.recalibration.voxels import Reader

    arguments = [
        "map",
        str(tiff / "pred"),
        "-gt",
        str(tiff / "gt"),
        "-djfile",
        str(tiff / "dataset.json"),
        "-pfile",
        str(tiff / "plans.json"),
    ]
    assert main([*arguments, "-o", str(tiff / "maps")]) == 0  # fmt: skip
    image = nibabel.load(str(tiff / "maps" / "cell_local_calibration_error.nii.gz"))
    assert image.header.get_zooms() == (2, 2, 6)
    reader = Reader(described(), SoftmaxHeads(("background", "mito")), 15, 2**30, tiff)
    volume = reader.read(Case("cell", tiff / "pred" / "cell.npz", tiff / "gt" / "cell.tif"))
    assert volume.spacing == tuple(SPACING)


def test_volume_of_a_sheared_affine(tmp_path):
    """A gantry tilt of 20 degrees: the volume of a voxel is the determinant, not the product of the axes' lengths."""
    prediction = write_files(tmp_path, "NibabelIO", ".nii.gz")
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    affine[1, 2] = 5.0 * np.tan(np.deg2rad(20))
    nibabel.save(nibabel.Nifti1Image(LABEL.T, affine), str(tmp_path / "gt" / "cell.nii.gz"))
    NibabelIO().write_seg(
        prediction, str(tmp_path / "pred" / "cell.nii.gz"), {"nibabel_stuff": {"original_affine": affine}}
    )
    summary = evaluate(tmp_path)
    volume = summary["metric_per_case"][0]["metrics"]["1"]["volume_ml"]["reference"]
    assert volume == pytest.approx(LABEL.sum() * 0.7 * 0.7 * 5 / 1000, rel=1e-6)
    assert summary["remarks"]["sheared"]["cases"] == {"cell": "70.0 degrees"}


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (lambda image: image, None),
        (lambda image: image.SetSpacing((1, 1, 2.5001)), None),  # as float32 and decimals have it
        (lambda image: image.SetSpacing((1, 1, 3)), "spacing (2.5, 1, 1) mm in the label file, (3, 1, 1) in the prediction"),
        (lambda image: image.SetOrigin((0, 0, 0.01)), None),
        (lambda image: image.SetOrigin((0, 7, 0)), "a corner of the volume lies 7 mm apart"),
        (lambda image: image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1)), "a corner of the volume lies 26 mm apart"),
    ],
)  # fmt: skip
def test_label_and_prediction_that_lie_apart(change, remark, tmp_path):
    prediction = write_files(tmp_path, "SimpleITKIO", ".nii.gz")
    for folder, values in (("gt", LABEL), ("pred", prediction)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((1, 1, 2.5))
        if folder == "pred":
            change(image)
        sitk.WriteImage(image, str(tmp_path / folder / "cell.nii.gz"))
    remarks = evaluate(tmp_path)["remarks"]
    assert remarks.get("geometry_differs", {}).get("cases") == (None if remark is None else {"cell": remark})


@pytest.mark.parametrize(
    ("spacing", "volume"),
    [((2.0, 0.5, 0.5), 0.5), ((999, 1, 1), np.nan), ((0.7 * 999, 0.5, 0.7), np.nan), ((5.0, 5.0, 5.0), 125)],
)
def test_voxel_volume(spacing, volume):
    """nnU-Net makes up a third axis for 2D data, 999 times the larger spacing or plainly 999: no volume."""
    assert geometry_of({"spacing": spacing}).voxel_volume_mm3 == pytest.approx(volume, nan_ok=True)


def test_volume_through_each_reader(tmp_path):
    image = sitk.GetImageFromArray(LABEL)
    image.SetSpacing((0.7, 0.9, 2.5))
    angle = 0.3
    image.SetDirection((np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    for reader in (SimpleITKIO, NibabelIO):
        geometry = geometry_of(reader().read_seg(str(tmp_path / "a.nii.gz"))[1])
        assert geometry.voxel_volume_mm3 == pytest.approx(0.7 * 0.9 * 2.5, rel=1e-6)
        assert geometry.shear < 1e-6
    sitk.WriteImage(image[:, :, 0], str(tmp_path / "b.nii.gz"))
    assert np.isnan(geometry_of(SimpleITKIO().read_seg(str(tmp_path / "b.nii.gz"))[1]).voxel_volume_mm3)
    NaturalImage2DIO().write_seg(LABEL[:1], str(tmp_path / "c.png"), {})
    assert np.isnan(geometry_of(NaturalImage2DIO().read_seg(str(tmp_path / "c.png"))[1]).voxel_volume_mm3)


@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".hdr"])
def test_voxels_in_a_file_of_their_own_are_in_the_fingerprint(ending, tmp_path):
    write_files(tmp_path, "SimpleITKIO", ending)
    case = Case("cell", tmp_path / "pred" / "cell.npz", tmp_path / "gt" / f"cell{ending}")
    prints = []
    for values in (LABEL, np.roll(LABEL, 1, 1)):
        sitk.WriteImage(sitk.GetImageFromArray(values), str(case.labels))
        prints.append(fingerprint(case, {}, described("SimpleITKIO", ending)))
    assert all(prints) and prints[0] != prints[1]
    assert len(list((tmp_path / "gt").iterdir())) == 2
