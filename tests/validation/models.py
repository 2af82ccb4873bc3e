"""Data sets and models made in this process: nnU-Net's own preprocessor, trainer and validation, weights that nobody trained."""

import contextlib
import json
import multiprocessing
import os
import shutil
from multiprocessing.pool import ThreadPool
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from skimage import io

CASES = ("phantom_001", "phantom_002")


class Variant:
    """A data set of the phantom's images with other labels, spacing or plans, and an untrained model of it.

    Args:
        nnunet: prepared folders, whose phantom is taken.
        root: new folders for raw, preprocessed and results.
        configuration: of the plans.
        dataset: changes to dataset.json.
        labels: changes a label map ``(z, y, x)``.
        spacing: of the images, ``(x, y, z)`` in mm.
        margin: slices of each axis' beginning in which the image is 0, so that nnU-Net crops.
        plans: changes to the plans, and to their configuration.
    """

    ending = ".nii.gz"

    def __init__(self, nnunet, root, configuration="3d_fullres", dataset=None, labels=lambda values: values,
                 spacing=(1, 1, 1), margin=0, plans=None, planned=None):  # fmt: skip
        self.configuration, self.name = configuration, "Dataset501_Variant"
        folders = {name: Path(root, name) for name in ("raw", "preprocessed", "results")}
        self.environment = nnunet.environment | {f"nnUNet_{name}": str(path) for name, path in folders.items()}
        self.environment |= {"nnUNet_n_proc_DA": "0"}
        self.raw, self.preprocessed = (folders[name] / self.name for name in ("raw", "preprocessed"))
        self.results = folders["results"] / self.name
        self._describe(nnunet, dataset or {}, plans or {}, planned or {})
        self._write_raw(nnunet.root / "raw" / "Dataset099_Phantom", labels, spacing, margin)
        self._preprocess()

    def _describe(self, nnunet, dataset, plans, planned):
        self.plans = json.loads((nnunet.preprocessed / "nnUNetPlansCPU.json").read_text())
        self.plans |= {"dataset_name": self.name} | plans
        configurations = self.plans["configurations"]
        configurations.setdefault(self.configuration, {"inherits_from": "3d_fullres"}).update(planned)
        if "previous_stage" in planned:
            configurations[planned["previous_stage"]] = {
                "inherits_from": "3d_fullres",
                "next_stage": self.configuration,
            }
        self.dataset_json = json.loads((nnunet.preprocessed / "dataset.json").read_text()) | dataset
        for folder in (self.raw, self.preprocessed):
            folder.mkdir(parents=True)
            (folder / "dataset.json").write_text(json.dumps(self.dataset_json))
        (self.preprocessed / "nnUNetPlansCPU.json").write_text(json.dumps(self.plans))
        splits = [{"train": list(CASES[1 - fold :][:1]), "val": [CASES[fold]]} for fold in range(2)]
        (self.preprocessed / "splits_final.json").write_text(json.dumps(splits))

    def _write_raw(self, source, change, spacing, margin):
        for name in ("imagesTr", "labelsTr"):
            (self.raw / name).mkdir()
        for case in CASES:
            image, labels = (
                sitk.GetArrayFromImage(sitk.ReadImage(str(source / path)))
                for path in (f"imagesTr/{case}_0000.nii.gz", f"labelsTr/{case}.nii.gz")
            )
            image[:margin] = image[:, :margin] = image[:, :, :margin] = 0
            for values, path in ((image, f"imagesTr/{case}_0000.nii.gz"), (change(labels), f"labelsTr/{case}.nii.gz")):
                written = sitk.GetImageFromArray(values)
                written.SetSpacing([float(extent) for extent in spacing])
                sitk.WriteImage(written, str(self.raw / path))
        shutil.copytree(self.raw / "labelsTr", self.preprocessed / "gt_segmentations")

    def _preprocess(self):
        plans = PlansManager(self.plans)
        configuration = plans.get_configuration(self.configuration)
        folder = self.preprocessed / configuration.data_identifier
        folder.mkdir()
        for case in CASES:
            configuration.preprocessor_class(verbose=False).run_case_save(
                str(folder / case), [str(self.raw / f"imagesTr/{case}_0000{self.ending}")],
                str(self.raw / f"labelsTr/{case}{self.ending}"), plans, configuration, self.dataset_json,
            )  # fmt: skip

    @contextlib.contextmanager
    def variables(self):
        with mock.patch.dict(os.environ, self.environment):
            yield

    def trainer(self, fold=0, trainer=module.nnUNetTrainer):
        """Return a trainer whose network has random weights; its checkpoint is written."""
        torch.manual_seed(0 if fold == "all" else fold)
        built = trainer(
            self.plans | {"continue_training": False}, self.configuration, fold, self.dataset_json, torch.device("cpu")
        )
        built.initialize()
        built.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # a training begins so, and mirrors from then on
        self.model = Path(built.output_folder_base)
        for name, content in (("plans.json", self.plans), ("dataset.json", self.dataset_json)):
            (self.model / name).write_text(json.dumps(content))
        with torch.no_grad():  # an untrained network is nearly certain of nothing
            for weights in built.network.parameters():
                weights *= 2
        built.save_checkpoint(str(Path(built.output_folder) / "checkpoint_final.pth"))
        return built


class ColourImages(Variant):
    """Slices of the phantom as colour images, which hold three channels in a file."""

    ending = ".png"

    def __init__(self, nnunet, root):
        channels = [str(number) for number in range(3)]
        intensities = {
            "max": 255.0,
            "mean": 80.0,
            "median": 80.0,
            "min": 0.0,
            "percentile_00_5": 1.0,
            "percentile_99_5": 250.0,
            "std": 20.0,
        }
        super().__init__(
            nnunet, root, "2d", {"channel_names": dict.fromkeys(channels, "rgb_to_0_1"), "file_ending": self.ending},
            plans={"image_reader_writer": "NaturalImage2DIO",
                   "foreground_intensity_properties_per_channel": dict.fromkeys(channels, intensities)},
            planned={"normalization_schemes": ["RGBTo01Normalization"] * 3, "use_mask_for_norm": [False] * 3, "spacing": [1.0, 1.0]},
        )  # fmt: skip

    def _write_raw(self, source, change, spacing, margin):
        super()._write_raw(source, change, spacing, margin)
        for path in sorted(self.raw.glob("*/*")):
            values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[8]
            if path.parent.name == "imagesTr":
                values = np.stack([np.clip(values * factor, 0, 255) for factor in (1, 0.5, 2)], axis=-1)
            io.imsave(str(path).replace(".nii.gz", ".png"), values.astype(np.uint8), check_contrast=False)
            path.unlink()
        shutil.rmtree(self.preprocessed / "gt_segmentations")
        shutil.copytree(self.raw / "labelsTr", self.preprocessed / "gt_segmentations")


def validate_by_nnunet(trainer):
    """Let nnU-Net's trainer validate with ``--npz``, with threads for worker processes, and return the folder."""

    class Threads:
        Pool = ThreadPool

    # as `nnUNetv2_train -device cpu`; with another number PyTorch adds up a convolution in another order
    torch.set_num_threads(os.cpu_count())

    with (
        mock.patch.object(multiprocessing, "get_context", lambda kind: Threads),
        mock.patch.object(module, "default_num_processes", 1),
    ):
        trainer.perform_actual_validation(True)
    return Path(trainer.output_folder) / "validation"


def assert_same_result(found, expected):
    """All counts are equal, all sums to 1e-6 relative; so are distances, volumes and what is said of the cases."""
    assert found.protocol == expected.protocol
    assert [result.case.name for result in found.cases] == [result.case.name for result in expected.cases]
    for ours, theirs in zip(found.cases, expected.cases, strict=True):
        np.testing.assert_equal(ours.voxel_volume_mm3, theirs.voxel_volume_mm3)  # NaN in 2D
        np.testing.assert_allclose(ours.hd95_mm, theirs.hd95_mm)
        np.testing.assert_array_equal(ours.overlap, theirs.overlap)
        np.testing.assert_allclose(ours.mask_sums, theirs.mask_sums, rtol=1e-6)
        assert dict(ours.remarks) == dict(theirs.remarks)
        for mine, other in zip(ours.problems, theirs.problems, strict=True):
            for name, value in vars(other).items():
                if np.asarray(value).dtype.kind in "iu":
                    np.testing.assert_array_equal(getattr(mine, name), value, err_msg=name)
                else:
                    np.testing.assert_allclose(getattr(mine, name), value, rtol=1e-6, atol=1e-9, err_msg=name)
