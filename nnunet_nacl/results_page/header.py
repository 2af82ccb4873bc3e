"""The head of a page: what was trained and evaluated, with what, and what the reader may not conclude from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from nnunet_nacl.benchmark.curves.convergence import MIN_ITERATIONS
from nnunet_nacl.benchmark.engine.status import job_states
from nnunet_nacl.evaluation.provenance import provenance
from nnunet_nacl.report.prepare_scores import label_names
from nnunet_nacl.results_page.markdown import code, item, text
from nnunet_nacl.results_page.origin import (
    TrainingRecord,
    dates_of_evaluation,
    processor,
    training_records,
    versions_of_evaluation,
)
from nnunet_nacl.results_page.task_results import TaskResults
from nnunet_nacl.study.trained_again import MIN_TRAININGS

CROSS_ENTROPY = "nnUNetTrainerCELoss"
"""Has to be in every study by docs/protocol.md."""
SMALL_SCALE = "small-scale study"
UNKNOWN = "not on record"


def header_section(results: TaskResults, today: date) -> Iterator[str]:
    """Yield the list of facts."""
    study, base = results.study, results.trainers[0].merged
    records = training_records(results)
    ignored = base.summary["protocol"].get("ignore_label")
    yield item(f"**Task**: {code(results.task.name)} ({code(results.task.dataset)}), of the study {code(study.name)}")
    yield item(f"**Cases**: {len(base.statistics)} validation cases in {_folds(results)}, each scored by the fold that did not train on it")  # fmt: skip
    yield item(f"**Classes**: {', '.join(map(text, label_names(base).values()))}{'' if ignored is None else f'; label {text(ignored)} is ignored'}")  # fmt: skip
    yield item(f"**Trainers**: {', '.join(map(code, study.trainers))}; baseline {code(study.baseline)}")
    yield item(f"**Length**: {_length(records)}")
    yield item(f"**Scale**: {code(study.scale)}, plans {code(study.plans)}, configuration {code(study.configuration)}{_shortened(results)}")  # fmt: skip
    yield item(f"**Trained on**: {_devices(records)}; this page was written on {text(processor())}")  # fmt: skip
    yield item(f"**Trained with**: {_training_versions(records)}")
    yield item(f"**Evaluated with**: {_versions(versions_of_evaluation(results))}{_dates(results)}")
    written = {name: [version] for name, version in provenance({})["versions"].items()}
    yield item(f"**Written** on {today.isoformat()} with {_versions(written)}")


def caveats_section(results: TaskResults) -> Iterator[str]:
    """Yield what the reader has to know before the tables."""
    study, records = results.study, training_records(results)
    if study.shortened:
        yield item(
            f"This is a **{SMALL_SCALE}**: the trainings are shortened or the networks small. It says how the losses compare under "
            "these conditions, and nothing about nnU-Net at its full length."
        )
    if len(study.folds) < MIN_TRAININGS:
        yield item(
            f"Fewer than {MIN_TRAININGS} folds ({len(study.folds)}): by the protocol no claim can rest on this page."
        )
    iterations = {record.epochs * record.iterations for record in records if record.epochs and record.iterations}
    if iterations and min(iterations) < MIN_ITERATIONS:
        yield item(f"Fewer than {MIN_ITERATIONS} iterations ({min(iterations)}): by the protocol no claim can rest on this page.")  # fmt: skip
    if len(iterations) > 1:
        yield item(f"The trainings are not equally long: {', '.join(map(str, sorted(iterations)))} iterations.")
    if CROSS_ENTROPY not in study.base_trainers:
        yield item(f"`{CROSS_ENTROPY}` is not in the study, so what leaving out Dice does cannot be told from what a loss does.")  # fmt: skip
    if results.baseline is None:
        yield item(f"The baseline {code(study.baseline)} is not evaluated: there is nothing to compare with.")
    yield item(_replicates(study.trainings))
    yield from map(item, results.remarks)
    yield from map(item, _failed(results))


def _replicates(trainings: int) -> str:
    if trainings == 1:
        return (
            "One run per trainer and fold, not seeded (nnU-Net does not seed trainings): the folds are the replicates."
        )
    return (
        f"Each fold was trained {trainings} times, not seeded (nnU-Net does not seed trainings). Each training has rows of its own below; "
        "comparisons take the mean of a case over them, so a fold's difference is more precise, and the number of folds stays the same."
    )


def _folds(results: TaskResults) -> str:
    folds, first = results.study.folds, results.trainers[0]
    counted = [f"{fold} ({len(first.folds[fold]['metric_per_case'])})" for fold in folds if fold in first.folds]
    return f"{len(folds)} fold{'' if len(folds) == 1 else 's'}: {', '.join(counted) or UNKNOWN}"


def _length(records: list[TrainingRecord]) -> str:
    """Return the lengths that nnU-Net recorded."""
    lengths = {(record.epochs, record.iterations) for record in records if record.epochs and record.iterations}
    if not lengths:
        return f"{UNKNOWN} (nnU-Net's debug.json is not there); the trainers' names give it"
    return " and ".join(
        f"{epochs} epochs of {iterations} iterations, {epochs * iterations} in all"
        for epochs, iterations in sorted((epochs or 0, iterations or 0) for epochs, iterations in lengths)
    )


def _shortened(results: TaskResults) -> str:
    return f"; **{SMALL_SCALE}** (shortened)" if results.study.shortened else ""


def _devices(records: list[TrainingRecord]) -> str:
    devices = {record.device for record in records if record.device}
    return _several(devices) + (" (nnU-Net does not record of which kind)" if "cpu" in devices else "")


def _training_versions(records: list[TrainingRecord]) -> str:
    found = {"torch": sorted({record.torch for record in records if record.torch})}
    for package in ("nnunetv2", "nnunet-nacl", "numpy", "python"):
        found[package] = sorted({record.versions[package] for record in records if record.versions and package in record.versions})  # fmt: skip
    taken_over = sum(record.versions is None for record in records)
    note = f" ({taken_over} of {len(records)} trainings were there before the study: only their torch is on record)" if taken_over else ""  # fmt: skip
    return f"{_versions(found)}{note}"


def _versions(found: dict[str, list[str]]) -> str:
    return ", ".join(f"{text(name)} {_several(versions)}" for name, versions in found.items() if versions) or UNKNOWN


def _several(values: Iterable[str]) -> str:
    return " and ".join(map(text, sorted(values))) or UNKNOWN


def _dates(results: TaskResults) -> str:
    dates = dates_of_evaluation(results)
    if dates is None:
        return ""
    return f", on {text(dates[0])}" if dates[0] == dates[1] else f", from {text(dates[0])} to {text(dates[1])}"


def _failed(results: TaskResults) -> Iterator[str]:
    failed = [
        one.job.name
        for one in job_states(results.study)
        if one.job.dataset == results.task.dataset and one.state in ("failed", "interrupted")
    ]
    if failed:
        yield f"Failed or interrupted when this page was written: {', '.join(map(code, failed))}."
