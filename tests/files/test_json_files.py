"""JSON files, whole and damaged."""

import json
import math

import numpy as np
import pytest

from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import finite_or_none, loads, mapping_if_any, read_mapping


def test_reads_a_mapping(tmp_path):
    path = tmp_path / "plans.json"
    path.write_text('{"plans_name": "nnUNetPlans"}')
    assert read_mapping(path, "") == {"plans_name": "nnUNetPlans"}


def test_says_what_to_do_where_it_is_missing(tmp_path):
    with pytest.raises(InputError, match="no such file. Plan first."):
        read_mapping(tmp_path / "plans.json", "Plan first.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[1, 2]", "expected a JSON mapping, but got a list"),
    ],
)
def test_damage_is_one_line(content, message, tmp_path):
    path = tmp_path / "plans.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        read_mapping(path, "")
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b'{"a": ', b"\xff\xfe", b"[" * 100_000, b"[1, 2]"])
def test_a_record_that_may_be_missing(content, tmp_path):
    path = tmp_path / "state.json"
    if content is not None:
        path.write_bytes(content)
    assert mapping_if_any(path) == {}
    path.write_text('{"state": "done"}')
    assert mapping_if_any(path) == {"state": "done"}


@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_what_json_has_no_number_for_is_null(kind):
    held = [finite_or_none(kind(value)) for value in (math.nan, math.inf, -math.inf, 0.25)]
    assert loads(json.dumps(held, allow_nan=False)) == [None, None, None, 0.25]
