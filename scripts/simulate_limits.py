"""Where intervals, guarantees and verdicts hold less often than a reader might expect, by simulation. Prints Markdown tables.

    python scripts/simulate_limits.py means --studies 2000     # scores of which a few are 0; patients with very different numbers of cases
    python scripts/simulate_limits.py verdicts --studies 1000  # eleven skewed scores whose mean difference is 0
    python scripts/simulate_limits.py ranking --studies 1000   # excess AUGRC of few cases, with the percentile bootstrap of `compare` and `triage`
    python scripts/simulate_limits.py lesions --studies 2000   # one patient with most findings; patients with many false ones
    python scripts/simulate_limits.py patients --studies 400   # volumes and Dice bounds with --groups where patients with many cases are harder
    python scripts/simulate_limits.py selected --studies 600   # Dice bounds of the cases with the least and the most confidence
    python scripts/simulate_limits.py missed --studies 400     # miss rates where a network gives some structures no probability at all
    python scripts/simulate_limits.py results --studies 400    # false alarms of the check between results in `thresholds fit`

Each takes a minute of CPU or less with these numbers, `ranking` some two.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr

from nnunet_nacl.calibration.intervals import mean_interval
from nnunet_nacl.decisions import Volumes, excess_augrc, fit_interval
from nnunet_nacl.decisions.dice_estimate import fit_dice
from nnunet_nacl.decisions.miss_rate import controlled
from nnunet_nacl.decisions.threshold_across import across_results
from nnunet_nacl.lesions.proportions import share_over_patients
from nnunet_nacl.lesions.rates import rate_over_patients
from nnunet_nacl.study.paired import adjusted, compare_pairs

Rng = np.random.Generator
VOXEL = 0.001  # ml
LEVEL = 0.1
THRESHOLD_LOGITS = np.linspace(-4, 6, 120)


def header(*columns: str) -> str:
    """Return the head of a table."""
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def row(*cells: object) -> str:
    """Return a row; shares in per cent."""
    return f"| {' | '.join(f'{100 * cell:.1f}' if isinstance(cell, float) else str(cell) for cell in cells)} |"


def means(random: Rng, studies: int) -> Iterator[str]:
    """How often the interval of a mean holds it."""
    numbers = (5, 10, 20, 40, 100)
    yield header("95 % intervals of means hold it, %", *(f"n = {n}" for n in numbers))
    for share in (0.03, 0.1):
        held = []
        for n in numbers:
            dice = np.where(random.random((n, studies)) < share, 0.0, random.beta(40, 2, (n, studies)))
            low, high = mean_interval(dice, within=(0, 1))
            held.append(float(((low <= (truth := (1 - share) * 40 / 42)) & (truth <= high)).mean()))
        yield row(f"beta(40, 2), but {share:.0%} are 0", *held)
    for sizes, name in (((1, 20), "1 case, or (in one of five) 20"), ((1, 4), "1 case, or (in one of five) 4")):
        yield row(f"patients of {name}", *(_of_groups(random, n, sizes, studies) for n in numbers))


def _of_groups(random: Rng, n: int, sizes: tuple[int, int], studies: int) -> float:
    held = 0
    for _ in range(studies // 4):
        patients = np.repeat(np.arange(n), np.where(random.random(n) < 0.2, sizes[1], sizes[0]))
        values = random.normal(0, 0.1, n)[patients] + random.normal(0, 0.03, patients.size)
        low, high = mean_interval(values, groups=list(map(str, patients)))
        held += bool(low <= 0 <= high)
    return held / (studies // 4)


def verdicts(random: Rng, studies: int) -> Iterator[str]:
    """How often at least one of eleven independent scores is told from 0."""
    yield header("differences of mean 0", "n", "ranks alone", "ranks and interval, ranks adjusted", "both adjusted")
    draws = {
        "normal": lambda size: random.normal(0, 1, size),
        "lognormal(0.5)": lambda size: random.lognormal(0, 0.5, size) - np.exp(0.125),
        "lognormal(1)": lambda size: random.lognormal(0, 1, size) - np.exp(0.5),
    }
    for name, draw in draws.items():
        for n in (16, 40, 100):
            found = np.zeros(3)
            for _ in range(studies):
                results = compare_pairs(np.full((n, 11), 10.0), 10.0 + draw((n, 11)))
                ranks, both = (p < 0.05 for p in adjusted(results))
                same = np.array([held.difference * held.rank_biserial > 0 for held in results])
                leaves_out = np.array([not held.low <= 0 <= held.high for held in results])
                found += [(ranks & same).any(), (ranks & same & leaves_out).any(), (both & same).any()]
            yield row(name, n, *map(float, found / studies))


def ranking(random: Rng, studies: int) -> Iterator[str]:
    """How often percentile intervals of excess AUGRC hold what it is on average, and 0 where two confidences are alike."""
    yield header("cases", "of one run", "of the difference of two alike")

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        risk = random.beta(1.2, 5, n)
        return risk, 1 - risk + random.normal(0, 0.12, (2, n))

    for n in (5, 10, 20, 40):
        truth = np.mean([excess_augrc(confidence[0], risk) for risk, confidence in (drawn(n) for _ in range(5000))])
        held = np.zeros(2)
        for _ in range(studies):
            risk, confidence = drawn(n)
            places = random.integers(n, size=(200, n))
            each = np.array([[excess_augrc(one[cases], risk[cases]) for one in confidence] for cases in places])
            for number, (values, value) in enumerate(((each[:, 0], truth), (each[:, 1] - each[:, 0], 0.0))):
                low, high = np.quantile(values, (0.025, 0.975))
                held[number] += low <= value <= high
        yield row(n, *map(float, held / studies))


def lesions(random: Rng, studies: int) -> Iterator[str]:
    """How often the intervals of a share of findings, and of false findings per patient, hold."""
    numbers = (5, 10, 20, 50)
    yield header("95 % intervals hold the truth, %", *(f"{n} patients" for n in numbers))
    for name in ("one has 60, the others 1", "1 / u findings, u uniform, at most 60"):
        held = []
        for n in numbers:
            inside = 0
            for _ in range(studies):
                sizes = (
                    np.r_[60, np.ones(n - 1, int)]
                    if name.startswith("one")
                    else np.minimum(1 / random.random(n), 60).astype(int)
                )
                share = share_over_patients(random.binomial(sizes, random.beta(7 / 6, 7 / 6, n)), sizes)
                inside += share.low <= 0.5 <= share.high
            held.append(inside / studies)
        yield row(f"share of true findings, 0.5; {name}", *held)
    rates = {
        "false findings: Poisson, 1 a patient": (lambda n: random.poisson(1, n), 1.0),
        "negative binomial, 1 a patient, variance 6": (lambda n: random.poisson(random.gamma(0.2, 5, n)), 1.0),
        "one patient in ten has 20": (lambda n: 20 * (random.random(n) < 0.1), 2.0),
    }
    for name, (draw, truth) in rates.items():
        found = [[rate_over_patients(draw(n)) for _ in range(studies)] for n in numbers]
        yield row(name, *(float(np.mean([one.low <= truth <= one.high for one in of_n])) for of_n in found))


def patients(random: Rng, studies: int) -> Iterator[str]:
    """How often volume intervals and Dice bounds at 90 % hold: three in ten patients have ten cases each, with five times the error."""
    yield header(
        "patients of the fit", "volume, over patients", "over cases", "Dice bound, over patients", "over cases"
    )

    def drawn(n: int) -> tuple[np.ndarray, Volumes, np.ndarray]:
        many = random.random(n) < 0.3
        groups = np.repeat(np.arange(n), np.where(many, 10, 1))
        truth = np.round(random.lognormal(8, 0.5, groups.size))
        error = 0.6 * random.normal(0, 1, n)[groups] + 0.8 * random.normal(0, 1, groups.size)
        hard = np.round(truth * np.exp(error * np.where(many, 0.5, 0.1)[groups]))
        return truth * VOXEL, Volumes(hard * VOXEL, np.full(groups.size, VOXEL)), groups

    for n in (20, 40, 200):
        held: list[list[float]] = []
        for _ in range(studies):
            (truth, volumes, groups), (new, new_volumes, of) = drawn(n), drawn(100)
            low, high = fit_interval(truth, volumes, 0.9, groups).apply(new_volumes)
            dice, new_dice = (
                2 * np.minimum(t, v.hard) / (t + v.hard) for t, v in ((truth, volumes), (new, new_volumes))
            )
            _, bound = fit_dice(np.full(dice.size, 0.9), dice, 0.9, groups).apply(np.full(new.size, 0.9))
            inside = (low - 1e-9 <= new) & (new <= high + 1e-9), new_dice >= bound
            held.append(
                [
                    float(value)
                    for hit in inside
                    for value in ((np.bincount(of, hit) / np.bincount(of)).mean(), hit.mean())
                ]
            )
        yield row(n, *map(float, np.mean(held, 0)))


def selected(random: Rng, studies: int) -> Iterator[str]:
    """How often a Dice bound at 90 % holds in all of 200 new cases, and in the tenth and half that triage puts first and last; 60 cases of the fit."""
    yield header("all cases", "the least confident tenth", "the most confident half")

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        hard = random.random(n)
        dice = 0.9 - 0.5 * hard**2 * random.random(n) - 0.03 * random.random(n)
        return 0.93 - 0.2 * hard**2 + random.normal(0, 0.02, n), dice

    held = np.zeros(3)
    for _ in range(studies):
        estimate, (confidence, dice) = fit_dice(*drawn(60)), drawn(200)
        inside = dice >= estimate.apply(confidence)[1]
        order = np.argsort(confidence)
        held += [inside.mean(), inside[order[:20]].mean(), inside[order[100:]].mean()]
    yield row(*map(float, held / studies))


def missed(random: Rng, studies: int) -> Iterator[str]:
    """What new cases miss at a level of 0.1, on average over all fits, and over those that give a threshold."""
    yield header(
        "given no probability",
        "cases of the fit",
        "fits with a threshold",
        "missed, all fits",
        "missed, fits with a threshold",
    )

    def drawn(n: int, gone: float) -> np.ndarray:
        rates = ndtr((THRESHOLD_LOGITS - random.normal(2.5, 1, (n, 1))) / 1.5)
        rates[random.random(n) < gone] = 1.0
        return np.c_[np.zeros(n), rates]

    for gone in (0.0, 0.05, 0.12):
        truth = drawn(20_000, gone).mean(0)
        for n in (30, 100):
            places = np.array([controlled(drawn(n, gone), LEVEL) for _ in range(studies)])
            yield row(
                f"{gone:.0%}",
                n,
                float((places > 0).mean()),
                float(truth[places].mean()),
                float(truth[places[places > 0]].mean()),
            )


def results(random: Rng, studies: int) -> Iterator[str]:
    """How often a result of the same network is said to miss more than the level."""
    yield header("miss rates", "cases of each result", "same network", "the last has logits lower by 0.7")

    def drawn(n: int, skewed: bool, shift: float) -> np.ndarray:
        bad = skewed & (random.random(n) < 0.12)
        centre = np.where(bad, -2.0, 3.0) + random.normal(0, 0.5, n) if skewed else random.normal(1.5, 1.2, n)
        return np.c_[np.zeros(n), ndtr((THRESHOLD_LOGITS - (centre - shift)[:, None]) / (0.7 if skewed else 1.5))]

    for skewed in (False, True):
        for sizes in ((32, 32, 32), (20, 50, 100), (100, 100), (400, 400)):
            parts, warned = [f"fold_{number}" for number, size in enumerate(sizes) for _ in range(size)], np.zeros(2)
            for _ in range(studies):
                for number, shift in enumerate((0.0, 0.7)):
                    rates = [
                        drawn(size, skewed, shift if place == len(sizes) - 1 else 0.0)
                        for place, size in enumerate(sizes)
                    ]
                    across = across_results(np.concatenate(rates), LEVEL, parts, None)
                    warned[number] += bool(across and across["above_the_level"])
            yield row(
                "12 % far higher" if skewed else "spread", ", ".join(map(str, sizes)), *map(float, warned / studies)
            )


TABLES = {table.__name__: table for table in (means, verdicts, ranking, lesions, patients, selected, missed, results)}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for line in TABLES[arguments.table](np.random.default_rng(arguments.seed), arguments.studies):
        print(line, flush=True)


if __name__ == "__main__":
    main()
