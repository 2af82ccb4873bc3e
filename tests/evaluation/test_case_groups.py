"""Cases of one patient as one unit: the file, and what intervals, tests and held-out parts make of it."""

import numpy as np
import pytest
from runs import pair

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_groups import Groups, read_groups
from nnunet_nacl.recalibration.splits import at_random, by_folder, without
from nnunet_nacl.study.comparison import compare_runs


def written(folder, text):
    path = folder / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_is_read(tmp_path):
    path = written(tmp_path, "\ufeffgroup,frame,case\np1,ED,a\np1,ES, b \np2,ED,c\n")
    groups = read_groups(path)
    assert groups.of(["c", "a", "b"]) == ["p2", "p1", "p1"]
    assert groups.source == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "whose first line names the columns case,group"),
        ("case,group\n", "whose first line names the columns case,group"),
        ("case;group\na;1\n", "whose first line names the columns case,group"),
        ("case,patient\na,1\n", "whose first line names the columns case,group"),
        ("case,group\na,1\nb\n", "line 3 has no group"),
        ("case,group\n,1\n", "line 2 has no case"),
        ("case,group\na,1\na,2\n", "a is in two groups, 1 and 2"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_groups(written(tmp_path, text))


def test_not_a_text_file(tmp_path):
    (tmp_path / "cases.csv").write_bytes(b"\xff\xfe\x00case")
    with pytest.raises(InputError, match=r"cases.csv: cannot be read"):
        read_groups(tmp_path / "cases.csv")


def test_comparison_over_patients(tmp_path):
    """Two frames of fifteen patients: tests and intervals over 15 units, means over 30 cases as before."""
    base, run = pair(tmp_path, predicted=-0.01, spread=0.02)
    groups = Groups(tmp_path / "cases.csv", {f"case_{row:03d}": f"patient {row // 2}" for row in range(30)})
    by_case, by_patient = (compare_runs(base, [run], ("Dice", "ECE"), groups=each) for each in (None, groups))
    for one, other in zip(by_case.differences, by_patient.differences, strict=True):
        assert (one.result.n_pairs, one.result.n_units) == (30, 30)
        assert (other.result.n_pairs, other.result.n_units) == (30, 15)
        assert other.result.difference == one.result.difference
        assert other.result.n_lower + other.result.n_equal + other.result.n_higher == 15
    with pytest.raises(InputError, match="has no group for case_029"):
        compare_runs(base, [run], ("Dice",), groups=Groups(tmp_path, {f"case_{row:03d}": "a" for row in range(29)}))


def test_cases_that_repeat_each_other_prove_nothing(tmp_path):
    """Every case five times: over cases p is tiny, over the groups it is that of six pairs."""
    base, run = pair(tmp_path, predicted=np.repeat([-0.01, -0.02, -0.015, -0.012, 0.001, -0.018], 5), spread=1e-5)
    groups = Groups(tmp_path, {f"case_{row:03d}": str(row // 5) for row in range(30)})
    (by_case,), (by_group,) = (
        compare_runs(base, [run], ("ECE",), ("predicted",), groups=each).differences for each in (None, groups)
    )
    assert by_case.result.p < 1e-4
    assert by_group.result.p == 4 / 2**6
    assert by_group.result.high > 0 > by_case.result.high


def test_held_out_parts_keep_groups_together():
    names = [f"patient {number // 3}" for number in range(30)]
    parts = at_random(30, 4, seed=1, groups=names)
    assert sorted(case for part in parts for case in part.members) == list(range(30))
    for part in parts:
        assert {names[case] for case in part.members}.isdisjoint(names[case] for case in without(part, 30, names))
    with pytest.raises(InputError, match="to be 2 to 10, the number of groups, got 11"):
        at_random(30, 11, seed=0, groups=names)
    assert at_random(6, 3, seed=5) == at_random(6, 3, seed=5, groups=list("abcdef"))


def test_a_patient_in_two_folders_is_held_out_whole():
    """nnU-Net splits cases, not patients: the other frame of a held-out case is not fitted on either."""
    parts = by_folder(["fold_0", "fold_0", "fold_1", "fold_1"])
    assert without(parts[0], 4, ["a", "b", "b", "c"]) == [3]
    assert without(parts[0], 4) == [2, 3]
