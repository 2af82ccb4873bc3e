"""Plot the validation pseudo Dice of every epoch from nnU-Net's training logs, one line per trained fold.

    python scripts/plot_learning_curves.py FOLD_FOLDER [FOLD_FOLDER ...] -o curves.png

A fold folder is nnU-Net's ``<trainer>__<plans>__<configuration>/fold_X``. Continued trainings have several logs; the newest
value of an epoch counts.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def pseudo_dice(fold: Path) -> dict[int, list[float]]:
    """Return epoch -> Dice per foreground class."""
    values: dict[int, list[float]] = {}
    for log in sorted(fold.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime):
        epoch = None
        for line in log.read_text(encoding="utf-8").splitlines():
            if match := re.search(r": Epoch (\d+)", line):
                epoch = int(match[1])
            elif "Pseudo dice" in line and epoch is not None:
                values[epoch] = [float(number) for number in re.findall(r"float\d+\(([^)]+)\)", line)]
    return dict(sorted(values.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folds", type=Path, nargs="+")
    parser.add_argument("-o", type=Path, required=True, help="figure file")
    parsed = parser.parse_args()
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for fold in parsed.folds:
        curve = pseudo_dice(fold)
        if not curve:
            print(f"{fold}: no training log with a pseudo Dice", file=sys.stderr)
            return 1
        means = [sum(per_class) / len(per_class) for per_class in curve.values()]
        axes.plot(list(curve), means, label=fold.parent.name.split("__")[0], linewidth=1.5)
    axes.set(xlabel="epoch", ylabel="validation pseudo Dice, mean of the classes", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(parsed.o, dpi=130)
    return 0


if __name__ == "__main__":
    sys.exit(main())
