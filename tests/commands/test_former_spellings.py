"""Former spellings do the same for one release, and say once how they are spelled now."""

import pytest

from nnunet_nacl.cli import _parser, main

FIT = ["recalibrate", "fit", "folder", "-o", "t.json"]


def run(*command):
    return main([str(word) for word in command])


@pytest.mark.parametrize("order", [1, -1])
def test_two_folders_are_told_apart_by_what_they_hold(order, predicted, phantom_task, capsys, tmp_path):
    folders = [phantom_task / "labelsTr", predicted][::order]
    assert run("evaluate", *folders, "-np", 1, "-o", tmp_path / "out") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "is now" in line]
    assert notes == [
        "nnunet-nacl: note: `evaluate LABELS PREDICTED` is now `evaluate PREDICTED -gt LABELS`; the next release takes no other."
    ]
    assert (tmp_path / "out" / "calibration.json").is_file()


def test_two_folders_of_predictions_are_refused(predicted, phantom_task, one_line):
    line = one_line("evaluate", predicted, predicted, "-gt", phantom_task / "labelsTr")
    assert line.startswith(f"expected one folder of predictions beside -gt, but got {predicted} and {predicted}.")


@pytest.mark.parametrize("step", [FIT, ["recalibrate", "apply", "t.json", "folder", "-o", "out"]])
def test_memory_in_mebibytes(step, capsys):
    parsed = _parser().parse_args([*step, "--memory", "64"])
    assert parsed.max_memory == _parser().parse_args([*step, "--max-memory", "64M"]).max_memory == 64 * 2**20
    assert capsys.readouterr().err == (
        "nnunet-nacl: note: `--memory` is now `--max-memory SIZE`; the next release takes no other.\n"
    )
    assert _parser().parse_args(step).max_memory == 2 * 2**30


def test_parts_of_a_cross_fit(capsys):
    assert _parser().parse_args([*FIT, "--cross-fit", "--parts", "3"]).cross_fit_parts == 3
    assert "`--parts` is now `--cross-fit-parts N`" in capsys.readouterr().err
    assert _parser().parse_args([*FIT, "--cross-fit", "--cross-fit-parts", "3"]).cross_fit_parts == 3
    assert capsys.readouterr().err == ""


def test_help_shows_none_of_them(capsys):
    for command in (["evaluate"], ["recalibrate", "fit"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        printed = capsys.readouterr().out
        assert not {"--memory", "--parts", "former"} & set(printed.replace("[", " ").split())
