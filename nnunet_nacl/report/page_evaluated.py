"""What was evaluated, with what: protocol and provenance in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.report.names import voxel_set_meaning
from nnunet_nacl.report.prepare_scores import dataset_name, label_names, voxel_sets
from nnunet_nacl.study.run import Run

FILES = {"labels": "labels", "predictions": "predictions", "dataset_json": "dataset.json", "plans_json": "plans.json"}


def protocol_in_words(run: Run) -> list[tuple[str, str]]:
    """Return what all runs of the page were evaluated with; a setting of another version goes by its key."""
    held: dict[str, Any] = run.summary["protocol"]
    ignored = held.get("ignore_label")
    rows = [
        ("data set", dataset_name(run)),
        ("labels", ", ".join(f"{label} {name}" for label, name in label_names(run).items())),
        ("ignore label", "none" if ignored is None else str(ignored)),
        ("bins", f"{held.get('n_bins')}, {held.get('bins', '')}"),
    ]
    rows += [(f"voxel set {name}", voxel_set_meaning(run.summary, name)) for name in voxel_sets(run)]
    if "regions" in held:
        rows.append(
            (
                "kind of model",
                "region-based: a probability for each region" if held["regions"] else "one label for each voxel",
            )
        )
    if "nll_floor" in held:
        rows.append(("lowest probability in the NLL", f"{held['nll_floor']:g}"))
    if "threshold" in held:
        rows.append(("thresholded class-wise ECE", f"of probabilities above {held['threshold']}"))
    if "hd95" in held:
        rows.append(("HD95", "computed" if held["hd95"] else "not computed (option --hd95)"))
    shown = {
        "labels",
        "ignore_label",
        "n_bins",
        "bins",
        "voxel_sets",
        "nll_floor",
        "n_cases",
        "boundary_mm",
        "regions",
        "threshold",
        "hd95",
    }
    return [*rows, *((key.replace("_", " "), _plain(value)) for key, value in held.items() if key not in shown)]


def provenance_in_words(run: Run) -> list[tuple[str, list[str]]]:
    """Return where a run comes from: its folder, the files it was made of, command, versions and time."""
    held: dict[str, Any] = run.summary["provenance"]
    rows = [("result", [absolute(run.folder)]), *_files(held.get("files", {}))]
    versions = ", ".join(f"{name} {version}" for name, version in held.get("versions", {}).items())
    rows += [
        ("command", [held.get("command", "")]),
        ("versions", [versions]),
        ("evaluated", [_time(held.get("created", ""))]),
    ]
    return [(name, values) for name, values in rows if any(values)]


def _files(files: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, value in files.items():
        if name == "merged" and isinstance(value, list):
            yield (
                "merged from",
                [str(part.get("folder", "")) if isinstance(part, dict) else str(part) for part in value],
            )
        else:
            yield FILES.get(name, name.replace("_", " ")), [_plain(value)]


def _plain(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else "none" if value is None else str(value)


def _time(created: str) -> str:
    try:
        return datetime.fromisoformat(created).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return created
