"""Coverage of the 90 % intervals for volumes by simulation, in studies whose truth is known. Prints Markdown.

    python scripts/simulate_volume_intervals.py --studies 1000

In each study n patients are fitted on and one case of one more patient is asked for. Log errors have a bias and a spread that differs from
case to case; those of hard and soft volumes are the same but for their size, or correlated, or independent. The uncertainty that the adaptive ways divide by knows that spread up to a factor drawn for each case. Tails are normal
(so that ratios are lognormal) or heavy (t with 1.5 degrees of freedom, cut at a factor of 20). In the settings with absent structures 30 %
of the cases lack it, and in half of those 30 voxels are predicted all the same. Patients of several cases have 1 to 4 that share three
quarters of the error's variance.

Each cell is the share of studies in which the true volume lay inside, for each way alone and for the way that `volumes fit` would choose;
beside n stands what is expected of a way alone where errors have no ties, and the last column is the one-sided p value of the lowest share against 0.9.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import binomtest

from nnunet_nacl.decisions import Volumes, fit_interval
from nnunet_nacl.decisions.volumes import WAYS

LEVEL = 0.9
PATIENTS = (20, 28, 40, 100)
VOXEL = 0.001  # ml
CORRELATIONS = (0.0, 0.8, 1.0)
"""Of the errors of hard and soft volume."""
SETTINGS = tuple(
    (heavy, absent, several, correlation)
    for correlation in CORRELATIONS
    for several in (False, True)
    for heavy in (False, True)
    for absent in (False, True)
)


def study(
    random: np.random.Generator, n_patients: int, heavy: bool, absent: bool, several: bool, correlation: float = 1.0
) -> tuple[np.ndarray, Volumes, np.ndarray]:
    """Return true volumes in ml, predictions and patients of n + 1 patients; the last case is one of the last patient's."""
    sizes = random.integers(1, 5, n_patients + 1) if several else np.ones(n_patients + 1, int)
    patient = np.repeat(np.arange(n_patients + 1), sizes)
    n_cases = patient.size
    truth = np.round(random.lognormal(0, 0.5, n_cases) / VOXEL)
    trouble = random.lognormal(-3, 0.7, n_patients + 1)[patient] * random.lognormal(0, 0.3, n_cases)

    def noise(size: int) -> np.ndarray:
        return random.standard_t(1.5, size) if heavy else random.normal(0, 1, size)

    shared = math.sqrt(0.75) if several else 0.0

    def errors() -> np.ndarray:
        return shared * noise(n_patients + 1)[patient] + math.sqrt(1 - shared**2) * noise(n_cases)

    first, second = errors(), errors()
    error = np.clip(trouble * first + 0.1, -3, 3)
    soft_error = np.clip(trouble * (correlation * first + math.sqrt(1 - correlation**2) * second) + 0.1, -3, 3)
    if absent:
        truth[random.random(n_cases) < 0.3] = 0
    seen = np.where(truth > 0, truth, 30 * (random.random(n_cases) < 0.5))
    known = trouble * random.lognormal(0, 0.3, n_cases)
    hard, soft = np.round(seen * np.exp(error)), seen * np.exp((0.9 if correlation == 1 else 1) * soft_error)
    volumes = Volumes(hard * VOXEL, np.full(n_cases, VOXEL), soft * VOXEL, known * seen * VOXEL)
    return truth * VOXEL, volumes, patient


def covered(
    random: np.random.Generator, n_patients: int, heavy: bool, absent: bool, several: bool, correlation: float = 1.0
) -> Iterator[tuple[str, bool]]:
    """Yield for each way, and for the chosen one, whether the interval of a study holds the new case's true volume."""
    truth, volumes, patient = study(random, n_patients, heavy, absent, several, correlation)
    known, new = np.flatnonzero(patient < n_patients), np.array([patient.size - 1])
    groups = patient[known] if several else None
    interval = fit_interval(truth[known], volumes[known], LEVEL, groups)
    for name in (*WAYS, "chosen"):
        low, high = interval.apply(volumes[new], None if name == "chosen" else name)
        yield name, bool(low[0] - 1e-9 <= truth[-1] <= high[0] + 1e-9)


def expected(n_patients: int) -> float:
    """Return the coverage of errors without ties, one case a patient: what the ranks leave above the level."""
    outside = math.floor((n_patients + 1) * (1 - LEVEL) / 2 + 1e-9)
    return 1 - 2 * outside / (n_patients + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--patients", type=int, nargs="+", default=PATIENTS)
    parser.add_argument("--correlations", type=float, nargs="+", default=CORRELATIONS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = (*WAYS, "chosen")
    print(
        "| tails | hard and soft errors | absent structures | cases a patient | n | "
        + " | ".join(name.replace("_", ", ") for name in names)
        + " | p |"
    )
    print("|---|---|---|---|---|" + "---|" * (len(names) + 1))
    for heavy, absent, several, correlation in SETTINGS:
        for n_patients in arguments.patients if correlation in arguments.correlations else ():
            random = np.random.default_rng([arguments.seed, heavy, absent, several, n_patients])
            counts = dict.fromkeys(names, 0)
            for _ in range(arguments.studies):
                for name, inside in covered(random, n_patients, heavy, absent, several, correlation):
                    counts[name] += inside
            lowest = min(counts.values())
            p_value = binomtest(lowest, arguments.studies, LEVEL, alternative="less").pvalue
            cells = " | ".join(f"{counts[name] / arguments.studies:.3f}" for name in names)
            alike = {1.0: "the same", 0.0: "independent"}.get(correlation, f"correlated, {correlation:g}")
            what = "heavy" if heavy else "lognormal", alike, "30 %" if absent else "none", "1 to 4" if several else "1"
            print(
                f"| {' | '.join(what)} | {n_patients} ({expected(n_patients):.3f}) | {cells} | {p_value:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
