"""Coverage of 95 % intervals over cases by simulation: the project's against those that it was chosen from. Prints Markdown.

    python scripts/simulate_coverage.py --studies 2000
    python scripts/simulate_coverage.py --claims --studies 5000

Means: of normal, skewed (lognormal with sigma 0.5 and 1, as calibration errors) and bounded (beta(4, 1), as Dice) scores, and of normal
ones with heavy tails (t with 3 degrees of freedom). Pooled: the ECE of cases of different size whose confidences are off by a normal
amount each, in populations whose ECE is 0.03, 0.04 and nearly 0 (a calibrated network with cases off to either side).

`--claims`: of paired differences, how often `compare` would say better or worse by the signed-rank test alone, and by the test and the
interval of the mean together; and what Hall's interval would be were its inverse bounded where the cubic turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnunet_nacl.calibration.intervals import mean_interval, pooled_interval
from nnunet_nacl.calibration.scores import expected_calibration_error
from nnunet_nacl.study.paired import compare_pairs

CASES = (5, 10, 20, 40)
REPLICATES = 999
TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Population:
    """Scores of cases: how they are drawn, and their mean."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
    mean: float


POPULATIONS = (
    Population("normal", lambda random, size: random.normal(size=size), 0.0),
    Population("t(3)", lambda random, size: random.standard_t(3, size=size), 0.0),
    Population("lognormal(0.5)", lambda random, size: random.lognormal(0, 0.5, size=size), np.exp(0.125)),
    Population("lognormal(1)", lambda random, size: random.lognormal(0, 1, size=size), np.exp(0.5)),
    Population("beta(4, 1)", lambda random, size: random.beta(4, 1, size=size), 0.8),
)


def intervals_of_means(values: np.ndarray, random: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, lower and upper ends of each kind of interval, of ``(n, studies)`` scores."""
    n = len(values)
    mean, error = values.mean(0), stats.sem(values)
    weights = random.multinomial(n, np.full(n, 1 / n), size=REPLICATES).astype(float)
    means = weights @ values / n
    errors = np.sqrt(np.maximum(weights @ values**2 / n - means**2, 0) / (n - 1))
    yield "percentile", *np.quantile(means, TAILS, axis=0)
    yield "BCa", *bca(values, means)
    yield "t", *(mean + side * stats.t.ppf(0.975, n - 1) * error for side in (-1, 1))
    if (values > 0).all():
        yield "t of logarithms", *(mean * np.exp(side * stats.t.ppf(0.975, n - 1) * error / mean) for side in (-1, 1))
    # replicates of one case only have no error
    studentized = np.divide(means - mean, errors, out=np.full(means.shape, np.nan), where=errors > 1e-6 * error)
    low, high = np.nanquantile(studentized, TAILS, axis=0)
    yield "studentized bootstrap", mean - high * error, mean - low * error
    yield "**Hall (ours)**", *mean_interval(values)


def bca(values: np.ndarray, means: np.ndarray) -> list[np.ndarray]:
    """Return the ends of Efron's bias-corrected and accelerated interval (1987)."""
    below = (means < values.mean(0)).mean(0)
    bias = stats.norm.ppf(np.clip(below, 0.5 / REPLICATES, 1 - 0.5 / REPLICATES))
    acceleration = stats.skew(values) / (6 * np.sqrt(len(values)))
    ordered = np.sort(means, axis=0)
    ends = []
    for tail in TAILS:
        moved = bias + stats.norm.ppf(tail)
        share = stats.norm.cdf(bias + moved / (1 - acceleration * moved))
        place = np.clip(share * (REPLICATES - 1), 0, REPLICATES - 1).round().astype(int)
        ends.append(np.take_along_axis(ordered, place[None], 0)[0])
    return ends


def bins_of_cases(random: np.random.Generator, n: int, offset: float, spread: float) -> dict[str, np.ndarray]:
    """Draw cases of some 50 to 10000 voxels in 15 bins, each as a whole too sure by a normal amount."""
    size = random.lognormal(7, 0.8, size=n).astype(int) + 50
    confidence = np.linspace(0.52, 0.98, 15)
    count = random.multinomial(size, np.r_[np.full(14, 0.03), 0.58])
    gap = random.normal(offset, spread, size=n)[:, None] * np.linspace(2, 0.3, 15)
    correct = random.binomial(count, np.clip(confidence - gap, 0, 1))
    return {"count": count, "confidence": count * confidence, "correct": correct}


def ece(sums: dict[str, np.ndarray]) -> np.ndarray:
    """Return the ECE of rows of sums."""
    return expected_calibration_error(sums["count"], sums["confidence"], sums["correct"])


def coverage_of_pooled(random: np.random.Generator, offset: float, spread: float, studies: int) -> Iterator[str]:
    """Yield the rows of a population, a kind of interval each."""
    many = bins_of_cases(random, 200_000, offset, spread)
    truth = ece({name: stack.sum(0)[None] for name, stack in many.items()})[0]
    held: dict[str, list[float]] = {"percentile": [], "**jackknife t (ours)**": []}
    for n in CASES:
        within = dict.fromkeys(held, 0)
        for _ in range(studies):
            cases = bins_of_cases(random, n, offset, spread)
            low, high = pooled_interval(cases, ece, within=(0, 1))
            within["**jackknife t (ours)**"] += low <= truth <= high
            weights = random.multinomial(n, np.full(n, 1 / n), size=REPLICATES)
            drawn = ece({name: weights @ stack for name, stack in cases.items()})
            low, high = np.quantile(drawn, TAILS)
            within["percentile"] += low <= truth <= high
        for name, count in within.items():
            held[name].append(100 * count / studies)
    yield from (row(f"pooled ECE, true value {truth:.4f}", name, shares) for name, shares in held.items())


def bounded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Hall's interval of ``(n, studies)`` scores with ends no further out than where his cubic has slope 0."""
    n, mean, deviation, skewness = len(values), values.mean(0), values.std(0, ddof=1), stats.skew(values)
    quantile = stats.t.ppf(0.975, n - 1) / np.sqrt(n)
    low, high = (
        mean
        - deviation * 3 / skewness * (np.cbrt(np.maximum(1 + skewness * (side * quantile - skewness / (6 * n)), 0)) - 1)
        for side in (1, -1)
    )
    return low, high


def claims(random: np.random.Generator, studies: int) -> Iterator[str]:
    """Yield how often a difference is called better, by test alone and by test and interval, and the bounded interval."""
    yield (
        "| differences | n | mean, sd | test alone | test and interval | bounded in | ours holds the truth | bounded holds it | "
        "ours there | bounded there | width of bounded |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for population in (POPULATIONS[0], POPULATIONS[1], POPULATIONS[3]):
        deviation = population.draw(random, (1_000_000, 1)).std()
        for n in (5, 8, 16, 24, 40):
            for effect in (0.0, 0.5):
                values = population.draw(random, (n, studies)) - population.mean - effect * deviation
                results = compare_pairs(np.full(values.shape, 10.0), 10.0 + values)
                found = np.array([held.p < 0.05 and held.difference * held.rank_biserial > 0 for held in results])
                (low, high), (inner, outer), truth = mean_interval(values), bounded(values), -effect * deviation
                shorter = (inner > low + 1e-9) | (outer < high - 1e-9)
                ours, theirs = (low <= truth) & (truth <= high), (inner <= truth) & (truth <= outer)
                shares = (
                    found, found & ~((low <= 0) & (high >= 0)), shorter, ours, theirs, ours[shorter], theirs[shorter],
                )  # fmt: skip
                shown = [f"{100 * share.mean():.1f}" if share.size else "-" for share in shares]
                width = (outer - inner)[shorter].sum() / (high - low)[shorter].sum() if shorter.any() else np.nan
                yield f"| {population.name} | {n} | {-effect or 0:g} | {' | '.join(shown)} | {width:.2f} |"


def row(population: str, name: str, shares: list[float]) -> str:
    """Return a row of the table."""
    return f"| {population} | {name} | {' | '.join(f'{share:.1f}' for share in shares)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies each (pooled: a quarter of them)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--claims", action="store_true", help="of paired differences: test alone, test and interval")
    parsed = parser.parse_args()
    random = np.random.default_rng(parsed.seed)
    if parsed.claims:
        print("\n".join(claims(random, parsed.studies)))
        return
    print(
        f"| scores | interval | {' | '.join(f'n = {n}' for n in CASES)} |\n|---|---|{'---|' * len(CASES)}", flush=True
    )
    for population in POPULATIONS:
        held: dict[str, list[float]] = {}
        for n in CASES:
            values = population.draw(random, (n, parsed.studies))
            for name, low, high in intervals_of_means(values, random):
                covered = ((low <= population.mean) & (population.mean <= high)).mean()
                held.setdefault(name, []).append(100 * covered)
        for name, shares in held.items():
            print(row(population.name, name, shares), flush=True)
    for offset, spread in ((0.05, 0.05), (0.05, 0.15), (0.0, 0.08)):
        for line in coverage_of_pooled(random, offset, spread, parsed.studies // 4):
            print(line, flush=True)


if __name__ == "__main__":
    main()
