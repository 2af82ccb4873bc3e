"""Data sets as nnU-Net leaves them, made without it from an MSD-style task."""

import json
import shutil

DATASET = "Dataset099_Phantom"


def imported(task, raw, name=DATASET):
    """Return the folder that nnUNetv2_convert_MSD_dataset makes of a task of three-dimensional images."""
    folder = raw / name
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for path in (task / "labelsTr").iterdir():
        shutil.copy(path, folder / "labelsTr")
        case = path.name.removesuffix(".nii.gz")
        shutil.copy(task / "imagesTr" / path.name, folder / "imagesTr" / f"{case}_0000.nii.gz")
    content = json.loads((task / "dataset.json").read_text())
    content = {key: value for key, value in content.items() if key not in ("modality", "training", "test")}
    content["labels"] = {name: int(value) for value, name in content["labels"].items()}
    (folder / "dataset.json").write_text(json.dumps(content | {"file_ending": ".nii.gz", "channel_names": {"0": "x"}}))
    return folder


def preprocessed(raw_folder, root):
    """Return what nnUNetv2_plan_and_preprocess leaves of a data set in nnUNet_raw, but for the arrays."""
    folder = root / raw_folder.name
    shutil.copytree(raw_folder / "labelsTr", folder / "gt_segmentations")
    shutil.copy(raw_folder / "dataset.json", folder)
    (folder / "data").mkdir()
    for path in (raw_folder / "labelsTr").iterdir():
        (folder / "data" / path.name.replace(".nii.gz", ".pkl")).touch()
    (folder / "dataset_fingerprint.json").write_text(json.dumps({INTENSITIES: STATISTICS}))
    (folder / "nnUNetPlans.json").write_text(json.dumps(PLANS | {"dataset_name": raw_folder.name}))
    return folder


INTENSITIES = "foreground_intensity_properties_per_channel"
STATISTICS = {"0": {"mean": 120.5, "std": 40.25}}
ARCHITECTURE = {
    "n_stages": 3,
    "features_per_stage": [32, 64, 128],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
}
PLANS = {
    "dataset_name": DATASET,
    "plans_name": "nnUNetPlans",
    "experiment_planner_used": "ExperimentPlanner",
    INTENSITIES: STATISTICS,
    "configurations": {
        "3d_fullres": {
            "data_identifier": "data", "batch_size": 2, "patch_size": [16, 16, 16],
            "architecture": {"network_class_name": "PlainConvUNet", "arch_kwargs": ARCHITECTURE},
        }
    },
}  # fmt: skip
