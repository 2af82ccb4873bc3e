"""What is fuzzed of lesions.json: up to the report's section, and the components that are found again in files."""

import json

import numpy as np
import SimpleITK as sitk

from nnunet_nacl.errors import InputError
from nnunet_nacl.lesions.folder import lesions_of_folders
from nnunet_nacl.lesions.output import content_of, read_json, write_json
from nnunet_nacl.lesions.places import place_of
from nnunet_nacl.lesions.rules import Rules
from nnunet_nacl.report.page_lesions import lesions_part
from nnunet_nacl.report.prepare_lesions import LesionsOfRun

from mutations import damaged_json  # isort: skip
from targets import refusal  # isort: skip


class LesionFiles:
    """lesions.json, of two cases with a true, a false and a missed one."""

    def __init__(self, folder):
        self.folder, self.path = folder, folder / "lesions.json"
        (folder / "labels").mkdir()
        dataset = {
            "labels": {"background": 0, "liver": 1},
            "channel_names": {"0": "x"},
            "file_ending": ".nii.gz",
            "numTraining": 2,
        }
        plans = {"dataset_name": "Dataset001_L", "image_reader_writer": "SimpleITKIO", "configurations": {}}
        (folder / "dataset.json").write_text(json.dumps(dataset))
        (folder / "plans.json").write_text(json.dumps(plans))
        for name in "ab":
            labels, p = np.zeros((3, 6, 6), np.uint8), np.zeros((3, 6, 6), np.float32)
            labels[1, 0:2, 0:2] = labels[1, 4, 4] = 1
            p[1, 0:2, 0:2], p[0, 0, 5] = 0.9, 0.7
            sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "labels" / f"{name}.nii.gz"))
            np.savez_compressed(folder / f"{name}.npz", probabilities=np.stack([1 - p, p]))
        files = folder / "labels", [folder], folder / "dataset.json", folder / "plans.json"
        write_json(content_of(lesions_of_folders(*files, Rules())), self.path)
        self.content = json.loads(self.path.read_text())

    def attempt(self, rng):
        self.path.write_bytes(damaged_json(rng, self.content))
        return self.read()

    def read(self):
        try:
            content = read_json(self.path)
        except InputError as error:
            return refusal(error)
        part = lesions_part([LesionsOfRun("run", self.folder, content)], [])
        assert [group.name for group in part.groups] == list(content["classes"])
        assert all("nan" not in group.froc + group.reliability for group in part.groups)
        for entry in content["extremes"]:
            try:
                assert place_of(content, self.folder, entry).component.any()
            except InputError as error:
                refusal(error)
        return "read"
