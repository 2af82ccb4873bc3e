"""Scores before and after a recalibration as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from nnunet_nacl.report.console import plain_table
from nnunet_nacl.report.terminal import SHORT_NAMES, format_score

SCORES = ("gap", "ECE", "class_wise_ECE", "NLL", "Brier")
COMPARED = tuple((voxel_set, score) for voxel_set in ("all", "predicted") for score in ("NLL", "ECE", "Brier"))


def prepare_recalibration_table(content: dict[str, Any]) -> Table:
    """Return the mean of cases of each voxel set's scores, before and after, given the content of temperature.json."""
    scores = content["scores"]
    table = plain_table(f"Mean over {content['counts']['n_cases']} cases, before and after ({_whose(scores)})")
    table.add_column("voxel set", no_wrap=True)
    for name in SCORES:
        table.add_column(SHORT_NAMES.get(name, name), justify="right", no_wrap=True)
    table.add_column("got worse")
    for problem, before in scores["before"].items():
        if len(scores["before"]) > 1:
            table.add_row(Text(problem, "bold"))  # a name may look like markup
        after = scores["after"][problem]
        for voxel_set in before["per_case"]:
            for part, values in (("before", before), ("after", after)):
                of_set = values["per_case"][voxel_set]
                heading = voxel_set if part == "before" else ""
                worse = Text() if part == "before" else _worse(content, problem, voxel_set)
                table.add_row(f"{heading:12}{part}", *(format_score(of_set[name]) for name in SCORES), worse)
    return table


def prepare_methods_table(contents: Mapping[str, dict[str, Any]]) -> Table:
    """Return the methods that were fitted, best NLL over all voxels first, below the probabilities as given.

    Args:
        contents: of temperature.json by method.
    """
    first = next(iter(contents.values()))
    table = plain_table(f"Methods, mean over {first['counts']['n_cases']} cases ({_whose(first['scores'])})")
    table.add_column("method", no_wrap=True)
    for voxel_set, score in COMPARED:
        table.add_column(f"{score}\n{voxel_set}", justify="right", no_wrap=True)
    table.add_column("soft volume,\nlargest bias", justify="right")
    table.add_column("got\nworse", justify="right")
    table.add_row("as given", *_compared(first["scores"]["before"]), _largest_bias(first, "before"), "")
    for content in sorted(contents.values(), key=lambda content: _mean(content["scores"]["after"], "all", "NLL")):
        after = _compared(content["scores"]["after"])
        worse = sum(change["worse"] for change in content["harm"]["changes"])
        table.add_row(content["method"], *after, _largest_bias(content, "after"), f"{worse}" if worse else "nothing")
    return table


def _whose(scores: dict[str, Any]) -> str:
    return "each case with what was fitted without it" if scores["held_out"] else "on the cases that were fitted on"


def _worse(content: dict[str, Any], problem: str, voxel_set: str) -> Text:
    changes = content["harm"]["changes"]
    if voxel_set not in {each["where"] for each in changes if each["what"] != "soft volume"}:
        return Text("not judged", "dim")
    worse = [each for each in changes if each["worse"] and each["problem"] == problem]
    found = [each["what"] for each in worse if each["where"] == voxel_set and each["what"] != "soft volume"]
    if voxel_set == "all":
        found += [f"soft volume of {each['where']}" for each in worse if each["what"] == "soft volume"]
    return Text(", ".join(found))


def _compared(scores: dict[str, Any]) -> list[str]:
    return [format_score(_mean(scores, voxel_set, score)) for voxel_set, score in COMPARED]


def _mean(scores: dict[str, Any], voxel_set: str, score: str) -> float:
    """Return the mean over the problems: of the classes, or of all regions."""
    values = [problem["per_case"][voxel_set][score] for problem in scores.values()]
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else float("nan")


def _largest_bias(content: dict[str, Any], part: str) -> str:
    found = [
        each[part] for each in content["harm"]["changes"] if each["what"] == "soft volume" and each[part] is not None
    ]
    return f"{100 * max(found, key=abs):+.1f} %" if found else "-"
