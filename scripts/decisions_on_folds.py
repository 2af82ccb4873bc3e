"""Volume intervals and triage on evaluated folds whose labels are known. Prints Markdown.

    python scripts/decisions_on_folds.py --run stock fold_0 fold_1 fold_2 --run recalibrated again_0 again_1 again_2
    python scripts/decisions_on_folds.py --cases calibration_cases.csv.gz --voxel-ml 0.001

A fold is the output folder of `nnunet-nacl evaluate`. Intervals at 90 % are fitted on all folds but one and asked for the cases of that
one, in turn; structures are kept apart. Confidences are judged over all folds together. `--cases` takes the table of a single
result instead and leaves each case out in turn, without the adaptive ways. `--same-network` fits on a network's validation cases and asks for
other cases that the same network predicted.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np

from nnunet_nacl.decisions import Volumes, fit_interval, leave_one_out
from nnunet_nacl.decisions.case_table import Evaluated, read_evaluated
from nnunet_nacl.decisions.coverage import binomial_interval
from nnunet_nacl.decisions.triage import case_confidences, case_dice, class_confidences, judge
from nnunet_nacl.decisions.volumes import VolumeInterval, relative_width

LEVEL = 0.9


def volumes_and_truth(known: Evaluated, structure: int) -> tuple[np.ndarray, Volumes]:
    volumes = known.table.volumes(structure)
    return known.labelled[:, structure] * volumes.voxel, volumes


def shown(inside: np.ndarray) -> str:
    low, high = binomial_interval(float(inside.mean()), inside.size)
    return f"{inside.mean():.2f} ({low:.2f} to {high:.2f})"


def ask_each_way(
    interval: VolumeInterval,
    truth: np.ndarray,
    volumes: Volumes,
    inside: dict[str, list[np.ndarray]],
    widths: dict[str, list[np.ndarray]],
) -> None:
    """Add for each way, and for the chosen one, whether the true volumes lie inside, and the relative widths."""
    for way in (*volumes.ways, "chosen"):
        low, high = interval.apply(volumes, None if way == "chosen" else way)
        inside.setdefault(way, []).append((low - 1e-9 <= truth) & (truth <= high + 1e-9))
        widths.setdefault(way, []).append(relative_width(low, high, volumes))


def print_coverage(runs: dict[str, list[Path]]) -> None:
    print(
        "| run | structure | way | coverage per fold | coverage of all | median width / volume |\n|---|---|---|---|---|---|"
    )
    for run, folders in runs.items():
        folds = [read_evaluated([folder]) for folder in folders]
        for structure, name in enumerate(folds[0].structures.values()):
            inside: dict[str, list[np.ndarray]] = {}
            widths: dict[str, list[np.ndarray]] = {}
            for number, fold in enumerate(folds):
                others = read_evaluated([folder for place, folder in enumerate(folders) if place != number])
                interval = fit_interval(*volumes_and_truth(others, structure), LEVEL)
                ask_each_way(interval, *volumes_and_truth(fold, structure), inside, widths)
            for way, found in inside.items():
                each = ", ".join(f"{fold.mean():.2f}" for fold in found)
                width = np.median(np.concatenate(widths[way]))
                print(
                    f"| {run} | {name} | {way.replace('_', ', ')} | {each} | {shown(np.concatenate(found))} | {width:.2f} |"
                )


def print_same_network(pairs: list[list[str]]) -> None:
    print(
        "\n| structure | way | coverage per network | coverage of all | median width / volume |\n|---|---|---|---|---|"
    )
    for structure, name in enumerate(read_evaluated([Path(pairs[0][0])]).structures.values()):
        inside: dict[str, list[np.ndarray]] = {}
        widths: dict[str, list[np.ndarray]] = {}
        for fitted, asked in pairs:
            known, new = read_evaluated([Path(fitted)]), read_evaluated([Path(asked)])
            interval = fit_interval(*volumes_and_truth(known, structure), LEVEL)
            ask_each_way(interval, *volumes_and_truth(new, structure), inside, widths)
        for way, found in inside.items():
            each, mean = ", ".join(f"{of.mean():.2f}" for of in found), np.mean([of.mean() for of in found])
            width = np.median(np.concatenate(widths[way]))
            print(f"| {name} | {way.replace('_', ', ')} | {each} | {mean:.2f} | {width:.2f} |")


def print_triage(runs: dict[str, list[Path]]) -> None:
    print(
        "\n| run | of | confidence | AUGRC x 1000 | above the oracle | AURC x 1000 | of the worst tenth, found |\n|---|---|---|---|---|---|---|"
    )
    for run, folders in runs.items():
        known = read_evaluated(folders)
        dice = case_dice(known.dice)
        always = known.labelled.min(0) > 0
        columns = {"all structures": (case_confidences(known.table, always), dice)}
        per_class = class_confidences(known.table, always)
        for place, name in enumerate(known.structures.values()):
            columns[name] = {score: values[:, place] for score, values in per_class.items()}, known.dice[:, place]
        for what, (confidences, truth) in columns.items():
            for score, values in confidences.items():
                found = judge(values, truth)
                assert found is not None
                areas = " | ".join(area(found, key) for key in ("AUGRC", "excess_AUGRC", "AURC"))
                print(f"| {run} | {what} | {score} | {areas} | {found['found_of_worst_tenth']:.0%} |")
        print(
            f"{run}: mean Dice {dice.mean():.3f}, an AUGRC that knows nothing {500 * (1 - dice).mean():.1f}", flush=True
        )


def area(found: dict[str, object], key: str) -> str:
    low, high = found[f"{key}_interval"]  # type: ignore[misc]
    return f"{1000 * found[key]:.1f} ({1000 * low:.1f} to {1000 * high:.1f})"  # type: ignore[operator]


def print_leave_one_out(path: Path, voxel_ml: float) -> None:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = [row for row in csv.DictReader(content.decode().splitlines()) if row["voxel_set"] == "all"]
    labels = [key.rpartition("_")[2] for key in rows[0] if key.startswith("volume_ml_reference_")]
    print(f"| {path.parent.parent.name} | way | coverage, leaving one out | median width / volume |\n|---|---|---|---|")
    for label in labels[1:]:
        truth, hard, soft = (
            np.array([float(row[f"volume_ml_{kind}_{label}"]) for row in rows])
            for kind in ("reference", "predicted", "soft")
        )
        volumes = Volumes(hard, np.full(hard.size, voxel_ml), soft)
        for way, (low, high) in leave_one_out(truth, volumes, LEVEL).items():
            inside = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
            print(f"| class {label} | {way} | {shown(inside)} | {np.median(relative_width(low, high, volumes)):.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs="+", action="append", default=[], metavar=("NAME", "FOLDER"))
    parser.add_argument("--same-network", nargs=2, action="append", default=[], metavar=("FITTED", "ASKED"))
    parser.add_argument("--cases", type=Path, nargs="*", default=[], metavar="CALIBRATION_CASES_CSV")
    parser.add_argument("--voxel-ml", type=float, default=0.001, help="of --cases (default: %(default)s)")
    arguments = parser.parse_args()
    runs = {name: [Path(folder) for folder in folders] for name, *folders in arguments.run}
    if runs:
        print_coverage(runs)
        print_triage(runs)
    if arguments.same_network:
        print_same_network(arguments.same_network)
    for path in arguments.cases:
        print_leave_one_out(path, arguments.voxel_ml)


if __name__ == "__main__":
    main()
