"""What is fuzzed of the files beside a case: the spacing of a TIFF, groups of cases, splits, training logs, the list of raters."""

import json
import math
import os
from unittest import mock

import numpy as np
import tifffile

from nnunet_nacl.benchmark.curves.learning_curves import read_curve
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_groups import read_groups
from nnunet_nacl.evaluation.case_result import evaluate_case
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.evaluation.fingerprint import fingerprint
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.evaluation.summary import summarize
from nnunet_nacl.evaluation.validation_cases import remarks_on_cases
from nnunet_nacl.training.raters import INDEX_FILE, RaterIndex

from mutations import damaged_bytes, damaged_json  # isort: skip
from targets import DATASET, PLANS, SETTINGS, SHAPE, refusal, result_of, softmax  # isort: skip


class SpacingFiles:
    """``<case>.json`` with the spacing of a TIFF: beside the label, beside the prediction, or in the raw data."""

    SPACING = (2.0, 0.75, 0.5)

    def __init__(self, folder):
        (folder / "dataset.json").write_text(json.dumps(DATASET | {"file_ending": ".tif"}))
        (folder / "plans.json").write_text(json.dumps(PLANS | {"image_reader_writer": "Tiff3DIO"}))
        self.dataset = load_dataset(folder / "dataset.json", folder / "plans.json")
        self.variables = {"nnUNet_raw": str(folder / "raw")}
        folders = [folder / "gt", folder / "predictions", folder / "raw" / self.dataset.name / "labelsTr"]
        for each in folders:
            each.mkdir(parents=True)
        tifffile.imwrite(folder / "gt" / "case.tif", (np.arange(24).reshape(SHAPE) % 3).astype(np.uint8))
        np.savez_compressed(folder / "predictions" / "case.npz", probabilities=softmax())
        self.case = Case("case", folder / "predictions" / "case.npz", folder / "gt" / "case.tif")
        self.places = [each / "case.json" for each in folders]

    def attempt(self, rng):
        for place in self.places:
            place.unlink(missing_ok=True)
        content = damaged_json(rng, {"spacing": list(self.SPACING), "more": {"a": [1]}})
        rng.choice(self.places).write_bytes(content)
        with mock.patch.dict(os.environ, self.variables):
            assert isinstance(fingerprint(self.case, {}, self.dataset), str)
            try:
                label_map = read_case_labels(self.case, self.dataset)
                spacing = label_map.geometry.spacing
                assert len(spacing) == 3 and all(0 < extent < math.inf for extent in spacing), spacing
                assert not evaluate_case(self.case, self.dataset, SETTINGS).voxel_volume_mm3 <= 0  # NaN in 2D
            except InputError as error:
                return refusal(error)
        assert label_map.is_known and spacing == tuple(json.loads(content)["spacing"])
        return "read"


class CaseGroups:
    """The CSV file of ``--groups``, up to the intervals."""

    ROWS = (("case_0", "Mary"), ("case_1", "Mary"), ("case_2", "Ann, the second"))

    def __init__(self, folder):
        self.path = folder / "groups.csv"
        self.result = result_of(folder / "made")

    def attempt(self, rng):
        text = "".join(f'"{case}",{rng.randrange(9)},"{group}"\n' for case, group in self.ROWS)
        self.path.write_bytes(damaged_bytes(rng, f"case,age,group\n{text}".encode()))
        try:
            groups = read_groups(self.path)
            found = groups.of(case.case.name for case in self.result.cases)
            json.dumps(summarize(self.result, groups), allow_nan=False)
        except InputError as error:
            return refusal(error)
        assert len(found) == len(self.ROWS) and all(found)
        return "read"


class Splits:
    """splits_final.json, which tells whether a validation folder holds cases of another split. Damage says nothing."""

    CONTENT = ({"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "c"], "val": ["b"]})

    def __init__(self, folder):
        self.path = folder / "Dataset099_Phantom" / "splits_final.json"
        self.path.parent.mkdir()
        self.variables = {"nnUNet_preprocessed": str(folder)}
        predictions = folder / "run" / "fold_1" / "validation"
        predictions.mkdir(parents=True)
        self.cases = [Case(name, predictions / f"{name}.npz", folder / name) for name in "abc"]

    def attempt(self, rng):
        self.path.write_bytes(damaged_json(rng, list(self.CONTENT)))
        with mock.patch.dict(os.environ, self.variables):
            remarks = remarks_on_cases(self.cases, "Dataset099_Phantom")
        assert set(remarks) <= set("abc")
        return "read"


class TrainingLogs:
    """``training_log_*.txt`` of a fold without its last checkpoint."""

    TEXT = "".join(
        f"2026-11-27 10:00:0{epoch}.1: \n2026-11-27 10:00:0{epoch}.1: Epoch {epoch}\n"
        f"2026-11-27 10:00:0{epoch}.2: train_loss -0.{epoch}5\n2026-11-27 10:00:0{epoch}.2: val_loss -0.{epoch}\n"
        f"2026-11-27 10:00:0{epoch}.2: Pseudo dice [np.float32(0.{epoch}5), nan]\n"
        f"2026-11-27 10:00:0{epoch}.2: Pseudo calibration: foreground ECE 0.1, confidence - accuracy -0.05\n"
        f"2026-11-27 10:00:0{epoch}.3: Epoch time: 1.{epoch} s\n"
        for epoch in range(3)
    ).encode()

    def __init__(self, folder):
        self.fold = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0"
        self.fold.mkdir(parents=True)
        (self.fold.parent / "dataset.json").write_text(json.dumps(DATASET))

    def attempt(self, rng):
        (self.fold / "training_log_2026_11_27_10_00_00.txt").write_bytes(damaged_bytes(rng, self.TEXT))
        (self.fold / "debug.json").write_bytes(damaged_json(rng, {"num_iterations_per_epoch": "250"}))
        try:
            curve = read_curve(self.fold, lambda path: {})
        except InputError as error:
            return refusal(error)
        assert len(curve.dice) == len(curve.train_loss) == len(curve.class_dice) == curve.epochs
        assert curve.iterations > 0 and not curve.finished
        return "read"


class RaterLists:
    """raters.json, by which a training knows the raters' label maps."""

    def __init__(self, folder):
        self.folder = folder

    def attempt(self, rng):
        content = {"raters": ["one", "two"], "ignore_label": rng.choice((None, 3))}
        (self.folder / INDEX_FILE).write_bytes(damaged_json(rng, content))
        try:
            index = RaterIndex.read(self.folder)
        except InputError as error:
            return refusal(error)
        assert index.raters and ", ".join(index.raters)
        assert index.ignore_label is None or index.ignore_label > 0
        return "read"
