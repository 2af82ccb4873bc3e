"""Which temperature for an ensemble of folds? Measured on cases that no fold was trained on.

    python scripts/ensemble_temperature.py PREDICTED_0 PREDICTED_1 ... -gt LABELS -djfile dataset.json -pfile plans.json \
        --validation FOLD_0/validation FOLD_1/validation ... -vgt GT_SEGMENTATIONS

``PREDICTED_k``: what fold k alone predicts for the test cases (``nnUNetv2_predict -f k --save_probabilities``). The ensemble is made as nnU-Net
makes it, from the mean of the logits: the mean of the folds' log probabilities differs from it by a constant per voxel, which cancels.

For `temperature` (on ``predicted`` and on ``all``) and `by-prediction`, prints means over the test cases for the ensemble as it is; with what each
fold's own validation cases gave, put into each fold before averaging (for `by-prediction` the mean of the folds' factors, after averaging); with
what was fitted on the ensemble's predictions of other test cases, five parts taking turns; and the two estimates below, which need no labels.

By likelihood: each fold's tempered probabilities are taken as calibrated for that fold. The temperature whose tempered ensemble has the highest
expected likelihood under their mean is what the disagreement of the folds says about the ensemble. (A mean of calibrated
probabilities is not sure enough: Ranjan and Gneiting 2010.)

By variance: where the logits of a fold are the true ones plus noise, the slope of a regression of the truth on them, 1 / T, is its
covariance over their variance. The mean of the folds has the same covariance and less variance, so T of the ensemble = T of a fold times
the variance of the mean logits over that of a fold's (errors in variables).

A second table has both estimates beside the temperature fitted on the ensemble, for the ensembles of all subsets of the folds.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.log_probabilities import floor_of, is_exact, log_probabilities
from nnunet_nacl.evaluation.cases import find_cases
from nnunet_nacl.evaluation.dataset import Dataset, load_dataset
from nnunet_nacl.evaluation.label_files import read_case_labels
from nnunet_nacl.recalibration.guarantees import GUARANTEES
from nnunet_nacl.recalibration.harm import SCORES, SETS
from nnunet_nacl.recalibration.heads import SoftmaxHeads, heads_of
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.methods.by_prediction import FactorOfPrediction
from nnunet_nacl.recalibration.methods.temperature import OneFactor
from nnunet_nacl.recalibration.splits import at_random

FITS = (("temperature", "predicted"), ("temperature", "all"), ("by-prediction", "all"))
Cases = dict[str, tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Read, fit, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--validation", type=Path, nargs="+", required=True)
    for name in ("-gt", "-vgt", "-djfile", "-pfile"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="`temperature` on `predicted` only")
    parsed = parser.parse_args()
    dataset = load_dataset(parsed.djfile, parsed.pfile)
    heads = heads_of(dataset)
    assert isinstance(heads, SoftmaxHeads), "classes, not regions"
    folds = [read(folder, parsed.gt, dataset) for folder in parsed.folders]
    names = list(folds[0])
    logits = {name: np.stack([logarithm(fold[name][0]) for fold in folds]) for name in names}
    labels = {name: folds[0][name][1] for name in names}
    ensemble = {name: (softmax(logits[name].mean(0)), labels[name]) for name in names}
    print(f"{len(names)} test cases, {len(folds)} folds\n")
    heading = [f"{score} `{of}`" for of in SETS for score in SCORES]
    print("| ensemble | numbers | " + " | ".join(heading) + " | soft volume |")
    print("|---" * (len(heading) + 3) + "|")
    single = [row(heads, [(softmax(logits[name][fold]), labels[name]) for name in names]) for fold in range(len(folds))]
    print(
        f"| (one fold, mean of {len(folds)}) |  | "
        + " | ".join(np.mean(single, axis=0).round(4).astype(str)[:-2])
        + " | |"
    )
    show("untempered", "", heads, list(ensemble.values()))
    subsets: dict[str, list[str]] = {}
    for method, voxel_set in FITS[:1] if parsed.quick else FITS:
        of_folds = [
            fit(list(read(folder, parsed.vgt, dataset).values()), method, voxel_set) for folder in parsed.validation
        ]
        what = f"`{method}` on `{voxel_set}`"
        show(
            f"{what}, of each fold",
            words(of_folds),
            heads,
            [(with_folds(logits[name], of_folds, heads), labels[name]) for name in names],
        )
        held_out, fitted = [], []
        for part in at_random(len(names), 5, 0):
            others = [ensemble[name] for number, name in enumerate(names) if number not in part.members]
            fitted.append(fit(others, method, voxel_set))
            held_out += [
                (heads.recalibrate(ensemble[names[number]][0], (fitted[-1],)), labels[names[number]])
                for number in part.members
            ]
        show(f"{what}, fitted on the ensemble", words(fitted), heads, held_out)
        if method == "temperature":
            for how, estimate in (("likelihood", by_likelihood), ("variance", by_variance)):
                guess = estimate(logits, of_folds, voxel_set)
                tempered = [(heads.recalibrate(p, (OneFactor(guess),)), y) for p, y in ensemble.values()]
                show(f"{what}, estimated by {how}", f"{1 / guess:.3f}", heads, tempered)
            subsets[voxel_set] = list(of_subsets(logits, labels, of_folds, voxel_set))
    for voxel_set, lines in subsets.items():
        print(
            f"\n| folds | T of the folds, mean | T fitted on their ensemble (`{voxel_set}`) | by variance | by likelihood |"
        )
        print("|---" * 5 + "|", *lines, sep="\n", flush=True)


def of_subsets(
    logits: dict[str, np.ndarray], labels: dict[str, np.ndarray], maps: list[OneFactor], voxel_set: str
) -> Iterator[str]:
    """Yield a row for each ensemble of two folds or more."""
    for size in range(2, len(maps) + 1):
        for chosen in itertools.combinations(range(len(maps)), size):
            some = {name: of_case[list(chosen)] for name, of_case in logits.items()}
            own = [maps[fold] for fold in chosen]
            fitted = fit([(softmax(some[name].mean(0)), labels[name]) for name in some], "temperature", voxel_set)
            values = [np.mean([1 / each.factor for each in own]), 1 / fitted.factor,
                      1 / by_variance(some, own, voxel_set), 1 / by_likelihood(some, own, voxel_set)]  # fmt: skip
            yield f"| {', '.join(map(str, chosen))} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


def read(folder: Path, labels: Path, dataset: Dataset) -> Cases:
    """Return probabilities ``(K, n)`` and labels ``(n,)`` of each case."""
    found = {}
    for case in find_cases(labels, folder, dataset.file_ending):
        with np.load(case.probabilities) as stored:
            probabilities = stored["probabilities"]
        values = read_case_labels(case, dataset).values.reshape(-1).astype(np.uint8)
        found[case.name] = (probabilities.reshape(len(probabilities), -1), values)
    return found


def logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Return log probabilities, float32."""
    return log_probabilities(probabilities, floor_of(probabilities.dtype)).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the first axis, float32."""
    shifted = np.exp((logits - logits.max(0)).astype(np.float64))
    return (shifted / shifted.sum(0)).astype(np.float32)


def fit(cases: list[tuple[np.ndarray, np.ndarray]], method: str, voxel_set: str) -> Any:
    """Return the map fitted on the voxels of a set in some cases."""

    def blocks() -> Any:
        for probabilities, labels in cases:
            chosen = ~is_exact(probabilities)
            if voxel_set == "predicted":
                chosen &= probabilities.argmax(0) > 0
            yield logarithm(probabilities[:, chosen]), labels[chosen]

    assert voxel_set in ("predicted", "all") and method in GUARANTEES
    return METHODS[method].fit(blocks, len(cases[0][0]), "softmax").map


def with_folds(logits: np.ndarray, maps: list[Any], heads: SoftmaxHeads) -> np.ndarray:
    """Return the ensemble of folds of which each has its own map."""
    if isinstance(maps[0], OneFactor):
        return softmax(np.mean([fold * each.factor for fold, each in zip(logits, maps, strict=True)], axis=0))
    mean = FactorOfPrediction(np.exp(np.mean([np.log(each.factors) for each in maps], axis=0)))
    return heads.recalibrate(softmax(logits.mean(0)), (mean,))


def by_variance(logits: dict[str, np.ndarray], maps: list[OneFactor], voxel_set: str) -> float:
    """Return the folds' mean factor times the variance of a fold's logits, mean of the folds, over that of their mean."""
    chosen = []
    for of_case in logits.values():
        structure = of_case.mean(0).argmax(0) > 0
        of_case = of_case[..., structure] if voxel_set == "predicted" else of_case
        chosen.append(of_case - of_case.mean(1, keepdims=True))
    together = np.concatenate(chosen, axis=-1).astype(np.float64)
    ratio = together.var(-1).sum(1).mean() / together.mean(0).var(-1).sum()
    return float(ratio / np.mean([1 / each.factor for each in maps]))


def by_likelihood(logits: dict[str, np.ndarray], maps: list[OneFactor], voxel_set: str) -> float:
    """Return the factor of the tempered ensemble of highest expected likelihood under the mean of the tempered folds."""
    means, targets = [], []
    for of_case in logits.values():
        mean = of_case.mean(0)
        chosen = mean.argmax(0) > 0 if voxel_set == "predicted" else np.ones(mean.shape[1], bool)
        means.append(mean[:, chosen].astype(np.float64))
        folds = [softmax(fold[:, chosen] * each.factor) for fold, each in zip(of_case, maps, strict=True)]
        targets.append(np.mean(folds, axis=0))
    mean, target = np.concatenate(means, axis=1), np.concatenate(targets, axis=1)
    mean -= mean.max(0)

    def cost(log_factor: float) -> float:
        scaled = np.exp(log_factor) * mean
        return float((np.log(np.exp(scaled).sum(0)) - (target * scaled).sum(0)).mean())

    return float(np.exp(minimize_scalar(cost, bounds=(-3, 3), method="bounded").x))


def words(maps: list[Any]) -> str:
    """Return the temperatures of several maps."""
    return "; ".join(
        " / ".join(f"{1 / value:.2f}" for value in np.ravel(getattr(each, "factor", getattr(each, "factors", None))))
        for each in maps
    )


def row(heads: SoftmaxHeads, cases: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the means over cases of the scores, and the bias of the soft volume of each structure."""
    found = []
    for probabilities, labels in cases:
        found.append(CalibrationStatistics.empty(len(heads.channels)))
        found[-1].update(probabilities, labels)
    names = {"ECE": "ece", "NLL": "nll", "Brier": "brier"}
    scores = [np.nanmean([getattr(case.scores(of), names[score]) for case in found]) for of in SETS for score in SCORES]
    soft, label = (
        np.sum([values(case) for case in found], axis=0)[1:]
        for values in (CalibrationStatistics.soft_volumes, lambda case: case.confusion.sum(1))
    )
    return np.array([*scores, *(soft / label - 1)])


def show(name: str, numbers: str, heads: SoftmaxHeads, cases: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Print a row."""
    values = row(heads, cases)
    n_scores = len(SETS) * len(SCORES)
    volumes = ", ".join(f"{100 * value:+.1f} %" for value in values[n_scores:])
    print(
        f"| {name} | {numbers} | " + " | ".join(f"{value:.4f}" for value in values[:n_scores]) + f" | {volumes} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
