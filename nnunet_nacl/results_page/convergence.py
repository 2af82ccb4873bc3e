"""Which trainings are converged, as learning_curves.json says: ``runs``, by nnU-Net's result folder and fold."""

from __future__ import annotations

from typing import Any

from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.results_page.markdown import NOTHING, code, item, sentence, table, wrapped
from nnunet_nacl.results_page.task_results import TaskResults, named


def not_converged(results: TaskResults) -> frozenset[str]:
    """Return the trainers with a fold of the study that is said not to be converged."""
    return frozenset(
        trainer
        for trainer, training in _trainings(results)
        for fold in results.study.folds
        if _entry(results, trainer, training, fold).get("converged") is False
    )


def convergence_table(results: TaskResults) -> list[str]:
    """Return a table of trainers and folds with the reasons below it, or a sentence where nothing is known."""
    folds = results.study.folds
    entries = {
        named(trainer, training): [_entry(results, trainer, training, fold) for fold in folds]
        for trainer, training in _trainings(results)
    }
    known = {name: held for name, held in entries.items() if any(held)}
    if not known:
        return [wrapped("Nothing is on record of whether the trainings are converged.")]
    rows = [[code(name), *map(_word, held)] for name, held in known.items()]
    reasons = [
        item(f"{code(name)}, fold {fold}: {sentence('; '.join(map(str, entry['why_not'])))}")
        for name, held in known.items()
        for fold, entry in zip(folds, held, strict=True)
        if isinstance(entry.get("why_not"), list) and entry["why_not"]
    ]
    return [table(["converged", *(f"fold {fold}" for fold in folds)], rows), *(["\n".join(reasons)] if reasons else [])]


def _trainings(results: TaskResults) -> list[tuple[str, int]]:
    return [(trainer, number + 1) for trainer in results.study.trainers for number in range(results.study.trainings)]


def _entry(results: TaskResults, trainer: str, training: int, fold: int) -> dict[str, Any]:
    content = results.curves
    for key in ("runs", Places(results.study).run_name(trainer), named(str(fold), training)):
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _word(entry: dict[str, Any]) -> str:
    converged = entry.get("converged")
    return NOTHING if converged is None else "yes" if converged else "no"
