"""How often `compare` and the protocol claim a difference, in simulated studies of two trainers. Prints Markdown.

    python scripts/simulate_verdicts.py --folds 5 --cases 24 --ratio 0.7 --studies 2000
    python scripts/simulate_verdicts.py --folds 5 --cases 24 --ratio 0.7 --studies 2000 --effect 1
    python scripts/simulate_verdicts.py --grid --studies 2000
    python scripts/simulate_verdicts.py --candidates --studies 4000
    python scripts/simulate_verdicts.py --fewest --studies 20000

A study has F folds of N validation cases. The difference of a case is effect + what its fold's two trainings differ by + noise of the case. In
units of the noise's standard deviation (one case sd): the trainings differ by a normal amount with standard deviation `--ratio`, correlated
between folds by `--correlation`, since folds share training cases. Scores of a case, and of a training, are correlated by 0.5. The effect
lowers ECE in both primary voxel sets and leaves Dice alone. ECE is 0.1 on average with a case sd of 0.02, Dice 0.85 with 0.005. The three scores of the
protocol are compared, not all eleven that `compare` takes by default.

It runs the functions that `compare` runs: `compare_pairs`, `differences_of_parts`, `trained_again`, `verdict_on`. `--candidates` runs other
tests over trainings on such studies: t with other assumed correlations, a hierarchical bootstrap, a mixed model. `--fewest` tells how often
the test over trainings finds an effect of two case sd with few folds, were it asked.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from nnunet_nacl.study.comparison import ALPHA, Comparison, Difference, Settings, judged
from nnunet_nacl.study.paired import adjusted, compare_pairs, differences_of
from nnunet_nacl.study.parts import differences_of_parts
from nnunet_nacl.study.run import Run
from nnunet_nacl.study.trained_again import ASSUMED_CORRELATION
from nnunet_nacl.study.verdict import DICE, PRIMARY, Kind, verdict_on

QUANTITIES = (DICE, *PRIMARY)
CASE_SD = np.array([0.005, 0.02, 0.02])
LEVELS = np.array([0.85, 0.1, 0.1])
BETWEEN_SCORES = 0.5

GRID_FOLDS, GRID_CASES, GRID_RATIOS = (3, 5, 10), (24, 40), (0.0, 0.5, 0.7, 1.0, 2.0)
GRID_CORRELATIONS = (0.0, 0.1, 0.2, 0.3)
GRID_EFFECTS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Design:
    """A simulated study."""

    folds: int
    cases: int
    ratio: float
    effect: float = 0.0
    correlation: float = 0.0

    @property
    def parts(self) -> list[str]:
        """The fold of each case."""
        return [f"fold_{fold}" for fold in range(self.folds) for _ in range(self.cases)]


def correlated(random: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """Draw standard normals that are correlated by ``share`` along the last axis."""
    common = random.normal(size=(*shape[:-1], 1))
    return np.sqrt(share) * common + np.sqrt(1 - share) * random.normal(size=shape)


def draw(random: np.random.Generator, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of base and run, ``(cases, scores)`` each."""
    n_scores, n = len(QUANTITIES), design.folds * design.cases
    # correlated between scores by 0.5 in every fold, and between folds by the design's share in every score
    shared = correlated(random, (1, n_scores), BETWEEN_SCORES)
    own = correlated(random, (design.folds, n_scores), BETWEEN_SCORES)
    trainings = np.sqrt(design.correlation) * shared + np.sqrt(1 - design.correlation) * own
    noise = correlated(random, (n, n_scores), BETWEEN_SCORES)
    effect = np.array([0.0, -design.effect, -design.effect])
    difference = CASE_SD * (effect + design.ratio * np.repeat(trainings, design.cases, axis=0) + noise)
    base = np.abs(random.normal(LEVELS, 3 * CASE_SD, size=(n, n_scores)))
    return base, base + difference


def compared(base: np.ndarray, run: np.ndarray, parts: list[str]) -> tuple[Difference, ...]:
    """Return the rows of `nnunet-nacl compare` for these scores."""
    results = compare_pairs(base, run)
    p_holm = zip(*(map(float, p) for p in adjusted(results)), strict=True)
    of_parts = [differences_of_parts(column, parts) for column in differences_of(base, run).T]
    return tuple(
        judged("run", quantity, result, p, ALPHA, held)
        for quantity, result, p, held in zip(QUANTITIES, results, p_holm, of_parts, strict=True)
    )


def study(random: np.random.Generator, design: Design) -> tuple[str, dict[str, bool]]:
    """Return the verdict of one study, and which tests found something."""
    differences = compared(*draw(random, design), design.parts)
    run = Run("run", Path("run"), {}, {})
    verdict = verdict_on(Comparison(run, (run,), {}, ("a",), {}, (), Settings(), differences), "run")
    predicted = differences[1]
    return verdict.kind.value, {
        "a test over cases (Holm over 3)": any(one.p_holm < ALPHA for one in differences),
        "ECE predicted over cases": predicted.p_holm < ALPHA,
        "ECE predicted over trainings": predicted.again.p < 0.05,
        "a claim by the protocol": verdict.kind in (Kind.WIN, Kind.LOSS, Kind.TRADE),
    }


def rates(design: Design, studies: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Return how often each verdict came, and each test found something."""
    random = np.random.default_rng(seed)
    kinds: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for _ in range(studies):
        kind, tests = study(random, design)
        kinds[kind] += 1
        found.update({name: int(value) for name, value in tests.items()})
    return kinds, found


def percent(count: int, of: int) -> str:
    """Return a rate with its exact binomial interval (Clopper and Pearson), in per cent."""
    low, high = stats.binomtest(count, of).proportion_ci()
    return f"{100 * count / of:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def one_design(design: Design, studies: int, seed: int) -> Iterator[str]:
    """Yield the tables of one design."""
    kinds, found = rates(design, studies, seed)
    yield f"{design}, {studies} studies; per cent, 95 % binomial interval\n\n| verdict | rate |\n|---|---|"
    yield from (f"| {kind.value} | {percent(kinds[kind.value], studies)} |" for kind in Kind)
    yield "\n| found | rate |\n|---|---|"
    yield from (f"| {name} | {percent(count, studies)} |" for name, count in found.items())


def grid(studies: int, seed: int) -> Iterator[str]:
    """Yield the tables of all designs: what is found where nothing differs, and the power."""
    yield from where_nothing_differs(studies, seed)
    yield from power(studies, seed)


def where_nothing_differs(studies: int, seed: int) -> Iterator[str]:
    """Yield the table of false findings and claims."""
    yield "| folds | cases a fold | ratio | correlation | a test over cases | ECE over trainings | a claim |\n|---|---|---|---|---|---|---|"
    for folds in GRID_FOLDS:
        for cases in GRID_CASES:
            for ratio in GRID_RATIOS:
                for correlation in GRID_CORRELATIONS:
                    _, found = rates(Design(folds, cases, ratio, 0.0, correlation), studies, seed)
                    shown = (found[name] for name in ("a test over cases (Holm over 3)", "ECE predicted over trainings", "a claim by the protocol"))  # fmt: skip
                    yield f"| {folds} | {cases} | {ratio:g} | {correlation:g} | {' | '.join(percent(count, studies) for count in shown)} |"


def power(studies: int, seed: int) -> Iterator[str]:
    """Yield the table of what is found of an effect, of a quarter of the studies."""
    yield "\n| folds | cases a fold | ratio | effect | ECE over trainings | win | loss or trade |\n|---|---|---|---|---|---|---|"
    for folds in GRID_FOLDS:
        for cases in GRID_CASES:
            for ratio in GRID_RATIOS:
                for effect in GRID_EFFECTS:
                    kinds, found = rates(Design(folds, cases, ratio, effect), studies // 4, seed)
                    shown = (found["ECE predicted over trainings"], kinds["win"], kinds["loss"] + kinds["trade"])
                    yield f"| {folds} | {cases} | {ratio:g} | {effect:g} | {' | '.join(percent(count, studies // 4) for count in shown)} |"


def candidates(studies: int, seed: int) -> Iterator[str]:
    """Yield how often other tests over trainings find something where nothing differs (two-sided, 5 %)."""
    yield "| folds | ratio | correlation | t | t, Nadeau and Bengio | t, r = 0.3 (ours) | hierarchical bootstrap | mixed model |\n|---|---|---|---|---|---|---|---|"
    random = np.random.default_rng(seed)
    for folds in GRID_FOLDS:
        for ratio in (0.5, 1.0, 2.0):
            for correlation in GRID_CORRELATIONS:
                counts = np.zeros(5, int)
                for _ in range(studies):
                    trainings = ratio * correlated(random, (folds,), correlation)
                    counts += found_by_candidates(random, trainings[:, None] + random.normal(size=(folds, 24)))
                shown = " | ".join(percent(int(count), studies) for count in counts)
                yield f"| {folds} | {ratio:g} | {correlation:g} | {shown} |"


def found_by_candidates(random: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """Return which tests find something in the differences of folds and cases, ``(F, N)``."""
    folds, cases = values.shape
    means = values.mean(1)
    spread = means.std(ddof=1)
    quantile = stats.t.ppf(0.975, folds - 1)
    of_t = [
        abs(means.mean()) > quantile * spread * np.sqrt(1 / folds + share / (1 - share)) for share in (0.0, 0.2, 0.3)
    ]
    drawn = random.integers(folds, size=(200, folds))
    # of each fold drawn, its cases drawn again: N of N
    picked = values[drawn[..., None], random.integers(cases, size=(200, folds, cases))].mean((1, 2))
    low, high = np.quantile(picked, (0.025, 0.975))
    # random intercept by REML, balanced: the variance of the mean is MS_between / (F N), or pooled where that is lower; Wald's z
    between = cases * spread**2
    within = values.var(1, ddof=1).mean()
    pooled = ((folds - 1) * between + folds * (cases - 1) * within) / (folds * cases - 1)
    error = np.sqrt((between if between > within else pooled) / (folds * cases))
    return np.array([*of_t, low > 0 or high < 0, abs(means.mean()) > 1.96 * error])


def fewest(studies: int, seed: int) -> Iterator[str]:
    """Yield how often t with r = 0.3 finds an effect with few folds of 24 cases, were there an answer."""
    random = np.random.default_rng(seed)
    yield "| folds | ratio 0.5 | ratio 0.7 | ratio 1 | ratio 2 |\n|---|---|---|---|---|"
    for folds in (3, 4, 5, 6, 10):
        shown = []
        for ratio in (0.5, 0.7, 1.0, 2.0):
            means = 2 + np.sqrt(ratio**2 + 1 / 24) * random.normal(size=(studies, folds))
            error = means.std(1, ddof=1) * np.sqrt(1 / folds + ASSUMED_CORRELATION / (1 - ASSUMED_CORRELATION))
            found = np.abs(means.mean(1)) > stats.t.ppf(0.975, folds - 1) * error
            shown.append(percent(int(found.sum()), studies))
        yield f"| {folds} | {' | '.join(shown)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=24, help="of each fold")
    parser.add_argument("--ratio", type=float, default=0.7, help="sd of trainings over sd of cases")
    parser.add_argument("--correlation", type=float, default=0.0, help="between the trainings of two folds")
    parser.add_argument("--effect", type=float, default=0.0, help="in sd of cases")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", action="store_true", help="all designs of docs/results/verdicts.md")
    parser.add_argument("--fewest", action="store_true", help="power of the test over trainings with few folds")
    parser.add_argument("--candidates", action="store_true", help="other tests over trainings")
    parsed = parser.parse_args()
    design = Design(parsed.folds, parsed.cases, parsed.ratio, parsed.effect, parsed.correlation)
    if parsed.grid:
        lines = grid(parsed.studies, parsed.seed)
    elif parsed.fewest:
        lines = fewest(parsed.studies, parsed.seed)
    elif parsed.candidates:
        lines = candidates(parsed.studies, parsed.seed)
    else:
        lines = one_design(design, parsed.studies, parsed.seed)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
