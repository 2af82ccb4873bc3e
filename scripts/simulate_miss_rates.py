"""Do thresholds keep their miss rate? Simulated studies, with and without shift, and real folds. Prints Markdown.

    python scripts/simulate_miss_rates.py --studies 1000
    python scripts/simulate_miss_rates.py --results fold_0/validation fold_1/validation fold_2/validation

In a study, n cases are drawn whose logits inside the structure are normal with a standard deviation of 1.5 around a mean of their own, which is
normal with 1.5 and 1.2; the share that a mask misses is then a normal distribution function. The threshold of the study is asked on a
population of 20,000 other cases (the mean miss rate), and on one new case and one voxel of it (missed or not). Under shift the
means of new cases are lower by 0.5 or 1.

With results, the thresholds of every two or more of them are asked on the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom

from nnunet_nacl.calibration.threshold_counts import thresholds
from nnunet_nacl.decisions.case_table import read_evaluated
from nnunet_nacl.decisions.miss_rate import by_patient, controlled
from nnunet_nacl.decisions.threshold_cases import structure_cases

CASES, SHIFTS = (20, 50, 200), (0.0, 0.5, 1.0)


def miss_rates_of(rng: np.random.Generator, n: int, shift: float = 0.0) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logits = np.log(thresholds() / (1 - thresholds()))
    return ndtr((logits - rng.normal(1.5 - shift, 1.2, (n, 1))) / 1.5)


def simulate(studies: int, level: float) -> None:
    print(f"| cases | shift | mean miss rate of new cases (95 % interval), level {level:g} | lowest that theory allows "
          f"| voxels missed of {studies} | binomial 95 % |\n|---|---|---|---|---|---|")  # fmt: skip
    low, high = binom.interval(0.95, studies, level)
    for shift in SHIFTS:
        population = miss_rates_of(np.random.default_rng(1), 20_000, shift)
        for n in CASES:
            rng = np.random.default_rng(n)
            places = np.array([controlled(miss_rates_of(rng, n), level) for _ in range(studies)])
            true = population.mean(0)[places]
            half = 1.96 * true.std() / np.sqrt(studies)
            missed = rng.random(studies) < population[rng.integers(0, len(population), studies), places]
            least = "" if shift else f"{max(level - 2 / (n + 1), 0):.3f}"
            print(f"| {n} | {shift:g} | {true.mean():.4f} ({true.mean() - half:.4f} to {true.mean() + half:.4f}) | {least} "
                  f"| {missed.sum()} | {low:.0f} to {high:.0f} |")  # fmt: skip


def simulate_groups(studies: int, level: float) -> None:
    """Three patients in ten have five cases, with logits lower by 1.5: the mean over patients is kept, that over cases is not."""

    def drawn(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        many = rng.random(n) < 0.3
        patient = np.repeat(np.arange(n), np.where(many, 5, 1))
        with np.errstate(divide="ignore"):
            logits = np.log(thresholds() / (1 - thresholds()))
        mean = 2 - 1.5 * many[patient] + rng.normal(0, 0.5, patient.size)
        return ndtr((logits - mean[:, None]) / 1.5), patient

    new, patient = drawn(np.random.default_rng(1), 5000)
    of_patients = by_patient(new, patient)[0].mean(0)
    print(f"| patients | mean over patients (95 % interval), level {level:g} | mean over cases |\n|---|---|---|")
    for n in CASES:
        rng = np.random.default_rng(n)
        places = np.array([controlled(by_patient(*drawn(rng, n))[0], level) for _ in range(studies)])
        ends = [f"{true.mean():.3f} ({true.mean() - half:.3f} to {true.mean() + half:.3f})"
                for true in (of_patients[places], new.mean(0)[places]) for half in [1.96 * true.std() / np.sqrt(studies)]]  # fmt: skip
        print(f"| {n} | {ends[0]} | {ends[1]} |")


def ask_folds(folders: list[Path], level: float) -> None:
    evaluated = read_evaluated(folders)
    parts = np.array([case.part for case in evaluated.result.cases])
    print(
        "| structure | result left out | threshold of the others | missed there | argmax missed there |\n|---|---|---|---|---|"
    )
    for name, cases in zip(evaluated.structures.values(), structure_cases(evaluated), strict=True):
        for part in sorted(set(parts)):
            rates, _ = by_patient(cases.missed[parts != part])
            place = controlled(rates, level)
            own = by_patient(cases.missed[parts == part])[0][:, place]
            before = np.nanmean(cases.argmax_missed[parts == part])
            print(f"| {name} | {part} | {thresholds()[place]:.3g} | {own.mean():.3f} | {before:.3f} |")
    for part in sorted(set(parts)):
        halves = [np.flatnonzero(parts == part)[side::2] for side in (0, 1)]
        for name, cases in zip(evaluated.structures.values(), structure_cases(evaluated), strict=True):
            missed = []
            for known, new in (halves, halves[::-1]):
                place = controlled(by_patient(cases.missed[known])[0], level)
                missed += [] if place is None else by_patient(cases.missed[new])[0][:, place].tolist()
            print(f"{part}, {name}: halves of its cases asked on one another: {np.mean(missed):.3f} missed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--level", type=float, default=0.1)
    parser.add_argument("--results", type=Path, nargs="+", default=None)
    parsed = parser.parse_args()
    if parsed.results:
        ask_folds(parsed.results, parsed.level)
    else:
        simulate(parsed.studies, parsed.level)
        simulate_groups(parsed.studies, parsed.level)


if __name__ == "__main__":
    main()
