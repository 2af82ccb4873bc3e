"""What is fuzzed of the files that fits write and `apply` reads: volumes.json, triage.json and thresholds.json, up to the rows of the table."""

import math

import numpy as np

from nnunet_nacl.commands import triage, volumes
from nnunet_nacl.decisions.across import in_words
from nnunet_nacl.decisions.case_table import CaseTable
from nnunet_nacl.decisions.threshold_fit import ThresholdFit
from nnunet_nacl.decisions.triage import case_confidences, class_confidences
from nnunet_nacl.decisions.triage_fit import TriageFit
from nnunet_nacl.decisions.volume_fit import VolumeFit
from nnunet_nacl.errors import InputError

from mutations import damaged_json  # isort: skip
from targets import refusal  # isort: skip

SHARED = {
    "schema_version": 1,
    "level": 0.9,
    "cases": ["a", "b"],
    "protocol": {"labels": {"0": "background", "1": "liver", "2": "cyst"}, "regions": False},
}
ACROSS = {
    "of_each": {"fold_0": 0.9, "fold_1": 0.6},
    "below_the_level": ["fold_1"],
    "not_checked": {"fold_2": "too few"},
}
BIAS = {"ml": 0.2, "low": 0.1, "high": 0.3, "share": 0.1, "share_low": None, "share_high": None}
VOLUMES = {
    "name": "liver",
    "n_absent": 0,
    "hard_ml": [1.0, 9.0],
    "bias": {"hard": BIAS, "soft": BIAS},
    "ways": {
        "hard": {"log_ratio": [-0.1, 0.2], "median_log_ratio": 0.1},
        "soft_adaptive": {"log_ratio": [-1.5, 2.0], "median_log_ratio": 0.5},
    },
    "chosen": "soft_adaptive",
    "chosen_bounds": {"log_ratio": [-1.0, 2.5], "median_log_ratio": 0.4},
    "across_results": ACROSS,
}
ESTIMATE = {"median": -0.1, "lower": -0.2}


def table():
    predicted, soft = np.array([[900.0, 0.0], [2000.0, 30.0]]), np.array([[910.0, 0.5], [1990.0, 33.0]])
    sums = np.stack([soft * 0.9, soft * 0.2], -1)
    return CaseTable(("c", "d"), np.array([2.0, 2.0]), predicted, soft, soft * 0.1, sums)


class VolumeFiles:
    """volumes.json."""

    def __init__(self, folder):
        self.path, self.table = folder / "volumes.json", table()
        structures = {"1": VOLUMES, "2": VOLUMES | {"name": "cyst", "chosen": "hard"}}
        whole = {"voxel_mm3": [1.0, 2.0], "warnings": ["Two cases are few."], "structures": structures}
        self.content = SHARED | {"file_type": "nnunet-nacl volumes"} | whole

    def attempt(self, rng):
        self.path.write_bytes(damaged_json(rng, self.content))
        return self.read()

    def read(self):
        try:
            fit = VolumeFit(self.path)
        except InputError as error:
            return refusal(error)
        assert (
            list(fit.structures.items()) == [("1", "liver"), ("2", "cyst")]
            or fit.content["protocol"] != SHARED["protocol"]
        )
        for key in fit.structures:
            assert fit.structures[key] in fit.bias_in_words(key, fit.interval(key).chosen)
        for row in volumes._rows(fit, self.table, None):
            assert 0 <= row[4] <= row[3] <= row[5], row
        return "read"


class TriageFiles:
    """triage.json."""

    def __init__(self, folder):
        self.path, self.table = folder / "triage.json", table()
        structures = {
            key: {"name": name, "always": key == "1", "estimate": ESTIMATE}
            for key, name in (("1", "liver"), ("2", "cyst"))
        }
        whole = {"estimate": ESTIMATE, "across_results": ACROSS}
        self.content = SHARED | {"file_type": "nnunet-nacl triage", "all_structures": whole, "structures": structures}

    attempt = VolumeFiles.attempt

    def read(self):
        try:
            fit = TriageFit(self.path)
        except InputError as error:
            return refusal(error)
        confidences = case_confidences(self.table, fit.always)
        of_classes = class_confidences(self.table, fit.always)["soft_Dice"]
        for row in triage._rows(fit, self.table, confidences, of_classes, "soft_Dice", 0.5):
            assert all(value is None or 0 <= value <= 1 for value in row[2:4]), row
            assert not any(isinstance(value, float) and math.isinf(value) for value in row), row
            assert row[2] is None or row[3] <= row[2], row
        said = in_words("Dice", "the lower bound", fit.across, fit.level)
        assert not said or fit.across["below_the_level"] or fit.across["not_checked"]
        return "read"


class ThresholdFiles:
    """thresholds.json."""

    def __init__(self, folder):
        self.path = folder / "thresholds.json"
        structures = {"1": {"name": "liver", "threshold": 0.125}, "2": {"name": "cyst", "threshold": None}}
        whole = {"structures": structures, "warnings": ["cyst: too few"]}
        self.content = SHARED | {"file_type": "nnunet-nacl thresholds", "level": 0.1} | whole

    attempt = VolumeFiles.attempt

    def read(self):
        try:
            fit = ThresholdFit(self.path)
        except InputError as error:
            return refusal(error)
        assert list(fit.thresholds) == list(fit.structures)
        assert all(value is None or 0 < value < 1 for value in fit.thresholds.values())
        assert all(isinstance(sentence, str) for sentence in fit.sentences)
        return "read"
