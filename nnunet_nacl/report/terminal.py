"""The results as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from nnunet_nacl.report.console import plain_table

SHORT_NAMES = {"accuracy": "acc.", "ECE_interval": "95 % interval", "class_wise_ECE": "CECE"}
# what 80 columns hold; calibration.json and calibration_cases.csv have all scores
TERMINAL_SCORES = ("accuracy", "gap", "ECE", "ECE_interval", "class_wise_ECE", "NLL", "Brier")


def prepare_voxel_set_table(summary: dict[str, Any]) -> Table:
    """Return the scores of each voxel set, as the mean over cases and pooled, one column per score."""
    title = f"Calibration over {summary['protocol']['n_cases']} cases (interval: of ECE, over cases; CECE: mean class-wise ECE)"
    table = plain_table(title)
    table.add_column("voxel set", no_wrap=True)
    for name in TERMINAL_SCORES:
        table.add_column(SHORT_NAMES.get(name, name), justify="right", no_wrap=True)
    for part, heading in (("per_case", "mean of cases"), ("pooled", "pooled voxels")):
        table.add_row(f"[bold]{heading}")
        for voxel_set, scores in summary[part].items():
            table.add_row(f"  {voxel_set}", *(format_score(scores[name]) for name in TERMINAL_SCORES))
    return table


def prepare_class_table(summary: dict[str, Any]) -> Table:
    """Return Dice, HD95 where it was asked for, and class-wise ECE of each class, mean over cases."""
    hd95 = "; HD95 in mm" if summary["protocol"]["hd95"] else ""
    table = plain_table(f"Per class, mean of the cases that have it (CECE: class-wise ECE{hd95})")
    of_class = ("Dice", "HD95") if summary["protocol"]["hd95"] else ("Dice",)
    voxel_sets = tuple(summary["per_case"])
    for heading in ("class", *of_class, *(f"CECE\n{voxel_set}" for voxel_set in voxel_sets)):
        name = heading == "class"
        table.add_column(heading, justify="left" if name else "right", no_wrap=not name, overflow="fold")

    def add(name: str, entry: dict[str, Any]) -> None:
        values = [entry[score] for score in of_class] + [entry["class_wise_ECE"][each] for each in voxel_sets]
        table.add_row(Text(name), *map(format_score, values))  # a name may look like markup

    names = summary["protocol"]["labels"]
    for label, entry in summary["mean"].items():
        add(f"{label} {names[label]}", entry)
    table.add_section()
    add("foreground mean", summary["foreground_mean"])
    return table


def format_score(value: float | list[float] | None) -> str:
    """Return a score or the ends of its interval with four decimals, a dash where it is not defined."""
    if value is None:
        return "-"
    return f"{value[0]:.4f}-{value[1]:.4f}" if isinstance(value, list) else f"{value:.4f}"
