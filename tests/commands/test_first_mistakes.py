"""What is printed for the mistakes that everyone makes first; the others are in test_inputs.py and test_failures.py."""

import json
import shutil

import pytest

from nnunet_nacl.cli import main


def test_dataset_json_of_the_msd(predicted, phantom_task, one_line):
    """The phantom's own, in the MSD's form, in place of nnU-Net's."""
    msd = phantom_task / "dataset.json"
    for command in (["evaluate", predicted, "-gt", phantom_task / "labelsTr", "-djfile", msd],
                    ["map", predicted, "-djfile", msd, "-o", predicted.parent / "maps"]):  # fmt: skip
        assert one_line(*command) == (
            f"{msd}: is the dataset.json of a Medical Segmentation Decathlon task. nnU-Net makes its own of it "
            "(nnUNetv2_convert_MSD_dataset) and puts that beside predictions and models: leave out -djfile, or pass the one in "
            "nnUNet_raw."
        )


@pytest.mark.parametrize("command", ["cpu-plans", "preprocess-raters", "benchmark split"])
def test_variables_that_are_not_set(command, one_line, monkeypatch):
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{variable}", raising=False)
    extra = ["-c", "3d_fullres"] if command == "benchmark split" else []
    line = one_line(*command.split(), 99, *extra)
    assert line.endswith(" is not set. Run `nnunet-nacl doctor` for what to set.")


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("command", ["cpu-plans", "preprocess-raters", "benchmark split"])
@pytest.mark.parametrize("wrong", ["98", "Dataset099_Phantm", "Phantom"])
def test_wrong_data_set(command, wrong, one_line):
    extra = ["-c", "3d_fullres"] if command == "benchmark split" else []
    line = one_line(*command.split(), wrong, *extra)
    assert line == f"{wrong}: nnU-Net knows no such data set. There are Dataset099_Phantom."


def test_number_of_two_data_sets(model, one_line):
    (model.raw_labels.parents[1] / "Dataset099_Other").mkdir()
    assert one_line("cpu-plans", "99") == (
        "99: more than one data set has this number: Dataset099_Other, Dataset099_Phantom."
    )


def test_labels_of_another_data_set(predicted, phantom_task, one_line, tmp_path):
    """Cases of other names; and of the same name, of another size."""
    import SimpleITK as sitk

    other = tmp_path / "other"
    shutil.copytree(phantom_task / "labelsTr", other)
    (other / "phantom_002.nii.gz").rename(other / "hippocampus_002.nii.gz")
    line = one_line("evaluate", predicted, "-gt", other, "-np", 1)
    assert line == f"{other}: no label file (.nii.gz) for phantom_002, predicted in {predicted}."
    image = sitk.GetImageFromArray(sitk.GetArrayFromImage(sitk.ReadImage(str(other / "phantom_001.nii.gz")))[:8])
    sitk.WriteImage(image, str(other / "phantom_002.nii.gz"))
    line = one_line("evaluate", predicted, "-gt", other, "-np", 1)
    assert "phantom_002.npz: expected shape (3, 8, 16, 16) to match the label file" in line


def test_cross_fit_takes_as_many_parts_as_there_are_cases(model, one_line, tmp_path):
    for path in model.validation.glob("phantom_00[3-5].*"):
        path.unlink()
    fit = ["recalibrate", "fit", str(model.validation), "--cross-fit", "-o", str(tmp_path / "t.json")]
    assert main(fit) == 0
    parts = json.loads((tmp_path / "t.json").read_text())["cross_fit"]["parts"]
    assert len(parts) == 3
    for path in model.validation.glob("phantom_00[12].*"):
        path.unlink()
    line = one_line(*fit, "--cross-fit-parts", 2)
    assert line.startswith("expected at least 2 cases for --cross-fit-parts")
