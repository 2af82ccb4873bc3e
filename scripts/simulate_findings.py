"""Which confidence of a finding is calibrated, its largest or its mean probability, where the probability of every voxel is known?

Two worlds, both with the true posterior in the place of a network's probabilities, so every voxel is calibrated exactly:

- *presence*: each candidate is a lesion or not, with a probability of its own (0.3 to 1); within it the voxels stand and fall together, and the
  border is fuzzy. This is what a radiologist doubts.
- *extent*: every lesion is there and its border is unsure: labels follow the posterior by a smooth random field, as a rater's would. Small or
  faint lesions have low probabilities everywhere.

In each, also with the log-odds doubled: an overconfident network. Run: ``python scripts/simulate_findings.py`` (minutes; ``--cases`` for fewer).

``--intervals``: how often the interval of a share of true findings holds, over patients and over findings, in 2000 studies each of 5 to 50 patients with 1
to 11 findings, whose shares differ from patient to patient (beta-binomial) or not; and how often those of the other figures hold, in as many studies each of a
weak and a good network. ``--studies`` for fewer.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import expit, logit, ndtr

from nnunet_nacl.lesions import Rules, find_lesions, summarize
from nnunet_nacl.lesions.froc import average_precision, froc, froc_score, sensitivity_at
from nnunet_nacl.lesions.proportions import share_over_patients, wilson
from nnunet_nacl.lesions.rates import rate_over_patients
from nnunet_nacl.lesions.reliability import reliability
from nnunet_nacl.lesions.table import ClassTable
from nnunet_nacl.lesions.value import Value

SHAPE = (32, 48, 48)
N_CANDIDATES = 8
RATER_SCALE = 1.5
RULES = {
    "any": Rules("any"),
    "centroid": Rules("centroid"),
    "IoU 0.1": Rules("iou", 0.1),
    "IoU 0.5": Rules("iou", 0.5),
}


def uniform_field(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a smooth field whose values are uniform in each voxel."""
    field = gaussian_filter(rng.normal(size=SHAPE), RATER_SCALE, mode="wrap")
    impulse = np.zeros(SHAPE)
    impulse[0, 0, 0] = 1
    return np.asarray(ndtr(field / np.linalg.norm(gaussian_filter(impulse, RATER_SCALE, mode="wrap"))))


def balls(rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the signed distance to the surface of each candidate in voxels, negative inside; no two touch."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    centres: list[NDArray[np.float64]] = []
    made = []
    for _ in range(20 * N_CANDIDATES):
        centre, radius = rng.uniform(6, np.array(SHAPE) - 6), rng.uniform(1.5, 4)
        if len(made) < N_CANDIDATES and all(np.linalg.norm(centre - other) > 12 for other in centres):
            centres.append(centre)
            made.append(np.linalg.norm(grid - centre, axis=-1) - radius)
    return made


def presence(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return posterior and labels of a case in which candidates are lesions or not."""
    posterior, labels = np.zeros(SHAPE), np.zeros(SHAPE, np.int64)
    for distance in balls(rng):
        exists, shape = rng.uniform(0.3, 1), expit(-distance / 0.35)
        shape[distance > 3] = 0
        posterior += exists * shape
        if rng.random() < exists:
            labels[uniform_field(rng) < shape] = 1
    return posterior, labels


def extent(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return posterior and labels of a case whose lesions have unsure borders, some of them faint."""
    odds = np.full(SHAPE, -12.0)
    for distance in balls(rng):
        odds = np.maximum(odds, np.minimum(-distance / 0.7, rng.uniform(-0.5, 4)))
    posterior = np.where(odds < -6, 0, expit(odds))
    return posterior, (uniform_field(rng) < posterior).astype(np.int64)


def intervals(n_studies: int) -> None:
    """Print how often 95 % intervals hold."""
    print("| patients | share | findings of a patient | over patients | over findings |\n|---|---|---|---|---|")
    for n_patients in (5, 10, 20, 50):
        for share, strength in ((0.7, 2.0), (0.9, 5.0), (0.7, 1e6)):
            rng = np.random.default_rng(n_patients)
            held = np.zeros(2)
            for _ in range(n_studies):
                sizes = rng.integers(1, 12, n_patients)
                hits = rng.binomial(sizes, rng.beta(strength * share, strength * (1 - share), n_patients))
                ends = share_over_patients(hits, sizes)[1:3], wilson(hits.sum() / sizes.sum(), sizes.sum())
                held += [low <= share <= high for low, high in ends]
            kind = "alike" if strength > 1e3 else "depend on each other"
            print(f"| {n_patients} | {share} | {kind} | {held[0] / n_studies:.1%} | {held[1] / n_studies:.1%} |")


def patients(rng: np.random.Generator, n_patients: int, good: bool) -> ClassTable:
    """Return findings and lesions of patients who differ: a good network misses few of them and has few false ones."""
    findings: list[tuple[int, bool, float]] = []
    lesions: list[tuple[int, bool]] = []
    for patient in range(n_patients):
        ease = rng.normal()
        found = rng.random(rng.poisson(3) if rng.random() < 0.8 else 0) < expit(ease + (3.5 if good else 1.2))
        n_false = rng.poisson((0.105 if good else 0.7) * np.exp(0.7 * rng.normal()))
        drawn = [(True, 1.5 + 0.5 * ease)] * int(found.sum()) + [(False, 0.0)] * n_false
        findings += [(patient, is_true, 0.5 + expit(rng.normal(mean, 1)) / 2) for is_true, mean in drawn]
        lesions += [(patient, bool(each)) for each in found]
    of, is_true, confidence = np.array(findings, float).reshape(-1, 3).T
    lesion_of, is_found = np.array(lesions, int).reshape(-1, 2).T
    return ClassTable(
        n_patients, of.astype(int), is_true > 0, confidence, confidence, lesion_of, is_found > 0, np.ones(len(lesions))
    )


def figures(table: ClassTable) -> dict[str, Value]:
    """Return the figures whose intervals are tested."""
    return {
        "false findings per patient": rate_over_patients(table.of_patients(table.finding_patient, ~table.is_true)),
        "average precision": average_precision(table, "largest"),
        "FROC score": froc_score(table, "largest"),
        "gap": reliability(table, "largest").gap,
    }


def truth(good: bool) -> dict[str, float]:
    """Return the figures of very many patients."""
    table = patients(np.random.default_rng(1), 60000, good)
    curve = froc(table, "largest")
    return {
        "false findings per patient": float((~table.is_true).sum() / table.n_patients),
        "average precision": float((curve.precision * np.diff(curve.sensitivity, prepend=0)).sum()),
        "FROC score": float(sensitivity_at(curve, len(table.is_found)).mean()),
        "gap": float(table.largest_p.mean() - table.is_true.mean()),
    }


def intervals_of_figures(n_studies: int) -> None:
    """Print how often 95 % intervals of figures that are no shares hold, and how often there is none."""
    print(
        "| network | patients | figure | true value | holds | is below | is above | no interval |\n|---|---|---|---|---|---|---|---|"
    )
    for good in (False, True):
        known = truth(good)
        for n_patients in (5, 10, 30, 100):
            rng = np.random.default_rng(n_patients)
            drawn = [figures(patients(rng, n_patients, good)) for _ in range(n_studies)]
            for name, value in known.items():
                ends = np.array([each[name][1:] for each in drawn])
                ends = ends[~np.isnan(ends).any(1)]
                below, above = (ends[:, 1] < value).mean(), (ends[:, 0] > value).mean()
                print(
                    f"| {'good' if good else 'weak'} | {n_patients} | {name} | {value:.3f} | {1 - below - above:.1%} | {below:.1%} | {above:.1%} "
                    f"| {n_studies - len(ends)} |",
                    flush=True,
                )


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--intervals", action="store_true")
    parser.add_argument("--studies", type=int, default=2000)
    parsed = parser.parse_args()
    if parsed.intervals:
        intervals(parsed.studies)
        intervals_of_figures(parsed.studies)
        return
    n_cases = parsed.cases
    print("| world | network | rule | findings | true | largest: overconfident by | mean: overconfident by |")
    print("|---|---|---|---|---|---|---|")
    for world in (presence, extent):
        drawn = [world(np.random.default_rng([7, number])) for number in range(n_cases)]
        for network, factor in (("calibrated", 1.0), ("log-odds doubled", 2.0)):
            for name, rules in RULES.items():
                print(_row(world.__name__, network, name, drawn, factor, rules))


def _row(world: str, network: str, name: str, drawn: list, factor: float, rules: Rules) -> str:  # type: ignore[type-arg]
    cases = []
    for posterior, labels in drawn:
        p = expit(factor * logit(posterior))
        cases.append(find_lesions(np.stack([1 - p, p]), labels, rules=rules))
    (found,) = summarize(cases, rules=rules).values()
    gaps = [found["reliability"][which]["gap"] for which in ("largest", "mean")]
    shown = [f"{gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})" for gap in gaps]
    share = found["n_true"] / found["n_findings"]
    return f"| {world} | {network} | {name} | {found['n_findings']} | {share:.0%} | {shown[0]} | {shown[1]} |"


if __name__ == "__main__":
    main()
