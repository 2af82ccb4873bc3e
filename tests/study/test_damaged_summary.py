"""What fuzzing (tests/fuzz) has found in the readers of calibration.json: `report` and `compare` trusted its entries."""

import json

import pytest
from targets import result_of

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import write_result
from nnunet_nacl.study.run import load_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summary") / "run"
    write_result(result_of(folder), folder)
    return folder


@pytest.fixture
def summary(whole):
    """The content of calibration.json, which is put back afterwards."""
    path = whole / "calibration.json"
    text = path.read_text()
    yield json.loads(text)
    path.write_text(text)


DAMAGE = {
    "an interval of one end": lambda s: s["per_case"]["all"].update(ECE_interval=[0.1]),
    "a list in place of a score": lambda s: s["pooled"]["all"].update(ECE=[0.1]),
    "a text in place of a count": lambda s: s["metric_per_case"][0]["metrics"]["1"].update(n_ref="1"),
    "a count below 0": lambda s: s["pooled"]["all"].update(n_voxels=-1),
    "a text in place of a score without bins": lambda s: s["pooled"]["all"].update(smooth_ECE="little"),
    "a number beyond float64": lambda s: s["pooled"]["all"].update(NLL=10**400),
    "infinity": lambda s: s["pooled"]["all"].update(NLL=float("inf")),
    "no provenance": lambda s: s.pop("provenance"),
    "no protocol": lambda s: s.pop("protocol"),
    "labels that are a list": lambda s: s["protocol"].update(labels=["0"]),
    "a label without its scores": lambda s: s["mean"].pop("1"),
    "a voxel set less": lambda s: s["pooled"].pop("union"),
    "a case without its file": lambda s: s["metric_per_case"][1].pop("reference_file"),
    "half a character": lambda s: s["metric_per_case"][1].update(case="\ud800"),
    "a floor of 0": lambda s: s["protocol"].update(nll_floor=0),
    "no list of cases": lambda s: s.update(metric_per_case={}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_refused(name, whole, summary):
    load_run(whole)
    DAMAGE[name](summary)
    (whole / "calibration.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match=r"^[^\n]*calibration\.json: (is not as|cannot be read)[^\n]*$"):
        load_run(whole)


def test_a_summary_of_before_the_scores_without_bins_is_read(whole, summary):
    assert "smooth_ECE_interval" in summary["pooled"]["all"]
    of_sets = [*summary["pooled"].values(), *summary["per_case"].values()]
    of_sets += [scores for case in summary["metric_per_case"] for scores in case["voxel_sets"].values()]
    for scores in of_sets:
        for name in [name for name in scores if name.startswith(("smooth_ECE", "CORP_"))]:
            del scores[name]
    (whole / "calibration.json").write_text(json.dumps(summary))
    assert "smooth_ECE" not in load_run(whole).summary["pooled"]["all"]


def test_nested_too_deeply(whole, summary):
    (whole / "calibration.json").write_text("[" * 10**5)
    with pytest.raises(InputError, match=r"calibration\.json: cannot be read .it is nested too deeply"):
        load_run(whole)


def test_of_another_run(whole, summary):
    """calibration.json and calibration_bins.npz of different cases do not belong together."""
    summary["metric_per_case"][0]["case"] = "another"
    (whole / "calibration.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="hold other cases"):
        load_run(whole)
