"""What a reader should know before believing the scores of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    for label in foreground(run):
        name = names[label]
        entries = [case["metrics"][label] for case in cases]
        absent = sum(entry["n_ref"] == 0 for entry in entries)
        if absent:
            yield (
                f"{name} is absent from {absent} of {counted(len(cases), 'case')}: class-wise scores skip them, and a "
                "false alarm there shows in the top-label scores only."
            )
        if absent < len(cases) and all(entry["n_pred"] == 0 for entry in entries):
            yield (
                f"{name} is never predicted, though it is labelled. A network that does not tell classes apart can be "
                "well calibrated and useless: look at the Dice first."
            )


def _ignored(run: Run, cases: list[dict[str, Any]]) -> Iterator[str]:
    ignored = sum(case.get("n_ignored", 0) for case in cases)
    if ignored:
        everything = run.summary["pooled"].get("all", {}).get("n_voxels", 0) + ignored
        yield f"{ignored:,} voxels ({percent(ignored / everything)}) carry the ignore label and are left out everywhere."


def _floored(run: Run) -> Iterator[str]:
    floor = run.summary["protocol"].get("nll_floor")
    for name, entry in run.summary["pooled"].items():
        floored, nll = entry.get("n_floored", 0), entry.get("NLL")
        if not (floor and floored and nll):
            continue
        share = -math.log(floor) * floored / (nll * entry["n_voxels"])
        if share > FLOORED_NLL_SHARE:
            yield (
                f"Voxel set {name}: {floored:,} voxels ({percent(floored / entry['n_voxels'])}) give their label a "
                f"probability below {floor:g}. They count as {-math.log(floor):.1f} nats each and make up "
                f"{100 * share:.0f} % of the pooled NLL, which therefore depends on this floor."
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
