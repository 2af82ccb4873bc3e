"""The numbers behind the report."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.report.case_files import Given, dataset_of, read_case_labels, read_predictions
from nnunet_nacl.report.orientation import layout_of
from nnunet_nacl.report.prepare_cases import worst_cases
from nnunet_nacl.report.prepare_reliability import prepare_reliability_over_cases
from nnunet_nacl.report.prepare_scores import Value, read_value
from nnunet_nacl.report.prepare_slices import prepare_slices
from nnunet_nacl.report.prepare_warnings import prepare_warnings
from nnunet_nacl.study.run import load_run


def case_of(n_correct, n_voxels=100):
    """Voxels that all say 0.9 for class 1, some of them rightly."""
    statistics = CalibrationStatistics.empty(2, n_bins=10)
    labels = (np.arange(n_voxels) < n_correct).astype(int)
    statistics.update(np.stack([np.full(n_voxels, 0.1), np.full(n_voxels, 0.9)]), labels)
    return statistics


def test_band_is_the_middle_half_of_the_cases():
    cases = [case_of(right) for right in (50, 60, 70, 80, 90)]
    diagram = prepare_reliability_over_cases(cases, "all")
    assert diagram.accuracy[8] == pytest.approx(0.7)
    assert diagram.band[:, 8] == pytest.approx([0.6, 0.8])
    assert np.isnan(np.delete(diagram.band, 8, axis=1)).all()


def test_a_case_with_few_voxels_has_no_say_in_the_band():
    cases = [case_of(right) for right in (50, 60, 70)]
    diagram = prepare_reliability_over_cases([*cases, case_of(1, n_voxels=5)], "all")
    assert np.isnan(diagram.band).all()
    assert not np.isnan(prepare_reliability_over_cases([*cases, case_of(50)], "all").band[0, 8])


def test_class_against_the_rest():
    diagram = prepare_reliability_over_cases([case_of(70)], "all", label=0)
    assert diagram.confidence[0] == pytest.approx(0.1)
    assert diagram.accuracy[0] == pytest.approx(0.3)
    assert diagram.ece == pytest.approx(0.2)


def test_intervals_are_read_where_there_are_any():
    assert read_value({"ECE": 0.1, "ECE_interval": [0.05, 0.2]}, "ECE") == Value(0.1, (0.05, 0.2))
    assert read_value({"ECE": 0.1, "ECE_interval": None}, "ECE") == Value(0.1)
    assert read_value({"ECE": None}, "ECE") == Value(None)


def test_worst_cases_come_first(evaluated):
    run = load_run(evaluated.sharp)
    errors = {case["case"]: case["voxel_sets"]["predicted"]["ECE"] for case in run.summary["metric_per_case"]}
    assert worst_cases([run], "predicted", list(errors), 3) == sorted(errors, key=lambda name: -errors[name])[:3]


def with_summary(run, change):
    summary = copy.deepcopy(run.summary)
    change(summary)
    return replace(run, summary=summary)


def test_warnings_name_what_is_odd(evaluated):
    run = load_run(evaluated.truth)

    def change(summary):
        first, second, *_ = summary["metric_per_case"]
        first["metrics"]["2"]["n_ref"] = 0
        first["n_ignored"] = 7
        second["voxel_sets"]["all"]["n_certain"] = second["voxel_sets"]["all"]["n_voxels"] // 2
        second["voxel_sets"]["predicted"]["n_voxels"] = 0
        summary["pooled"]["union"]["n_floored"] = summary["pooled"]["union"]["n_voxels"] // 10
        for case in summary["metric_per_case"]:
            case["metrics"]["1"]["n_pred"] = 0

    plain = prepare_warnings(run, "predicted")
    warnings = "\n".join(prepare_warnings(with_summary(run, change), "predicted"))
    assert any("Only 6 cases" in warning for warning in plain)
    for text in (
        "absent is cap from 1 of 6 cases",
        "body is never predicted",
        "7 voxels",
        "No voxel in the voxel set predicted in 1 case (phantom_001)",
        "in the voxel set union (",
        "1 case hold voxels of exact certainty (phantom_001 50.0 %)",
    ):
        assert text in warnings
        assert not any(text in warning for warning in plain)


def test_the_slice_is_where_confidence_and_outcome_differ_most(evaluated):
    run = load_run(evaluated.sharp)
    given = Given(evaluated.images)
    (shown,) = prepare_slices([run], "phantom_003", given)
    dataset = dataset_of(run, given)
    labels, _ = read_case_labels(run, "phantom_003", dataset)
    (said,) = read_predictions(run, "phantom_003", dataset, labels.shape)
    difference = np.abs(said.confidence - (said.classes == labels)) * ((labels > 0) | (said.classes > 0))
    assert f"slice {difference.sum((1, 2)).argmax() + 1} of 16" in shown.where
    assert shown.image.shape == shown.labels.shape == shown.runs[run.name].confidence.shape
    assert not shown.missing


# LPS direction cosines, row by row; columns are the index axes x, y, z
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_axial_slices_have_the_patients_right_on_the_left_and_anterior_on_top(signs):
    layout = layout_of({"sitk_stuff": {"direction": tuple(np.diag(signs).astype(float).ravel())}}, axis=0)
    # mark the most anterior row and the column farthest to the patient's right, as they lie in the array
    plane = np.zeros((3, 3), int)
    plane[0 if signs[1] > 0 else 2, :] = 1
    plane[:, 0 if signs[0] > 0 else 2] += 2
    assert layout.view == "axial"
    assert np.array_equal(layout.lay_out(plane), [[3, 1, 1], [2, 0, 0], [2, 0, 0]])


def test_coronal_and_sagittal_slices_have_superior_on_top():
    properties = {"sitk_stuff": {"direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)}}
    for axis, view in ((1, "coronal"), (2, "sagittal")):
        layout = layout_of(properties, axis)
        assert layout.view == view
        # rows are z, and z rises to superior: the last row comes on top
        assert layout.lay_out(np.arange(4).reshape(2, 2)).tolist() == [[2, 3], [0, 1]]


def test_without_geometry_slices_stay_as_stored():
    plane = np.arange(6).reshape(2, 3)
    assert np.array_equal(layout_of({"spacing": (1, 1, 1)}, 0).lay_out(plane), plane)
