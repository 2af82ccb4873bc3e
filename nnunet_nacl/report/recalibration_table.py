"""Scores before and after a recalibration as a table on the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from nnunet_nacl.report.terminal import SHORT_NAMES, format_score

SCORES = ("gap", "ECE", "class_wise_ECE", "NLL", "Brier")


def prepare_recalibration_table(content: dict[str, Any]) -> Table:
    """Return the mean of cases of each voxel set's scores, before and after, given the content of temperature.json."""
    scores = content["scores"]
    whose = (
        "each case with a temperature it had no part in" if scores["held_out"] else "on the cases that were fitted on"
    )
    table = Table(
        title=f"Mean over {content['counts']['n_cases']} cases, before and after ({whose})",
        title_justify="left",
        padding=(0, 0, 0, 1),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("voxel set", no_wrap=True)
    for name in SCORES:
        table.add_column(SHORT_NAMES.get(name, name), justify="right", no_wrap=True)
    for problem, before in scores["before"].items():
        if len(scores["before"]) > 1:
            table.add_row(f"[bold]{problem}")
        after = scores["after"][problem]
        for voxel_set in before["per_case"]:
            for part, values in (("before", before), ("after", after)):
                of_set = values["per_case"][voxel_set]
                heading = f"{voxel_set}" if part == "before" else ""
                table.add_row(f"{heading:12}{part}", *(format_score(of_set[name]) for name in SCORES))
    return table
