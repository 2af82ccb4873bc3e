"""scripts/simulate_verdicts.py, which makes docs/results/verdicts.md: the small version of it, and that it still runs."""

import importlib.util
from pathlib import Path

import pytest
import scipy.stats

SCRIPT = Path(__file__).parents[2] / "scripts" / "simulate_verdicts.py"


@pytest.fixture(scope="module")
def simulation():
    specification = importlib.util.spec_from_file_location("simulate_verdicts", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    # dataclasses look their module up
    import sys

    sys.modules["simulate_verdicts"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["simulate_verdicts"]


@pytest.mark.parametrize(("folds", "correlation"), [(5, 0.3), (10, 0.3)])
def test_claims_are_false_in_at_most_one_of_twenty(simulation, folds, correlation):
    n_studies = 100
    kinds, found = simulation.rates(simulation.Design(folds, 24, 0.7, 0.0, correlation), n_studies, seed=1)
    assert sum(kinds.values()) == n_studies and not kinds["not judged"]
    assert found["a claim by the protocol"] <= scipy.stats.binom.ppf(0.999, n_studies, 0.05)
    assert found["ECE predicted over trainings"] <= scipy.stats.binom.ppf(0.999, n_studies, 0.05)
    assert found["a test over cases (Holm over 3)"] > 0.6 * n_studies


def test_an_effect_is_found(simulation):
    kinds, _ = simulation.rates(simulation.Design(10, 24, 0.5, 2.0), 40, seed=1)
    assert kinds["win"] >= 36 and kinds["loss"] == kinds["trade"] == 0


def test_three_folds_are_no_answer(simulation):
    kinds, _ = simulation.rates(simulation.Design(3, 24, 0.7, 2.0), 20, seed=1)
    assert kinds == {"not judged": 20}


def test_what_it_prints(simulation, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["simulate_verdicts.py", "--folds", "5", "--cases", "12", "--studies", "5"])
    simulation.main()
    printed = capsys.readouterr().out
    assert "| win | 0.0 (0.0 to 52.2) |" in printed and "| a claim by the protocol |" in printed
