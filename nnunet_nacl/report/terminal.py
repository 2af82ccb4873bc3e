"""The results as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from nnunet_nacl.evaluation.summary import SCORE_NAMES

SHORT_NAMES = {"accuracy": "acc.", "class_wise_ECE": "CECE"}
# confidence is accuracy plus gap, and 80 columns are soon full
TERMINAL_SCORES = tuple(name for name in SCORE_NAMES if name != "confidence")


def prepare_voxel_set_table(summary: dict[str, Any]) -> Table:
    """Return the scores of each voxel set, as the mean over cases and pooled, one column per score."""
    title = f"Calibration over {summary['protocol']['n_cases']} cases (CECE: mean class-wise ECE)"
    table = Table(title=title, title_justify="left", padding=(0, 0, 0, 1), box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("voxel set", no_wrap=True)
    for name in TERMINAL_SCORES:
        table.add_column(SHORT_NAMES.get(name, name), justify="right", no_wrap=True)
    for part, heading in (("per_case", "mean of cases"), ("pooled", "pooled voxels")):
        table.add_row(f"[bold]{heading}")
        for voxel_set, scores in summary[part].items():
            table.add_row(f"  {voxel_set}", *(format_score(scores[name]) for name in TERMINAL_SCORES))
    return table


def prepare_class_table(summary: dict[str, Any]) -> Table:
    """Return Dice and class-wise ECE of each class, mean over cases."""
    table = Table(
        title="Per class, mean of the cases that have it (CECE: class-wise ECE)",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in ("class", "Dice", *(f"CECE\n{voxel_set}" for voxel_set in summary["per_case"])):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    names = summary["protocol"]["labels"]
    for label, entry in summary["mean"].items():
        table.add_row(f"{label} {names[label]}", *_class_row(entry))
    table.add_section()
    table.add_row("foreground mean", *_class_row(summary["foreground_mean"]))
    return table


def _class_row(entry: dict[str, Any]) -> Iterable[str]:
    return map(format_score, (entry["Dice"], *entry["class_wise_ECE"].values()))


def format_score(value: float | None) -> str:
    """Return a score with four decimals, a dash where it is not defined."""
    return "-" if value is None else f"{value:.4f}"
