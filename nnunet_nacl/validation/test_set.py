"""The calibration of a trained model on a test set: of each fold, and of both ensembles of them, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.cases import Case, case_names
from nnunet_nacl.evaluation.folder import Progress
from nnunet_nacl.evaluation.folder_result import FolderResult
from nnunet_nacl.evaluation.protocol import protocol_of
from nnunet_nacl.evaluation.store import CaseStore
from nnunet_nacl.evaluation.stored_paths import absolute
from nnunet_nacl.evaluation.workers import Warn
from nnunet_nacl.nnunet.image_files import images_in
from nnunet_nacl.processes.available_memory import default_budget
from nnunet_nacl.validation.case_inputs import Preprocessing, RawCase
from nnunet_nacl.validation.cross_validation import Options, fingerprint, provenance_files
from nnunet_nacl.validation.disagreement import Disagreement
from nnunet_nacl.validation.disagreement_file import DisagreementStore
from nnunet_nacl.validation.ensemble_case import (
    ENSEMBLES,
    EnsembleResult,
    EnsembleWork,
    evaluate_ensemble,
    mean_of_logits,
)
from nnunet_nacl.validation.model import TrainedModel, digest_of
from nnunet_nacl.validation.network import FoldPredictor, device_named
from nnunet_nacl.validation.work_pool import results_of_works


@dataclass(frozen=True)
class TestSetResult:
    """What the members of an ensemble say of a test set.

    Attributes:
        members: the result of each fold, then of each ensemble, by name; of a single fold that one alone.
        disagreement: of the folds, by case; empty of a single fold.
        recalled: how many of the cases an earlier run had finished.
    """

    __test__ = False  # pytest collects classes by this name

    members: dict[str, FolderResult]
    disagreement: dict[str, Disagreement]
    recalled: int


@dataclass(frozen=True)
class TestCase:
    """A case of the test set, with the fingerprint of each member's result."""

    __test__ = False

    case: Case
    case_input: RawCase
    prints: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """Of the disagreement: that of the last member, which all networks are part of."""
        return list(self.prints.values())[-1]


def find_test_cases(
    model: TrainedModel, predictor: FoldPredictor, images: Path, labels: Path, previous: Path | None
) -> list[tuple[Case, RawCase]]:
    """Return the cases of a folder of images that have a label file each, sorted by name.

    Args:
        model: names the file ending.
        predictor: knows the channels, and whether a previous stage is needed.
        images: folder with ``<case>_0000.<ending>``, as nnU-Net's imagesTs.
        labels: folder with ``<case>.<ending>``.
        previous: folder with the segmentations of the previous stage, of a cascade.

    Raises:
        InputError: a folder has none, or a file of a case is missing.
    """
    ending = model.dataset.file_ending
    names = sorted(case_names(images, f"_0000{ending}"))
    if not names:
        raise InputError(f"{images}: no image <case>_0000{ending}. Pass nnU-Net's imagesTs, or a folder like it.")
    missing = [name for name in names if name not in case_names(labels, ending)]
    if missing:
        raise InputError(f"{labels}: no label file ({ending}) for {', '.join(missing[:5])} of {images}.")
    stage = predictor.configuration.previous_stage_name
    if stage is not None and previous is None:
        raise InputError(
            f"{model.folder}: the network takes the segmentation of the stage {stage} as input. Pass the folder of its predictions "
            "with -prev_stage_predictions."
        )
    found = []
    for name in names:
        before = previous / f"{name}{ending}" if stage is not None and previous is not None else None
        if before is not None and not before.is_file():
            raise InputError(f"{before}: no such file; it is the segmentation of the stage {stage}.")
        files = images_in(images, name, predictor.num_channels, ending, model.dataset.reader)
        predicted = Path(absolute(labels / f"{name}.npz"))
        found.append((Case(name, predicted, Path(absolute(labels / f"{name}{ending}"))), RawCase(name, files, before)))
    return found


def validate_test_set(
    model: TrainedModel,
    images: Path,
    labels: Path,
    output: Path,
    options: Options,
    previous: Path | None = None,
    progress: Progress = lambda done, of: None,
    warn: Warn = lambda message: None,
) -> TestSetResult:
    """Predict a test set with each fold and evaluate each, the mean of their logits and the mean of their probabilities.

    Args:
        model: the trained model.
        images, labels, previous: see :func:`find_test_cases`.
        output: where finished cases are kept: in a folder for each member, of a single fold in this one.
        options, progress, warn: as in :func:`~nnunet_nacl.validation.cross_validation.validate_folds`.

    Raises:
        InputError: a file is missing or cannot be used; the first case at fault stops it, those that are finished are kept.
    """
    predictor = FoldPredictor(model, device_named(options.device), options.batch_mirrors)
    cases = find_test_cases(model, predictor, images, labels, previous)
    prepared = _prepared(model, predictor, cases, output, options)
    done = {} if options.fresh else prepared.recalled()
    recalled = len(done)
    progress(recalled, len(cases))
    budget = default_budget() if options.max_memory is None else options.max_memory
    works = _predicted([each for each in prepared.cases if each.case.name not in done], model, predictor, options)
    for found in results_of_works(works, evaluate_ensemble, options.num_processes, budget, warn):
        name = next(iter(found.results.values())).case.name
        done[name] = prepared.keep(name, found)
        progress(len(done), len(cases))
    files = provenance_files(model, labels, predictor) | {"images": absolute(images)}
    return prepared.result(done, files, recalled)


def members_of(model: TrainedModel) -> list[str]:
    """Return the names of the members: the folds, and the ensembles of several."""
    return [*model.folds, *(ENSEMBLES if len(model.folds) > 1 else ())]


def member_folder(output: Path, name: str, members: list[str]) -> Path:
    """Return the folder of a member's result."""
    return output / name if len(members) > 1 else output


@dataclass(frozen=True)
class _Prepared:
    """The test set before anything is predicted, and where finished cases are kept, by member."""

    cases: list[TestCase]
    protocol: dict[str, Any]
    stores: dict[str, CaseStore]
    disagreements: DisagreementStore

    def recalled(self) -> dict[str, EnsembleResult]:
        """Return the cases that an earlier run has finished for all members, by name."""
        return {each.case.name: found for each in self.cases if (found := self._recalled(each))}

    def _recalled(self, each: TestCase) -> EnsembleResult | None:
        several = len(self.stores) > 1
        results = {name: store.load(each.prints[name]) for name, store in self.stores.items()}
        disagreement = self.disagreements.load(each.fingerprint) if several else None
        if several and disagreement is None:
            return None
        found = {name: replace(result, case=each.case) for name, result in results.items() if result is not None}
        return EnsembleResult(found, disagreement) if len(found) == len(self.stores) else None

    def keep(self, name: str, found: EnsembleResult) -> EnsembleResult:
        """Return the results of a case with their fingerprints, once they are stored."""
        each = next(each for each in self.cases if each.case.name == name)
        results = {member: replace(result, fingerprint=each.prints[member]) for member, result in found.results.items()}
        for member, result in results.items():
            self.stores[member].save(result)
        if found.disagreement is not None:
            self.disagreements.save(each.fingerprint, found.disagreement)
        return found._replace(results=results)

    def result(self, done: dict[str, EnsembleResult], files: dict[str, Any], recalled: int) -> TestSetResult:
        """Return the results of all cases, by member; ``files`` tells where they come from."""
        results = {
            member: FolderResult(
                tuple(done[each.case.name].results[member] for each in self.cases),
                self.protocol,
                files | {"member": member},
                recalled,
            )
            for member in self.stores
        }
        disagreement = {
            name: found.disagreement for name, found in sorted(done.items()) if found.disagreement is not None
        }
        return TestSetResult(results, disagreement, recalled)


def _prepared(
    model: TrainedModel, predictor: FoldPredictor, cases: Sequence[tuple[Case, RawCase]], output: Path, options: Options
) -> _Prepared:
    protocol = protocol_of(model.dataset, options.settings)
    checkpoints = (model.checkpoint(fold) for fold in model.folds)
    network = [digest_of(*model.files, *checkpoints), *predictor.ways]
    members = members_of(model)
    printed = [
        TestCase(case, raw, {name: fingerprint(case, raw, model, [*network, name], protocol) for name in members})
        for case, raw in cases
    ]
    stores = {name: CaseStore(member_folder(output, name, members), protocol) for name in members}
    return _Prepared(printed, protocol, stores, DisagreementStore(output))


def _predicted(
    missing: list[TestCase], model: TrainedModel, predictor: FoldPredictor, options: Options
) -> Iterator[EnsembleWork]:
    """Yield the predicted cases, each predicted by all folds when it is asked for."""
    if not missing:
        return
    predictor.keep_all()
    preprocessing = Preprocessing(predictor.plans, predictor.configuration, model.dataset_json)
    for each in missing:
        data, properties = each.case_input.load(preprocessing)
        of_folds = {}
        for fold in model.folds:
            predictor.take(fold)
            try:
                of_folds[fold] = predictor.logits(data)
            except InputError as error:
                raise InputError(f"{each.case.name}: {error}") from error
        del data
        yield EnsembleWork(
            each.case,
            mean_of_logits(of_folds),
            properties,
            preprocessing,
            model.dataset,
            options.settings,
            predictor.threads,
            of_folds=of_folds,
        )
