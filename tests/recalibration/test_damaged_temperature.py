"""What fuzzing (tests/fuzz) has found in temperature.json's reader, and what its redundancy tells."""

import copy
import json

import pytest

from nnunet_nacl.errors import InputError
from nnunet_nacl.recalibration.temperature_file import FILE_TYPE, SCHEMA_VERSION, load

CONTENT = {
    "file_type": FILE_TYPE,
    "schema_version": SCHEMA_VERSION,
    "kind": "softmax",
    "channels": ["background", "body"],
    "factors": [0.5, 0.5],
    "temperatures": [2.0, 2.0],
    "cross_fit": {"parts": [{"cases": ["a"], "factors": [0.25, 0.25], "temperatures": [4.0, 4.0]}]},
    "cases": [{"case": "a"}],
}


def test_a_whole_file_is_read(tmp_path):
    path = tmp_path / "temperature.json"
    path.write_text(json.dumps(CONTENT))
    found = load(path)
    assert found.factors.tolist() == [0.5, 0.5]
    assert found.held_out["a"].tolist() == [0.25, 0.25]


DAMAGE = {
    "a number beyond float64": lambda content: content.update(factors=[10**400, 0.5]),
    "a changed digit": lambda content: content.update(factors=[0.6, 0.5]),
    "a changed digit in a held-out fit": lambda content: content["cross_fit"]["parts"][0].update(factors=[0.26, 0.25]),
    "a factor that is never fitted": lambda content: content.update(factors=[1e30, 0.5], temperatures=[1e-30, 2.0]),
    "NaN": lambda content: content.update(factors=[float("nan"), 0.5]),
    "NaN elsewhere, which the record would repeat": lambda content: content.update(arithmetic=float("nan")),
    "no temperatures": lambda content: content.pop("temperatures"),
    "too few factors": lambda content: content.update(factors=[0.5], temperatures=[2.0]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_refused(name, tmp_path):
    content = copy.deepcopy(CONTENT)
    DAMAGE[name](content)
    path = tmp_path / "temperature.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"^[^\n]*temperature\.json: is (damaged|not JSON)[^\n]*$"):
        load(path)


def test_nested_too_deeply(tmp_path):
    (tmp_path / "temperature.json").write_text("[" * 10**5)
    with pytest.raises(InputError, match="is not JSON .it is nested too deeply"):
        load(tmp_path / "temperature.json")
