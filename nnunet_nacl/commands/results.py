"""What the commands that end in a result share: writing it and printing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnunet_nacl.commands.messages import note
from nnunet_nacl.evaluation.case_groups import Groups
from nnunet_nacl.evaluation.folder_result import FolderResult


def write_and_print(result: FolderResult, folder: Path, groups: Groups | None = None) -> None:
    """Write calibration.json, the csv, calibration_bins.npz and the reliability diagrams, and print the tables.

    ``groups`` says which cases are one unit of the intervals.
    """
    from nnunet_nacl.evaluation.remarks import in_words
    from nnunet_nacl.report.console import table_console
    from nnunet_nacl.report.terminal import prepare_class_table, prepare_voxel_set_table

    summary, written = write_result_files(result, folder, groups)
    table_console().print(prepare_voxel_set_table(summary), prepare_class_table(summary))
    for sentence in in_words(summary["remarks"], len(result.cases)):
        note(sentence)
    for path in written:
        print(f"wrote {path}")


def write_result_files(
    result: FolderResult, folder: Path, groups: Groups | None = None
) -> tuple[dict[str, Any], list[Path]]:
    """Write the files of a result into an existing folder; return the content of calibration.json, and the paths."""
    from nnunet_nacl.evaluation.bins_file import write_result
    from nnunet_nacl.evaluation.output import write_cases, write_summary
    from nnunet_nacl.evaluation.summary import summarize
    from nnunet_nacl.report.reliability import write_reliability_of_sets

    summary = summarize(result, groups)
    written = [
        write_summary(summary, folder),
        write_cases(summary, folder),
        write_result(result, folder),
        *write_reliability_of_sets(result.pooled, folder),
    ]
    return summary, written
