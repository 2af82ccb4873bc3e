"""What fuzzing (tests/fuzz) has found in temperature.json's reader, and what its redundancy tells."""

import copy
import json

import pytest

from nnunet_nacl.errors import InputError
from nnunet_nacl.recalibration.temperature_file import FILE_TYPE, SCHEMA_VERSION, load

CONTENT = {
    "file_type": FILE_TYPE,
    "schema_version": SCHEMA_VERSION,
    "method": "by-prediction",
    "harm": {"in_words": ["everything"]},
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
    assert found.method == "by-prediction"
    assert found.maps[0].factors.tolist() == [0.5, 0.5]
    assert found.held_out["a"][0].factors.tolist() == [0.25, 0.25]
    assert found.harm == ("everything",)


@pytest.mark.parametrize("per_class", [False, True])
def test_a_file_of_the_first_version_is_read(per_class, tmp_path):
    """As version 0.1 wrote it: the keys that are read, of which `per_class` says the method."""
    old = {key: value for key, value in CONTENT.items() if key not in ("method", "harm")}
    path = tmp_path / "temperature.json"
    path.write_text(json.dumps(old | {"schema_version": 1, "per_class": per_class}))
    found = load(path)
    assert found.method == ("per-class" if per_class else "temperature")
    assert found.harm == ()
    if per_class:
        assert found.maps[0].factors.tolist() == [0.5, 0.5]
    else:
        assert found.maps[0].factor == 0.5


DAMAGE = {
    "a number beyond float64": lambda content: content.update(factors=[10**400, 0.5]),
    "a changed digit": lambda content: content.update(factors=[0.6, 0.5]),
    "a changed digit in a held-out fit": lambda content: content["cross_fit"]["parts"][0].update(factors=[0.26, 0.25]),
    "a factor that is never fitted": lambda content: content.update(factors=[1e30, 0.5], temperatures=[1e-30, 2.0]),
    "NaN": lambda content: content.update(factors=[float("nan"), 0.5]),
    "NaN elsewhere, which the record would repeat": lambda content: content.update(arithmetic=float("nan")),
    "no temperatures": lambda content: content.pop("temperatures"),
    "an unknown method": lambda content: content.update(method="magic"),
    "an unknown kind": lambda content: content.update(kind="hardmax"),
    "no harm": lambda content: content.pop("harm"),
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
