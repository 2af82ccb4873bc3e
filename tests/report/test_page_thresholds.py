"""The report's masks at other thresholds: the figures of `thresholds fit`, and nothing of results without the counts."""

from dataclasses import replace

import pytest

from nnunet_nacl.decisions.case_table import read_evaluated
from nnunet_nacl.decisions.threshold_cases import structure_cases
from nnunet_nacl.decisions.threshold_fit import fit_structure, fit_thresholds
from nnunet_nacl.report import page_thresholds
from nnunet_nacl.study.run import load_run


@pytest.fixture
def run(evaluated):
    return load_run(evaluated.sharp)


def test_says_what_the_command_says(run, evaluated, monkeypatch):
    monkeypatch.setattr(page_thresholds, "MISS_RATE", 0.4)
    cases = sorted(run.problems)
    groups = page_thresholds.thresholds_part([run, replace(run, name="again")], cases, None)
    fitted = fit_thresholds(read_evaluated([evaluated.sharp]), 0.4, None)["structures"]
    assert [group.name for group in groups] == [entry["name"] for entry in fitted.values()]
    for group, entry in zip(groups, fitted.values(), strict=True):
        assert [row.run for row in group.rows] == [run.name, "again"]
        assert group.svg.count('class="curve"') == group.svg.count('class="best"') == 2
        if entry["threshold"] is None:
            assert group.rows[0].threshold == "none" and group.rows[0].remark == entry["why_not"]
        else:
            assert group.rows[0].threshold == f"{entry['threshold']:.3g}"
            assert group.rows[0].volume == f"x {entry['price']['volume_ratio']:.2f}"


def test_results_of_before_have_no_such_section(run):
    older = tuple(replace(case, threshold_counts=None) for case in run.result.cases)
    without = replace(run, result=replace(run.result, cases=older))
    for runs in ([without], [run, without], [replace(run, result=None)]):
        assert page_thresholds.thresholds_part(runs, sorted(run.problems), None) == []


def test_says_where_masks_miss_more_than_the_segmentation(run, monkeypatch):
    monkeypatch.setattr(page_thresholds, "MISS_RATE", 0.5)
    (evaluated_run,) = [page_thresholds._evaluated(run, sorted(run.problems))]
    found = []
    for cases in structure_cases(evaluated_run):
        row, fitted = (
            page_thresholds._row("a", 0, cases, None),
            fit_structure(cases, 0.5, [""] * len(cases.labelled), None),
        )
        more = fitted["threshold"] is not None and fitted["miss_rate"] > fitted["argmax_miss_rate"]
        assert ("misses more than the segmentation" in row.remark) == more
        found.append(more)
    assert any(found)
