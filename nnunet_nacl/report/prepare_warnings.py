"""What a reader should know before believing the scores of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_nacl.evaluation.remarks import in_words
from nnunet_nacl.report.names import listed
from nnunet_nacl.report.prepare_cases import CERTAIN_FROM, FEW_VOXELS, certain_share
from nnunet_nacl.report.prepare_scores import foreground, label_names
from nnunet_nacl.report.svg import percent
from nnunet_nacl.study.run import Run

FEW_CASES = 10
FLOORED_NLL_SHARE = 0.05
"""Floored voxels are worth a warning where they make up more than this of the NLL."""


@dataclass(frozen=True)
class Warned:
    """A warning and the runs that it is about; empty where it is about all runs of the page."""

    runs: str
    text: str


def warnings_once(runs: Sequence[Run], voxel_set: str) -> list[Warned]:
    """Return the warnings of several runs, each once."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for text in prepare_warnings(run, voxel_set):
            found.setdefault(text, []).append(run.name)
    return [Warned("" if len(names) == len(runs) else listed(names), text) for text, names in found.items()]


def prepare_warnings(run: Run, voxel_set: str) -> list[str]:
    """Return warnings in plain words; ``voxel_set`` is the one that cases are ranked by."""
    cases = run.summary["metric_per_case"]
    return [
        *in_words(run.summary.get("remarks", {}), len(cases)),
        *_few_cases(cases),
        *_few_voxels(cases, voxel_set),
        *_classes(run, cases),
        *_ignored(run, cases),
        *_floored(run),
        *_certain(cases),
    ]


def _few_cases(cases: list[dict[str, Any]]) -> Iterator[str]:
    if len(cases) < FEW_CASES:
        yield f"Only {counted(len(cases), 'case')}: means over them say little about other patients."


def _few_voxels(cases: list[dict[str, Any]], voxel_set: str) -> Iterator[str]:
    voxels = {case["case"]: case["voxel_sets"][voxel_set]["n_voxels"] for case in cases}
    empty = [name for name, number in voxels.items() if number == 0]
    few = [name for name, number in voxels.items() if 0 < number < FEW_VOXELS]
    if empty:
        yield (
            f"No voxel in the voxel set {voxel_set} in {counted(len(empty), 'case')} ({listed(empty)}): left out of the "
            "means of that set, so a network that predicts nothing there is not punished."
        )
    if few:
        yield (
            f"Fewer than {FEW_VOXELS} voxels in the voxel set {voxel_set} in {counted(len(few), 'case')} ({listed(few)}): "
            "the ECE of so few voxels is high by chance alone, and rank and mean over cases suffer from it."
        )


def _classes(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    names = label_names(run)
    absent: list[str] = []
    unpredicted: list[str] = []
    for label in foreground(run):
        entries = [case["metrics"][label] for case in cases]
        missing = sum(entry["n_ref"] == 0 for entry in entries)
        if missing:
            absent.append(f"{names[label]} from {missing}")
        if missing < len(cases) and all(entry["n_pred"] == 0 for entry in entries):
            unpredicted.append(names[label])
    if absent:
        yield (
            f"Not every class is in every case, absent is {listed(absent)} of {counted(len(cases), 'case')}: class-wise scores skip "
            "them, and a false positive there shows in the top-label scores only."
        )
    if unpredicted:
        yield (
            f"{listed(unpredicted)} is never predicted, though it is labelled. A network that does not tell classes apart can be "
            "well calibrated and useless: look at the Dice first."
        )


def _ignored(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    ignored = sum(case.get("n_ignored", 0) for case in cases)
    if ignored:
        everything = run.summary["pooled"].get("all", {}).get("n_voxels", 0) + ignored
        yield f"{ignored:,} voxels ({percent(ignored / everything)}) carry the ignore label and are left out everywhere."


def _floored(run: Run) -> Iterator[str]:
    floor = run.summary["protocol"].get("nll_floor")
    sets = []
    for name, entry in run.summary["pooled"].items():
        floored, nll = entry.get("n_floored", 0), entry.get("NLL")
        if not (floor and floored and nll):
            continue
        share = -math.log(floor) * floored / (nll * entry["n_voxels"])
        if share > FLOORED_NLL_SHARE:
            sets.append(
                f"{name} ({floored:,} voxels, {percent(floored / entry['n_voxels'])}; {100 * share:.0f} % of its NLL)"
            )
    if sets:
        yield (
            f"Some voxels give their label a probability below {floor:g}, in the voxel set {listed(sets)}. They count as "
            f"{-math.log(floor):.1f} nats each, so that the pooled NLL there depends on this floor."
        )


def _certain(cases: list[dict[str, Any]]) -> Iterator[str]:
    certain = {case["case"]: share for case in cases if (share := certain_share(case)) > CERTAIN_FROM}
    if certain:
        shown = listed(f"{name} {percent(share)}" for name, share in certain.items())
        yield (
            f"{counted(len(certain), 'case')} hold voxels of exact certainty ({shown}). nnU-Net writes them where it cropped the "
            "image, and a network's own output can reach them where it is stored as float16 or is a region's. They make the voxel set "
            "all look better."
        )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun if number == 1 else noun + 's'}"
