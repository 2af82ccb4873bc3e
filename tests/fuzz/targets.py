"""What is fuzzed: each reader of files that others made. A target damages valid files and says what became of it.

``attempt`` returns "refused" where the reader said in one line what is wrong, "read" where it gave the right result. Anything else is raised:
an exception that is no InputError, or an AssertionError where a result is wrong.
"""

import contextlib
import io
import json
import math
from dataclasses import replace

import numpy as np

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, write_result
from nnunet_nacl.evaluation.case_result import evaluate_case
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.fingerprint import fingerprint
from nnunet_nacl.evaluation.folder import evaluate_folder
from nnunet_nacl.evaluation.label_files import read_label_map
from nnunet_nacl.evaluation.memory import bytes_needed
from nnunet_nacl.evaluation.merging import merge_results
from nnunet_nacl.evaluation.output import write_cases, write_summary
from nnunet_nacl.evaluation.probabilities import KEY, read_probabilities
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.store import CaseStore
from nnunet_nacl.evaluation.summary import summarize

from mutations import Member, damaged_bytes, damaged_json, damaged_members, npy, npz_members, zip_of  # isort: skip

SHAPE = (2, 3, 4)
DATASET = {
    "labels": {"background": 0, "body": 1, "cap": 2},
    "channel_names": {"0": "x"},
    "file_ending": ".nii.gz",
    "numTraining": 6,
}
REGIONS = DATASET | {
    "labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3},
    "regions_class_order": [1, 2],
}
PLANS = {
    "dataset_name": "Dataset099_Phantom",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "configurations": {"3d_fullres": {"data_identifier": "nnUNetPlans_3d_fullres", "patch_size": [16, 16, 16]}},
}
DESCRIBED = Dataset(
    "Dataset099_Phantom", {"0": "background", "1": "body", "2": "cap"}, None, None, ".nii.gz", "SimpleITKIO"
)
SETTINGS = Settings(5, 3.0, True)


def refusal(error):
    """Check the one line that a user would see."""
    text = str(error)
    assert text and "\n" not in text and "\r" not in text, f"not one line: {text!r}"
    text.encode("utf-8", "backslashreplace")
    return "refused"


def softmax(shape=(3, *SHAPE), seed=0):
    """Return probabilities, some of them 0 so that they pack."""
    values = np.random.default_rng(seed).dirichlet(np.full(shape[0], 0.3), shape[1:]).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def write_labels(path, values, spacing=(2.0, 0.75, 0.5)):
    """Write a label map ``(z, y, x)`` with SimpleITK."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(values.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(path))


class SoftmaxFiles:
    """``<case>.npz``: the reader, the estimate of memory, and the fingerprint."""

    def __init__(self, folder):
        self.path = folder / "case.npz"
        self.values = softmax()
        self.case = Case("case", self.path, folder / "case.nii.gz")
        self.case.labels.write_bytes(b"labels")

    def attempt(self, rng):
        stored = self.values.astype(rng.choice(("<f4", "<f4", ">f4", "<f2", "<f8")))
        members = npz_members({KEY: stored}, rng.randrange(2))
        kind = rng.choice(("bytes", "members", "array", "both"))
        if kind in ("array", "both"):
            content = npy(rng, f"'{stored.dtype.str}'", "(3, 2, 3, 4)", stored.tobytes())
            members = [Member.of(f"{KEY}.npy", content, rng.randrange(2))]
        if kind in ("members", "both"):
            members = damaged_members(rng, members)
        content = zip_of(members)
        self.path.write_bytes(damaged_bytes(rng, content) if kind == "bytes" else content)
        assert isinstance(fingerprint(self.case, {}, DESCRIBED), str)
        assert bytes_needed(self.case) >= 0
        try:
            found = read_probabilities(self.path, 3, SHAPE)
        except InputError as error:
            return refusal(error)
        expected = stored
        if kind != "bytes":
            with contextlib.suppress(Exception):  # np.load looks at more than the one array, and at less of it
                expected = np.load(self.path, allow_pickle=False)[KEY].reshape(3, *SHAPE)
        np.testing.assert_array_equal(found, expected.astype(found.dtype))
        return "read"


class BinsFiles:
    """calibration_bins.npz: ``merge``, ``compare``, ``report``, and the cases of an earlier run."""

    def __init__(self, folder):
        self.folder, self.path = folder, folder / BINS_FILE
        self.result = result_of(folder / "made")
        renamed = [
            replace(result, case=replace(result.case, name=f"other {result.case.name}")) for result in self.result.cases
        ]
        self.renamed = replace(self.result, cases=tuple(renamed))
        self.original = write_result(self.result, folder / "made").read_bytes()
        with np.load(folder / "made" / BINS_FILE) as stored:
            self.arrays = dict(stored)
        self.shown = json.dumps(plain_summary(self.result))

    def attempt(self, rng):
        kind = rng.choice(("bytes", "members", "arrays", "headers"))
        self.path.write_bytes(self._damaged(rng, kind))
        store = CaseStore(self.folder, self.result.protocol)
        for case in self.result.cases:
            recalled = store.load(case.fingerprint)
            assert kind in ("arrays", "headers", "members") or recalled is None or recalled.case.name == case.case.name
        try:
            found = read_result(self.path)
        except InputError as error:
            return refusal(error)
        try:
            summary = plain_summary(found)
            merge_results({self.folder: self.renamed, self.folder / "other": found})
        except InputError as error:
            return refusal(error)
        if kind == "bytes":
            assert json.dumps(summary) == self.shown
        check_scores(summary)
        return "read"

    def _damaged(self, rng, kind):
        if kind == "bytes":
            return damaged_bytes(rng, self.original)
        if kind == "members":
            return zip_of(damaged_members(rng, npz_members(self.arrays)))
        arrays = dict(self.arrays)
        members = []
        for _ in range(rng.randrange(1, 3)):
            name = rng.choice(list(arrays))
            if kind == "headers":
                values = arrays.pop(name)
                members.append(
                    Member.of(f"{name}.npy", npy(rng, f"'{values.dtype.str}'", str(values.shape), values.tobytes()))
                )
            else:
                arrays[name] = damaged_array(rng, arrays[name], arrays)
        return zip_of(npz_members(arrays) + members)


class StoredCases(BinsFiles):
    """The cases that an interrupted run has finished, ``.calibration_cases/<fingerprint>.npz``."""

    def attempt(self, rng):
        kind = rng.choice(("bytes", "members", "arrays", "headers"))
        (self.folder / ".calibration_cases").mkdir(exist_ok=True)
        wanted = self.result.cases[0]
        (self.folder / ".calibration_cases" / f"{wanted.fingerprint}.npz").write_bytes(self._damaged(rng, kind))
        found = CaseStore(self.folder, self.result.protocol).load(wanted.fingerprint)
        if found is None:
            return "refused"
        assert found.fingerprint == wanted.fingerprint
        one = type(self.result)((found, *self.result.cases[1:]), self.result.protocol, {})
        summary = plain_summary(one)
        if kind == "bytes":
            assert json.dumps(summary) == self.shown
        check_scores(summary)
        return "read"


class Descriptions:
    """dataset.json and plans.json, up to the written results."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("labels", "of_labels", "of_regions", "out"):
            (folder / name).mkdir()
        np.savez_compressed(folder / "of_labels" / "case.npz", probabilities=softmax())
        np.savez_compressed(folder / "of_regions" / "case.npz", probabilities=softmax((2, *SHAPE)))
        write_labels(folder / "labels" / "case.nii.gz", np.arange(24).reshape(SHAPE) % 3)

    def attempt(self, rng):
        dataset, plans = rng.choice((DATASET, DATASET, REGIONS)), PLANS
        paths = self.folder / "dataset.json", self.folder / "plans.json"
        for path, content in zip(paths, (dataset, plans), strict=True):
            path.write_text(json.dumps(content))
        damaged, path = rng.choice(((dataset, paths[0]), (dataset, paths[0]), (plans, paths[1])))
        path.write_bytes(damaged_json(rng, damaged))
        try:
            found = load_dataset(*paths)
            assert len(found.target_names) == found.num_channels >= 1
            predictions = self.folder / ("of_regions" if dataset is REGIONS else "of_labels")
            result = evaluate_folder(
                self.folder / "labels", predictions, *paths, 1, SETTINGS, output_folder=self.folder / "out", fresh=True
            )
        except InputError as error:
            return refusal(error)
        summary = summarize(result)
        write_summary(summary, self.folder / "out")
        write_cases(summary, self.folder / "out")
        write_result(result, self.folder / "out")
        print_tables(summary)
        return "read"


class LabelFiles:
    """Label files, through nnU-Net's readers, up to the figures of the case."""

    ENDINGS = (
        (".nii.gz", "SimpleITKIO"),
        (".nii.gz", "NibabelIO"),
        (".nii.gz", "NibabelIOWithReorient"),
        (".mha", "SimpleITKIO"),
        (".nrrd", "SimpleITKIO"),
    )

    def __init__(self, folder):
        self.folder = folder
        self.values = np.arange(24).reshape(SHAPE) % 3
        self.probabilities = folder / "case.npz"
        np.savez_compressed(self.probabilities, probabilities=softmax())
        self.datasets, self.originals, self.read = {}, {}, {}
        for ending, reader in self.ENDINGS:
            (folder / "dataset.json").write_text(json.dumps(DATASET | {"file_ending": ending}))
            (folder / "plans.json").write_text(json.dumps(PLANS | {"image_reader_writer": reader}))
            key = ending, reader
            self.datasets[key] = load_dataset(folder / "dataset.json", folder / "plans.json")
            write_labels(folder / f"whole{ending}", self.values)
            self.originals[key] = (folder / f"whole{ending}").read_bytes()
            self.read[key] = read_label_map(folder / f"whole{ending}", self.datasets[key])

    def attempt(self, rng):
        key = rng.choice(self.ENDINGS)
        content, packed = self.originals[key], key[0].endswith(".gz")
        inside = packed and rng.randrange(2)
        content = packed_again(damaged_nifti(rng, content)) if inside else damaged_bytes(rng, content)
        path = self.folder / f"case{key[0]}"
        path.write_bytes(content)
        case = Case("case", self.probabilities, path)
        try:
            label_map = read_label_map(path, self.datasets[key])
            labels, spacing = label_map.values, label_map.geometry.spacing
            assert labels.ndim == 3, labels.shape
            assert len(spacing) == 3 and all(0 < extent < math.inf for extent in spacing), spacing
            evaluate_case(case, self.datasets[key], SETTINGS)
        except InputError as error:
            return refusal(error)
        if packed and not inside:
            np.testing.assert_array_equal(labels, self.read[key].values)
            assert spacing == self.read[key].geometry.spacing
        return "read"


def damaged_nifti(rng, content):
    """Return the unpacked bytes of a .nii.gz with another header field or other bytes."""
    import gzip

    unpacked = bytearray(gzip.decompress(content))
    if rng.randrange(3) == 0:
        return damaged_bytes(rng, bytes(unpacked))
    for _ in range(rng.randrange(1, 3)):
        offset, size = rng.choice(((0, 4), (40, 2), (42, 2), (44, 2), (46, 2), (48, 2), (50, 2), (70, 2), (72, 2), (80, 4), (84, 4), (88, 4), (92, 4),
                                   (108, 4), (112, 4), (116, 4), (123, 1), (252, 2), (254, 2), (280, 4), (344, 4)))  # fmt: skip
        value = rng.choice(
            (
                0,
                1,
                2,
                4,
                64,
                255,
                0x7FFF,
                0xFFFF,
                0x7F800000,
                0x7FC00000,
                0xBF800000,
                0x3F800000,
                0x7F7FFFFF,
                1,
                0xFFFFFFFF,
            )
        )
        unpacked[offset : offset + size] = (value % 256**size).to_bytes(size, "little")
    return bytes(unpacked)


def packed_again(content):
    import gzip

    return gzip.compress(content, mtime=0)


def damaged_array(rng, values, others):
    """Return an array of another dtype, shape or with other values."""
    kind = rng.choice(("dtype", "shape", "value", "cut", "other", "text", "negative", "huge", "axis"))
    if kind == "dtype":
        return (
            values.astype(rng.choice(("U3", "S2", "i1", "f2", "c8", "?", "u8")))
            if values.dtype.kind in "if"
            else np.zeros(values.shape)
        )
    if kind == "shape":
        return rng.choice(
            (
                values.ravel(),
                values[None],
                values.T,
                np.zeros((0, *values.shape[1:]), values.dtype),
                values.ravel()[:1].reshape(()),
            )
        )
    if kind == "cut" and values.ndim:
        return values[: rng.randrange(values.shape[0] + 1)]
    if kind == "axis" and values.ndim:
        return np.concatenate([values, values], axis=rng.randrange(values.ndim))
    if kind == "other":
        return others[rng.choice(list(others))]
    if kind == "text" or values.dtype.kind not in "if":
        return np.array(
            damaged_json(rng, {"n_bins": 5, "labels": {"0": "a"}, "regions": False}).decode("latin1")[:2000]
        )
    if kind == "huge":
        return np.full_like(values, rng.choice((0, 2**62, 7)))
    changed = values.copy()
    if changed.size:
        place = np.unravel_index(rng.randrange(changed.size), changed.shape)
        floating = (np.nan, np.inf, -1.0, 1e308, 0.5)
        changed[place] = (
            -1
            if kind == "negative"
            else rng.choice(floating if changed.dtype.kind == "f" else (-(2**63), 2**62, -1, 1000))
        )
    return changed


def result_of(folder, regions=False):
    """Return the result of three tiny cases, and leave in ``folder`` what ``evaluate`` writes for it but for pictures."""
    for name in ("labels", "predictions"):
        (folder / name).mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(REGIONS if regions else DATASET))
    (folder / "plans.json").write_text(json.dumps(PLANS))
    for number in range(3):
        np.savez_compressed(
            folder / "predictions" / f"case_{number}.npz", probabilities=softmax((2 if regions else 3, *SHAPE), number)
        )
        write_labels(folder / "labels" / f"case_{number}.nii.gz", np.random.default_rng(number).integers(0, 3, SHAPE))
    result = evaluate_folder(
        folder / "labels", folder / "predictions", folder / "dataset.json", folder / "plans.json", 1, SETTINGS
    )
    write_summary(summarize(result), folder)
    return result


def plain_summary(result):
    """Return what calibration.json would say, as JSON has it, without time and place."""
    summary = summarize(result)
    del summary["provenance"]
    return json.loads(json.dumps(summary, allow_nan=False))


def check_scores(summary):
    """Check that scores are such as voxels can have."""
    for case in summary["metric_per_case"]:
        for metrics in case["metrics"].values():
            assert metrics["Dice"] is None or 0 <= metrics["Dice"] <= 1
            assert metrics["n_ref"] >= 0 and metrics["n_pred"] >= 0
        for entry in case["voxel_sets"].values():
            assert entry["n_voxels"] >= 0
            for name in ("accuracy", "ECE", "ACE", "MCE"):
                assert entry[name] is None or -1e-9 <= entry[name] <= 1 + 1e-2, (name, entry[name])


def print_tables(summary):
    """Print the tables of ``evaluate``, as to a UTF-8 terminal."""
    from rich.console import Console

    from nnunet_nacl.report.terminal import prepare_class_table, prepare_voxel_set_table

    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    Console(file=text).print(prepare_voxel_set_table(summary), prepare_class_table(summary))
