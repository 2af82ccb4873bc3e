"""Hand-made runs of several folds for tests of folds and verdicts."""

import numpy as np

from nnunet_nacl.study.run import Run

SETS = ("all", "predicted", "foreground")


def run_of(folder, dice, ece, fold=None):
    """A run whose cases have Dice ``(N,)`` in their only class and ECE by voxel set, ``(N,)`` each; NaN is null.

    ``fold`` gives the part of each case; None makes a run that is not merged.
    """

    def plain(value):
        return None if np.isnan(value) else float(value)

    cases = [
        {
            "case": f"case_{row:03d}",
            **({} if fold is None else {"part": fold[row]}),
            "metrics": {"0": {"Dice": 0.99, "n_ref": 100}, "1": {"Dice": plain(dice[row]), "n_ref": 100 + row}},
            "voxel_sets": {name: {"n_voxels": 1000, "ECE": plain(ece[name][row]), "gap": 0.01} for name in SETS},
            "n_ignored": 0,
        }
        for row in range(len(dice))
    ]
    protocol = {"n_bins": 15, "voxel_sets": dict.fromkeys(SETS, "meaning"), "labels": {"0": "background", "1": "body"}}
    return Run(folder.name, folder, {"schema_version": 3, "metric_per_case": cases, "protocol": protocol}, {})


def folds(n_folds, n_cases):
    """Return the fold of each case, in turn."""
    return [f"fold_{row % n_folds}" for row in range(n_cases)]


def pair(folder, dice=0.0, predicted=0.0, in_all=0.0, n_folds=3, n_cases=30, spread=0.002):
    """A base and a run that differs from it by these amounts, a number or one for each case, with a little spread."""
    random = np.random.default_rng(5)
    of_base = {"dice": random.uniform(0.7, 0.9, n_cases), **{name: random.uniform(0.2, 0.3, n_cases) for name in SETS}}
    change = {"dice": dice, "predicted": predicted, "all": in_all, "foreground": 0.0}
    of_run = {name: held + change[name] + random.normal(0, spread, n_cases) for name, held in of_base.items()}
    names = None if n_folds is None else folds(n_folds, n_cases)
    return tuple(
        run_of(folder / name, held["dice"], held, names) for name, held in (("base", of_base), ("run", of_run))
    )
