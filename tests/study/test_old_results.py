"""Results of version 0.1 (schema 3), made of new ones by taking away what it did not write."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.cli import main
from nnunet_nacl.evaluation.bins_file import BINS_FILE, write_result
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.output import SUMMARY_FILE, write_summary
from nnunet_nacl.evaluation.protocol import protocol_of
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.summary import WITHOUT_BINS, summarize
from nnunet_nacl.study.run import load_run

ADDED = ("spread", "mask_sums", "threshold_counts", "has_threshold_counts")
"""Arrays of calibration_bins.npz that 0.1 did not write."""


def case_of(number):
    random = np.random.default_rng(number)
    statistics = CalibrationStatistics.empty(2)
    statistics.update(random.dirichlet(np.ones(2), 50).T, random.integers(0, 2, 50))
    return CaseResult(Case(f"case_{number}", Path("a.npz"), Path("a.nii.gz")), (statistics,), 1.0, np.full(2, np.nan))


def without_new(entry):
    """Return what 0.1 wrote of an entry: no scores without bins, and intervals that were made in another way."""
    kept = {name: value for name, value in entry.items() if name.removesuffix("_interval") not in WITHOUT_BINS}
    return {name: [0.0, 1.0] if name.endswith("_interval") else value for name, value in kept.items()}


@pytest.fixture
def results(tmp_path):
    """The same cases as 0.2 and as 0.1 write them."""
    dataset = Dataset("Dataset001_X", {"0": "background", "1": "body"}, None, None, ".nii.gz", "NibabelIO", ())
    result = FolderResult(tuple(map(case_of, range(4))), protocol_of(dataset, Settings()), {})
    new, old = tmp_path / "new", tmp_path / "old"
    summary = summarize(result)
    for folder in (new, old):
        folder.mkdir()
        write_result(result, folder)
        write_summary(summary, folder)
    for part in ("per_case", "pooled"):
        summary[part] = {name: without_new(entry) for name, entry in summary[part].items()}
    for case in summary["metric_per_case"]:
        case["voxel_sets"] = {name: without_new(entry) for name, entry in case["voxel_sets"].items()}
    del summary["intervals"], summary["remarks"]
    (old / SUMMARY_FILE).write_text(json.dumps(summary | {"schema_version": 3}))
    with np.load(old / BINS_FILE) as stored:
        kept = {name: values for name, values in stored.items() if name not in ADDED}
    np.savez(old / BINS_FILE, **kept | {"schema_version": np.array(3)})
    return new, old


def test_scores_and_intervals_are_those_of_the_present_version(results):
    """Side by side with a newer result, an interval has to be made in the same way; nothing of it is stored anew."""
    new, old = results
    stored = (old / SUMMARY_FILE).read_bytes()
    ours, theirs = load_run(new).summary, load_run(old).summary
    for part in ("foreground_mean", "mean", "per_case", "pooled", "intervals"):
        assert theirs[part] == ours[part]
    assert theirs["per_case"]["predicted"]["ECE_interval"] not in ([0.0, 1.0], None)
    assert [case["voxel_sets"] for case in theirs["metric_per_case"]] == [
        case["voxel_sets"] for case in ours["metric_per_case"]
    ]
    assert theirs["schema_version"] == 3
    assert (old / SUMMARY_FILE).read_bytes() == stored


def test_what_old_results_lack_is_said_in_one_line(results, capsys):
    _, old = results
    for command in ("triage", "thresholds"):
        assert main([command, "fit", str(old), "-o", str(old.parent / f"{command}.json")]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "`nnunet-nacl evaluate`" in line
