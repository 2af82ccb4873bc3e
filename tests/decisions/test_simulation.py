"""scripts/simulate_volume_intervals.py, which makes a table of docs/results/decisions.md: the small version of it, and that it still runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import binomtest

SCRIPT = Path(__file__).parents[2] / "scripts" / "simulate_volume_intervals.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    specification = importlib.util.spec_from_file_location("simulate_volume_intervals", SCRIPT)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("heavy", "absent"), [(False, False), (True, True)])
def test_patients_of_several_cases_are_covered(simulation: ModuleType, heavy: bool, absent: bool) -> None:
    random, n_studies = np.random.default_rng([3, heavy, absent]), 100
    counts: dict[str, int] = {}
    for _ in range(n_studies):
        for name, inside in simulation.covered(random, 20, heavy, absent, several=True):
            counts[name] = counts.get(name, 0) + inside
    assert set(counts) == {"hard", "soft", "hard_adaptive", "soft_adaptive", "chosen"}
    for name, count in counts.items():
        assert binomtest(count, n_studies, 0.9, alternative="less").pvalue > 1e-3, name
