"""Recalibrations of one trainer's folds side by side, each case scored with what was fitted on the other folds; fiducio's beside ours.

    python scripts/compare_recalibrations.py FOLD_0/validation FOLD_1/validation ... -gt LABELS -djfile dataset.json -pfile plans.json \
        [--max-voxels 200000] [--without-adam]

Every fit sees the same voxels: of those of the other folds that can be recalibrated (not all probability on one class) a random draw,
for ``temperature`` and ``per-class`` those of it where a structure is predicted. Prints a Markdown table of means over cases (an asterisk:
worse than as given by more than the 95 % interval of the paired difference over cases, as ``recalibrate fit`` says it), the largest
bias of a soft volume, the processor time of a fit (compiled before, logarithms included) and the NLL of the voxels fitted on; below
it, for each of our maps that keeps the predicted class, what got worse, how its NLL stands to fiducio's better one, and the times.
``fiducio`` 0.2.0 is Apache-2.0, ``pip install fiducio==0.2.0``; CMSap is its argmax-preserving map, by either optimiser.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fiducio
import numpy as np

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.intervals import mean_interval
from nnunet_nacl.calibration.log_probabilities import floor_of, is_exact, log_probabilities
from nnunet_nacl.evaluation.cases import find_cases
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.recalibration.guarantees import GUARANTEES
from nnunet_nacl.recalibration.harm import SCORES, SETS, Change, changes_of, in_words
from nnunet_nacl.recalibration.heads import SoftmaxHeads, heads_of
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.scored_cases import ScoredProblem, scored_problem

Case = tuple[np.ndarray, np.ndarray]
Transform = Callable[[np.ndarray], np.ndarray]

FARTHER = 0.02  # of a soft volume: a bias that grows by less counts as kept


@dataclass
class Row:
    """A method: what changed, the scores of the cases, and means over its fits of the processor time in s and the NLL of the voxels fitted on."""

    name: str
    changes: list[Change]
    cases: list[tuple[ScoredProblem]]
    seconds: float = float("nan")
    reached: float = float("nan")

    def after(self, score: str, of: str) -> float:
        """Return a score, mean over the cases."""
        return next(each.after for each in self.changes if (each.what, each.where) == (score, of))


def main() -> None:
    """Read, fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    for name in ("-gt", "-djfile", "-pfile"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--max-voxels", type=int, default=200_000)
    parser.add_argument(
        "--without-adam", action="store_true", help="fiducio's default optimiser takes fifty times as long"
    )
    parsed = parser.parse_args()
    dataset = load_dataset(parsed.djfile, parsed.pfile)
    heads = heads_of(dataset)
    assert isinstance(heads, SoftmaxHeads), "classes, not regions"
    folds = [list(read(folder, parsed.gt, dataset)) for folder in parsed.folders]
    draws = [draw([case for other, cases in enumerate(folds) if other != number for case in cases], parsed.max_voxels)
             for number in range(len(folds))]  # fmt: skip
    before = [scored(p, labels) for fold in folds for p, labels in fold]
    print(f"{len(before)} cases in {len(folds)} folds, {draws[0][1].size} voxels a fit\n")
    print("| method | " + " | ".join(f"{score} `{of}`" for of in SETS for score in SCORES)
          + " | bias of soft volumes | fit, s | NLL of the fit |")  # fmt: skip
    print("|---" * (len(SETS) * len(SCORES) + 4) + "|")
    print(line(Row("as given", changes_of(heads, before, before), before)))
    rows = []
    for name, fit in methods(heads, parsed.without_adam).items():
        after, seconds, reached = [], [], []
        for others, fold in zip(draws, folds, strict=True):
            start = time.process_time()
            transform = fit(*others)
            seconds.append(time.process_time() - start)
            reached.append(nll(transform(others[0]), others[1]))
            after += [scored(transform(p), labels) for p, labels in fold]
        means = float(np.mean(seconds)), float(np.mean(reached))
        rows.append(Row(name, changes_of(heads, before, after), after, *means))
        print(line(rows[-1]), flush=True)
    theirs = [row for row in rows if row.name.startswith("fiducio")]
    for row in rows:
        if row.name in GUARANTEES and GUARANTEES[row.name].keeps_argmax and GUARANTEES[row.name].voxel_set == "all":
            print("\n" + verdict(row, theirs))


def verdict(row: Row, theirs: list[Row]) -> str:
    """Return what became of the scores, of the soft volumes, of the NLL beside fiducio's better one, and of the time."""
    worse = [in_words(each, several=False) for each in row.changes if each.worse and each.what in SCORES]
    volumes = [each for each in row.changes if each.what == "soft volume"]
    far = [in_words(each, several=False) for each in volumes if abs(each.after) > abs(each.before) + FARTHER]
    beside = "; ".join(f"NLL `{of}` {nll_beside(row, theirs, of)}" for of in SETS)
    times = ", ".join(f"{row.seconds / other.seconds:.3f} of {other.name}" for other in theirs)
    return (
        f"- `{row.name}`: worse scores: {'; '.join(worse) or 'none'}. Soft volumes more than {100 * FARTHER:.0f} points further "
        f"off: {'; '.join(far) or 'none'}. Less fiducio's better one: {beside}; NLL of the fit "
        f"{row.reached - min(other.reached for other in theirs):+.5f}. Time of the fit: {times}."
    )


def nll_beside(row: Row, theirs: list[Row], of: str) -> str:
    """Return the difference of the NLL to the best of others, with its paired interval over cases."""
    best = min(theirs, key=lambda other: other.after("NLL", of))
    mine, others = ([case.scores[of]["NLL"] for (case,) in each.cases] for each in (row, best))
    difference = np.subtract(mine, others)
    low, high = mean_interval(difference)
    return f"{np.nanmean(difference):+.5f} ({low:+.5f} to {high:+.5f})"


def read(folder: Path, labels: Path, dataset: Dataset) -> Iterator[Case]:
    """Yield the probabilities ``(K, n)`` and labels ``(n,)`` of each case."""
    for case in find_cases(labels, folder, dataset.file_ending):
        with np.load(case.probabilities) as stored:
            probabilities = stored["probabilities"]
        yield (
            probabilities.reshape(len(probabilities), -1),
            read_case_labels(case, dataset).values.reshape(-1).astype(np.uint8),
        )


def draw(cases: list[Case], max_voxels: int) -> Case:
    """Return a random draw of the voxels of cases that can be recalibrated."""
    probabilities, labels = (np.concatenate(part, axis=-1) for part in zip(*cases, strict=True))
    useful = np.flatnonzero(~is_exact(probabilities))
    chosen = np.random.default_rng(0).choice(useful, min(max_voxels, useful.size), replace=False)
    return np.ascontiguousarray(probabilities[:, chosen]), labels[chosen]


def methods(heads: SoftmaxHeads, without_adam: bool) -> dict[str, Callable[[np.ndarray, np.ndarray], Transform]]:
    """Return what fits on voxels and returns what recalibrates others, by name."""

    def ours(name: str) -> Callable[[np.ndarray, np.ndarray], Transform]:
        def fit(probabilities: np.ndarray, labels: np.ndarray) -> Transform:
            if GUARANTEES[name].voxel_set == "predicted":
                structure = probabilities.argmax(0) > 0
                probabilities, labels = probabilities[:, structure], labels[structure]
            logarithm = log_probabilities(probabilities, floor_of(probabilities.dtype)).astype(np.float32)
            fitted = METHODS[name].fit(lambda: [(logarithm, labels)], len(probabilities), "softmax")
            return lambda given: heads.recalibrate(given, (fitted.map,))

        compiling = np.full((len(heads.channels), 2), 1 / len(heads.channels), np.float32), np.zeros(2, np.uint8)
        METHODS[name].fit(lambda: [(np.log(compiling[0]), compiling[1])], len(heads.channels), "softmax")
        return fit

    def theirs(make: Callable[[], Any]) -> Callable[[np.ndarray, np.ndarray], Transform]:
        def fit(probabilities: np.ndarray, labels: np.ndarray) -> Transform:
            calibrator = make().fit(probabilities.T.copy(), labels.astype(np.int64))
            return lambda given: calibrator.transform(given.T.copy()).numpy().T.copy()

        return fit

    found = {name: ours(name) for name in METHODS}
    found["fiducio CMSap, L-BFGS"] = theirs(
        lambda: fiducio.ArgmaxPreservingMatrixScaling(optimizer="lbfgs", input_type="probs")
    )
    if not without_adam:
        found["fiducio CMSap, Adam"] = theirs(lambda: fiducio.ArgmaxPreservingMatrixScaling(input_type="probs"))
    return found


def scored(probabilities: np.ndarray, labels: np.ndarray) -> tuple[ScoredProblem]:
    """Return the scores of the one problem of a case."""
    found = CalibrationStatistics.empty(len(probabilities))
    found.update(probabilities, labels)
    return (scored_problem(found),)


def nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log likelihood in nats."""
    of_label = probabilities[labels, np.arange(labels.size)].astype(np.float64)
    return float(-np.log(np.maximum(of_label, 1e-12)).mean())


def line(row: Row) -> str:
    """Return a row of the table; an asterisk where a score got worse beyond its interval."""
    scores = {(each.where, each.what): each for each in row.changes if each.what in SCORES}
    volumes = [each for each in row.changes if each.what == "soft volume"]
    cells = [
        f"{scores[of, score].after:.4f}{'*' if scores[of, score].worse else ''}" for of in SETS for score in SCORES
    ]
    cells.append(", ".join(f"{100 * each.after:+.1f} %{'*' if each.worse else ''}" for each in volumes))
    cells += ["", ""] if np.isnan(row.seconds) else [f"{row.seconds:.2f}", f"{row.reached:.5f}"]
    return f"| {row.name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
