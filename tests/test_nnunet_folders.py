"""nnU-Net's JSON files, whole and damaged."""

import pytest

from nnunet_nacl.errors import InputError
from nnunet_nacl.nnunet_folders import read_json


def test_reads_a_mapping(tmp_path):
    path = tmp_path / "plans.json"
    path.write_text('{"plans_name": "nnUNetPlans"}')
    assert read_json(path, "") == {"plans_name": "nnUNetPlans"}


def test_says_what_to_do_where_it_is_missing(tmp_path):
    with pytest.raises(InputError, match="no such file. Plan first."):
        read_json(tmp_path / "plans.json", "Plan first.")


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
        read_json(path, "")
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
