"""What each command prints of a path that is not there, or a name that is none: the whole line, and nothing else."""

import pytest

from nnunet_nacl.cli import main

ERROR = "nnunet-nacl: error: "
EVALUATE = "Run `nnunet-nacl evaluate` on this folder first"
MODEL = "nnU-Net's folder <trainer>__<plans>__<configuration>, the parent of fold_0."
UNREAD = "cannot be read (No such file or directory)."
LINES = {
    "evaluate none": "none: no such folder.",
    "merge none -o out": f"none/calibration_bins.npz: {UNREAD} {EVALUATE}.",
    "compare none other -o out": f"none/calibration.json: {UNREAD} {EVALUATE}, or `nnunet-nacl validate` on a trained model's.",
    "report none -o out.html": f"none/calibration.json: {UNREAD} {EVALUATE}, or `nnunet-nacl validate` on a trained model's.",
    "map none case -o out": "none: no such folder.",
    "recalibrate fit none -o t.json": "none: no such folder.",
    "volumes fit none -o v.json": f"none/calibration_bins.npz: {UNREAD} {EVALUATE}.",
    "volumes apply none predicted -o v.csv": f"none: {UNREAD}",
    "triage fit none -o t.json": f"none/calibration_bins.npz: {UNREAD} {EVALUATE}.",
    "triage apply none predicted -o t.csv": f"none: {UNREAD}",
    "ensemble none other -o out": "none: no such folder.",
    "validate none -o out": f"none: no such folder. Pass {MODEL}",
    "share none -o out": f"none: expected {MODEL}",
    "benchmark plan none": f"none: {UNREAD} `nnunet-nacl benchmark init .` writes one.",
    "trainers nnUNetTrainerNACL_wieght0p2": (
        "'wieght0p2' in nnUNetTrainerNACL_wieght0p2 is no setting of nnUNetTrainerNACL. Did you mean weight0p2?"
    ),
    "cpu-plans 99": "nnUNet_preprocessed is not set. Run `nnunet-nacl doctor` for what to set.",
    "phantom none": "none: expected a name like Task99_Phantom, as nnUNetv2_convert_MSD_dataset needs it.",
}  # fmt: skip


def other_than(printed, line):
    """Return what was printed where it is not that line alone, or None."""
    return None if printed == f"{ERROR}{line}\n" else printed


@pytest.mark.parametrize("command", LINES)
def test_the_whole_line(command, capsys, tmp_path, monkeypatch):
    for variable in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{variable}", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 1
    assert other_than(capsys.readouterr().err, LINES[command]) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "printed",
    ["{}", "{} More.\n", "{}\n\n", "A warning.\n{}\n", "Traceback (most recent call last):\n{}\n", ""],
)
def test_a_line_with_more_or_less_is_seen(printed):
    line = LINES["evaluate none"]
    assert other_than(printed.format(ERROR + line), line) == printed.format(ERROR + line)
    assert other_than(f"{ERROR}{line}\n".replace("folder", "file"), line) is not None
