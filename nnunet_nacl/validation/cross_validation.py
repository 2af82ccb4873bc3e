"""The calibration of each fold of a trained model on its own validation cases, predicted and evaluated in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from nnunet_nacl import __version__
from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case, case_names
from nnunet_nacl.evaluation.folder import Progress
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.label_files import files_read, spacing_files
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION, protocol_of
from nnunet_nacl.evaluation.settings import Settings
from nnunet_nacl.evaluation.store import CaseStore
from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.evaluation.validation_cases import remarks_on_cases
from nnunet_nacl.evaluation.workers import Warn
from nnunet_nacl.processes.available_memory import default_budget
from nnunet_nacl.validation.case_inputs import CaseInput, Preprocessing
from nnunet_nacl.validation.fold_cases import inputs_of, validation_cases
from nnunet_nacl.validation.kept_files import check_may_write
from nnunet_nacl.validation.model import TrainedModel, digest_of
from nnunet_nacl.validation.network import FoldPredictor, device_named
from nnunet_nacl.validation.predicted_case import Work, evaluate_work
from nnunet_nacl.validation.work_pool import results_of_works


@dataclass(frozen=True)
class Options:
    """How to validate.

    Attributes:
        settings: what changes the figures: bins, boundary, HD95.
        device: ``cuda``, ``cpu`` or ``mps``; None: a GPU where there is one.
        num_processes: workers that resample and evaluate beside the prediction; 1 does all here, one case after another.
        max_memory: bytes for the cases that are evaluated; None: a share of what is available.
        fresh: compute all cases anew.
        keep: also write the files of each case, in half precision, where nnU-Net has its own.
        batch_mirrors: predict mirror images two at a time, see :mod:`~nnunet_nacl.validation.mirror_pairs`; on a CPU only.
    """

    settings: Settings
    device: str | None = None
    num_processes: int = 1
    max_memory: int | None = None
    fresh: bool = False
    keep: bool = False
    batch_mirrors: bool = False


@dataclass(frozen=True)
class Fold:
    """A fold's cases that are to be predicted, with their inputs and fingerprints."""

    name: str
    cases: Mapping[str, Case]
    inputs: Mapping[str, CaseInput]
    prints: Mapping[str, str]


def validate_folds(
    model: TrainedModel,
    labels: Path,
    output: Path,
    options: Options,
    progress: Progress = lambda done, of: None,
    warn: Warn = lambda message: None,
) -> FolderResult:
    """Predict the validation cases of each fold with its own network and return the result of `evaluate` on them.

    Args:
        model: the trained model; of several folds each case is told its own.
        labels: folder with the label files.
        output: where each finished case is kept at once and the cases of an earlier run are looked for.
        options: how.
        progress: called at the start and after each case.
        warn: called with a sentence where a case alone may need more memory than there is.

    Raises:
        InputError: a file is missing or cannot be used; the first case at fault stops it, those that are finished are kept.
    """
    prepared = prepare(model, labels, output, options)
    folds = prepared.folds
    recalled = (
        [] if options.fresh else [found for fold in folds for found in _recalled(fold, prepared.store, options.keep)]
    )
    results = list(recalled)
    progress(len(results), prepared.n_cases)
    finished = {result.case.name for result in recalled}
    budget = default_budget() if options.max_memory is None else options.max_memory
    works = (work for fold in folds for work in _predicted(fold, finished, prepared, options))
    for result in results_of_works(works, evaluate_work, options.num_processes, budget, warn):
        results.append(prepared.keep(result))
        progress(len(results), prepared.n_cases)
    return prepared.result(results, len(recalled))


@dataclass(frozen=True)
class Prepared:
    """All that is known before anything is predicted.

    Attributes:
        model, labels: as given.
        predictor: of the model; it has no fold yet.
        protocol: of the evaluation.
        store: of the output folder.
        folds: with their cases.
    """

    model: TrainedModel
    labels: Path
    predictor: FoldPredictor
    protocol: dict[str, Any]
    store: CaseStore
    folds: tuple[Fold, ...]

    @property
    def n_cases(self) -> int:
        """Cases of all folds."""
        return sum(len(fold.cases) for fold in self.folds)

    def keep(self, result: CaseResult) -> CaseResult:
        """Return a result with its fingerprint, once it is stored."""
        print_ = next(fold.prints[result.case.name] for fold in self.folds if result.case.name in fold.prints)
        kept = replace(result, fingerprint=print_)
        self.store.save(kept)
        return kept

    def work(self, fold: Fold, case: Case, options: Options) -> Work:
        """Predict a case with the fold that the predictor has taken."""
        preprocessing = Preprocessing(self.predictor.plans, self.predictor.configuration, self.model.dataset_json)
        data, properties = fold.inputs[case.name].load(preprocessing)
        try:
            logits = self.predictor.logits(data)
        except InputError as error:
            raise InputError(f"{case.name}: {error}") from error
        dataset, threads = self.model.dataset, self.predictor.threads
        return Work(case, logits, properties, preprocessing, dataset, options.settings, threads, options.keep)

    def result(self, results: Sequence[CaseResult], recalled: int) -> FolderResult:
        """Return the result of all cases."""
        files = provenance_files(self.model, self.labels, self.predictor)
        return FolderResult(_told_apart(results, self.folds, self.model), self.protocol, files, recalled)


def prepare(model: TrainedModel, labels: Path, output: Path, options: Options) -> Prepared:
    """Find all validation cases of a model, their inputs and fingerprints.

    Raises:
        InputError: a file is missing or cannot be used.
    """
    return prepare_cases(validation_cases(model, labels), model, labels, output, options)


def prepare_cases(
    names: Mapping[str, Sequence[str]], model: TrainedModel, labels: Path, output: Path, options: Options
) -> Prepared:
    """Do so for these cases of each fold; see :func:`prepare`."""
    predictor = FoldPredictor(model, device_named(options.device), options.batch_mirrors)
    protocol = protocol_of(model.dataset, options.settings)
    folds = tuple(_fold(name, cases, model, predictor, labels, protocol) for name, cases in names.items())
    return Prepared(model, labels, predictor, protocol, CaseStore(output, protocol), folds)


def provenance_files(model: TrainedModel, labels: Path, predictor: FoldPredictor) -> dict[str, Any]:
    """Return where a result comes from; ``predictions`` is the model, since there are no files of them."""
    batched = {"batch_mirrors": True} if predictor.batch_mirrors else {}
    return {
        "labels": absolute(labels),
        "predictions": absolute(model.folder),
        "predicted": "in memory",
        "dataset_json": absolute(model.files[0]),
        "plans_json": absolute(model.files[1]),
        "folds": list(model.folds),
        "checkpoint": model.checkpoint_name,
        "device": predictor.device.type,
        **batched,
    }


def _fold(
    fold: str,
    names: Sequence[str],
    model: TrainedModel,
    predictor: FoldPredictor,
    labels: Path,
    protocol: dict[str, Any],
) -> Fold:
    """Return a fold's cases, with all that a network takes of them, before anything is predicted."""
    labelled = case_names(labels, model.dataset.file_ending)
    without = [name for name in names if name not in labelled]
    if without:
        raise InputError(
            f"{labels}: no label file ({model.dataset.file_ending}) for {', '.join(without[:5])} of {fold}."
        )
    predictions = Path(absolute(model.folder / fold / "validation"))
    cases = {
        name: Case(name, predictions / f"{name}.npz", Path(absolute(labels / f"{name}{model.dataset.file_ending}")))
        for name in names
    }
    inputs = inputs_of(model, predictor, names)
    network = [digest_of(model.checkpoint(fold), *model.files), *predictor.ways]
    prints = {name: fingerprint(case, inputs[name], model, network, protocol) for name, case in cases.items()}
    return Fold(fold, cases, inputs, prints)


def fingerprint(
    case: Case, case_input: CaseInput, model: TrainedModel, network: Sequence[str], protocol: dict[str, Any]
) -> str:
    """Return a digest of all that a case's result depends on; empty where a file is unreadable, of which an error will tell.

    Args:
        case: whose label file is looked at.
        case_input: whose files are looked at.
        model: of the case.
        network: what tells its predictions from others: digests of files, the device.
        protocol: see :func:`~nnunet_nacl.evaluation.protocol.protocol_of`.
    """
    try:
        labels = digest_of(*files_read(case.labels, model.dataset, spacing_files(case, model.dataset)))
        images = digest_of(*case_input.files())
    except OSError:
        return ""
    schema = [__version__, SCHEMA_VERSION, [field.name for field in fields(CalibrationStatistics)]]
    versions = [metadata.version(name) for name in ("nnunetv2", "torch")]
    text = json.dumps(["in memory", schema, versions, protocol, model.dataset.reader, list(network), images, labels])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _recalled(fold: Fold, store: CaseStore, keep: bool) -> Iterator[CaseResult]:
    for name, case in fold.cases.items():
        result = None if keep and not case.probabilities.is_file() else store.load(fold.prints[name])
        if result is not None:
            yield replace(result, case=case, part="")


def _predicted(fold: Fold, finished: set[str], prepared: Prepared, options: Options) -> Iterator[Work]:
    """Yield the predicted cases of a fold, each predicted when it is asked for."""
    missing = [case for case in fold.cases.values() if case.name not in finished]
    if not missing:
        return
    for case in missing if options.keep else ():
        check_may_write(case.probabilities)
    prepared.predictor.take(fold.name)
    for case in missing:
        yield prepared.work(fold, case, options)


def _told_apart(results: Sequence[CaseResult], folds: Sequence[Fold], model: TrainedModel) -> tuple[CaseResult, ...]:
    """Return the cases by name, each with its fold where there are several, and with what is to be said of a fold."""
    fold_of = {name: fold.name for fold in folds for name in fold.cases}
    trained = remarks_on_cases([result.case for result in results], model.dataset.name)
    told = (
        replace(
            result,
            part=fold_of[result.case.name] if len(folds) > 1 else "",
            remarks=dict(result.remarks) | trained.get(result.case.name, {}),
        )
        for result in results
    )
    return tuple(sorted(told, key=lambda result: result.case.name))
