"""calibration_bins.npz alone gives the whole result back."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, write_result
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.folder import evaluate_folder
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.output import write_cases, write_summary
from nnunet_nacl.evaluation.summary import summarize


def statistics_of(seed, num_classes=2):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(num_classes), 50).T
    statistics = CalibrationStatistics.empty(num_classes, 5)
    statistics.update(probabilities, generator.integers(0, num_classes, 50))
    return statistics


def assert_equal(one, other):
    for field in fields(CalibrationStatistics):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_summary_and_csv_again_from_the_file_alone(phantom_task, dataset_files, tmp_path):
    result = evaluate_folder(phantom_task / "labelsTr", phantom_task / "posteriorTr", *dataset_files)
    texts = []
    for name in ("first", "again"):
        folder = tmp_path / name
        folder.mkdir()
        write_result(result, folder)
        summary = json.loads(write_summary(summarize(result), folder).read_text())
        del summary["provenance"]["created"], summary["provenance"]["folder"]
        texts.append((summary, write_cases(summary, folder).read_text()))
        result = read_result(folder / BINS_FILE)
    assert texts[0] == texts[1]
    assert len(texts[0][0]["metric_per_case"]) == 6


def test_several_problems_per_case(tmp_path):
    """Regions: each case keeps its problems apart, and they can be pooled each for itself or together."""

    def case_of(number, name):
        problems = tuple(statistics_of(10 * number + problem) for problem in range(3))
        overlap = np.array([[number, problem.confusion[1].sum(), 9] for problem in problems])
        files = Case(name, Path(f"{name}.npz"), Path(f"{name}.nii.gz"))
        remarks = {"segmentation_differs": "ä"} if number else {}
        sums = np.array([[number / 2, 0.1]] * 3) if number else None
        return CaseResult(
            files, problems, 0.5 + number, np.full(3, number, float), remarks=remarks, region_overlap=overlap,
            region_mask_sums=sums,
        )  # fmt: skip

    cases = tuple(case_of(number, name) for number, name in enumerate(["a b", "ä,\n'", "x"]))
    stored = read_result(write_result(FolderResult(cases, {"n_bins": 5}, {"labels": "l"}), tmp_path))
    assert (stored.protocol, stored.files) == ({"n_bins": 5}, {"labels": "l"})
    for before, after in zip(cases, stored.cases, strict=True):
        assert (before.case, before.voxel_volume_mm3) == (after.case, after.voxel_volume_mm3)
        np.testing.assert_array_equal(before.hd95_mm, after.hd95_mm)
        np.testing.assert_array_equal(before.overlap, after.overlap)
        np.testing.assert_array_equal(before.mask_sums, after.mask_sums)
        assert before.remarks == after.remarks
        for one, other in zip(before.problems, after.problems, strict=True):
            assert_equal(one, other)
    assert len(stored.pooled_problems) == 3
    assert stored.pooled_problems[1].confusion.sum() == 3 * 50
    assert stored.pooled.confusion.sum() == 9 * 50


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_damaged_file(keep, tmp_path):
    case = CaseResult(Case("a", Path("a.npz"), Path("a.nii.gz")), (statistics_of(0),), 1.0, np.zeros(2))
    path = write_result(FolderResult((case,), {}, {}), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(InputError, match=r"calibration_bins.npz: cannot be read"):
        read_result(path)


def test_file_of_an_earlier_schema(tmp_path):
    np.savez(tmp_path / BINS_FILE, case=np.array(["a"]))
    with pytest.raises(InputError, match="expected schema version 4, but got 1. Evaluate it again"):
        read_result(tmp_path / BINS_FILE)


def test_label_models_of_the_schema_before_are_read(tmp_path):
    """Their figures mean the same; those of region models do not."""
    case = CaseResult(Case("a", Path("a.npz"), Path("a.nii.gz")), (statistics_of(0),), 1.0, np.zeros(2))
    path = write_result(FolderResult((case,), {"regions": False}, {}), tmp_path)
    with np.load(path) as stored:
        old = dict(stored) | {"schema_version": np.array(3)}
    np.savez(path, **old)
    (read,) = read_result(path).cases
    np.testing.assert_array_equal(read.overlap, case.overlap)
    np.savez(path, **old | {"protocol": np.array('{"regions": true}')})
    with pytest.raises(InputError, match="the Dice of regions was that of each channel above 0.5"):
        read_result(path)


def test_files_without_mask_sums_are_read_and_say_so(tmp_path):
    """As they were written before; what is taken over from them stays unknown, beside cases that have the sums."""
    old, new = (
        CaseResult(Case(name, Path(name), Path(name)), (statistics_of(3, 3),), 1.0, np.zeros(3)) for name in "ab"
    )
    path = write_result(FolderResult((old,), {"labels": dict.fromkeys("012", "x"), "regions": False}, {}), tmp_path)
    with np.load(path) as stored:
        np.savez(path, **{name: values for name, values in stored.items() if name not in ("spread", "mask_sums")})
    (read,) = read_result(path).cases
    assert np.isnan(read.mask_sums).all() and np.isnan(read.spread).all()
    np.testing.assert_array_equal(read.soft_volumes, old.soft_volumes)
    both = FolderResult((read, new), {"labels": dict.fromkeys("012", "x"), "regions": False}, {})
    first, second = (case["metrics"]["2"] for case in summarize(both)["metric_per_case"])
    assert set(first["confidence"].values()) == {None} and first["volume_ml"]["spread"] is None
    assert 0 < second["confidence"]["soft_Dice"] < 1 and second["volume_ml"]["spread"] > 0
    again = read_result(write_result(both, tmp_path)).cases
    assert [bool(np.isnan(case.spread[1:]).any()) for case in again] == [True, False]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("spread", -1.0, "below 0"),
        ("spread", 13.0, "more than its voxels allow"),
        ("mask_sums", -1.0, "below 0"),
        ("mask_sums", 50.0, "more than its voxels allow"),
        ("spread", np.nan, "not of the same cases"),
        ("mask_sums", np.inf, "more than its voxels allow"),
    ],
)
def test_sums_that_no_voxels_have(name, value, message, tmp_path):
    case = CaseResult(Case("a", Path("a.npz"), Path("a.nii.gz")), (statistics_of(0),), 1.0, np.zeros(2))
    path = write_result(FolderResult((case,), {}, {}), tmp_path)
    with np.load(path) as stored:
        np.savez(path, **dict(stored) | {name: np.full_like(stored[name], value)})
    with pytest.raises(InputError, match=message):
        read_result(path)


@pytest.mark.parametrize(
    ("overlap", "message"),
    [
        ([[3, 99, 9]], "does not have the labelled voxels"),
        ([[24, 23, 30]], "more voxels than there are"),
        ([[9, 23, 8]], "more voxels than there are"),
        ([[1, 23, 40]], "more voxels than there are"),
        ([3, 23, 9], "to be int64"),
    ],
)
def test_overlaps_that_no_voxels_have(overlap, message, tmp_path):
    statistics = statistics_of(0)
    assert (statistics.confusion[1].sum(), statistics.confusion.sum()) == (23, 50)
    case = CaseResult(
        Case("a", Path("a.npz"), Path("a.nii.gz")),
        (statistics,),
        1.0,
        np.zeros(1),
        region_overlap=np.array([[9, 23, 9]]),
    )
    path = write_result(FolderResult((case,), {"regions": True}, {}), tmp_path)
    assert read_result(path).cases[0].overlap.tolist() == [[9, 23, 9]]
    with np.load(path) as stored:
        np.savez(path, **dict(stored) | {"region_overlap": np.array([overlap])})
    with pytest.raises(InputError, match=message):
        read_result(path)


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', '"a"', "{"])
def test_remarks_that_are_none(text, tmp_path):
    case = CaseResult(
        Case("a", Path("a.npz"), Path("a.nii.gz")), (statistics_of(0),), 1.0, np.zeros(2), remarks={"x": ""}
    )
    path = write_result(FolderResult((case,), {}, {}), tmp_path)
    assert read_result(path).cases[0].remarks == {"x": ""}
    with np.load(path) as stored:
        np.savez(path, **dict(stored) | {"remarks": np.array([text])})
    with pytest.raises(InputError, match="cannot be read"):
        read_result(path)
