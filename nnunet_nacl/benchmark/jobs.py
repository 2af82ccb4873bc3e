"""The jobs of a study: what each runs and what it waits for. Snakemake, `commands` and `status` all work from this list.

A job's command is one command of nnU-Net's or ours. Its name is its path under markers/ and logs/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunet_nacl.benchmark.config import Study, TaskEntry
from nnunet_nacl.benchmark.msd import MIRRORS
from nnunet_nacl.benchmark.places import Places
from nnunet_nacl.errors import InputError

PLANNERS = {
    "nnUNetPlans": None,
    "nnUNetResEncUNetMPlans": "nnUNetPlannerResEncM",
    "nnUNetResEncUNetLPlans": "nnUNetPlannerResEncL",
    "nnUNetResEncUNetXLPlans": "nnUNetPlannerResEncXL",
}
"""Plans that nnU-Net makes, and the planner to ask for; any other plans have to be there."""


@dataclass(frozen=True)
class Job:
    """One step of a study.

    Attributes:
        rule: kind of step; the rule in the Snakefile.
        name: unique, ``rule/dataset[/trainer[/fold_N]]``.
        command: program and arguments.
        needs: names of the jobs that have to be done before.
        dataset: nnU-Net's name of the task.
        trainer: for train, evaluate, merge and recalibrate.
        fold: for train and evaluate.
    """

    rule: str
    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    dataset: str
    trainer: str | None = None
    fold: int | None = None


def all_jobs(study: Study) -> dict[str, Job]:
    """Return the jobs of a study by name, each after those it needs."""
    return {job.name: job for task in study.tasks for job in _Builder(study, task).jobs()}


def find_job(study: Study, name: str) -> Job:
    """Return a job by name.

    Raises:
        InputError: the study has no such job.
    """
    jobs = all_jobs(study)
    if name not in jobs:
        raise InputError(f"Expected `job` to be one of {study.name}'s, such as {next(iter(jobs))}, but got {name!r}.")
    return jobs[name]


class _Builder:
    """Makes the jobs of one task."""

    def __init__(self, study: Study, task: TaskEntry) -> None:
        self.study = study
        self.task = task
        self.dataset = task.dataset
        self.number = str(int(self.dataset[7:10]))
        self.places = Places(study)
        self.files = self.places.preprocessed / self.dataset

    def jobs(self) -> Iterator[Job]:
        yield from self._data()
        for trainer in self.study.trainers:
            for fold in self.study.folds:
                yield self._train(trainer, fold)
                yield self._evaluate(trainer, fold)
            yield self._merge(trainer)
        yield self._curves()
        repaired = self.study.recalibrate and len(self.study.folds) > 1  # by the other folds
        if repaired:
            yield from self._repair()
        if len(self.study.trainers) > 1:
            yield self._compare()
            if repaired:
                yield self._compare_tempered()
        yield self._report()
        yield self._results(repaired)

    def _data(self) -> Iterator[Job]:
        before: tuple[str, ...] = ()
        if self.task.phantom is not None:
            cases, size = map(str, self.task.phantom)
            seed = str(self.study.phantom_seed)
            yield self._job("phantom", "nnunet-nacl", "phantom", str(self.places.source(self.task)), "--cases", cases, "--size", size, "--seed", seed)  # fmt: skip
            before = (f"phantom/{self.dataset}",)
        yield self._job("import", *self._import_command(), needs=before)
        yield self._job("plan", *self._plan_command(), needs=(f"import/{self.dataset}",))
        last = "plan"
        if self.study.scale == "cpu":
            patch = ("--patch-size", *map(str, self.study.patch_size)) if self.study.patch_size else ()
            names = ("-p", self.study.planned, "-o", self.study.plans)
            yield self._job("cpu_plans", "nnunet-nacl", "cpu-plans", self.number, *names, *patch, needs=(f"plan/{self.dataset}",))  # fmt: skip
            last = "cpu_plans"
        split = (
            "nnunet-nacl",
            "benchmark",
            "split",
            self.number,
            "-c",
            self.study.configuration,
            "-p",
            self.study.plans,
        )
        yield self._job("split", *split, needs=(f"{last}/{self.dataset}",))

    def _import_command(self) -> tuple[str, ...]:
        command = ["nnunet-nacl", "import-msd", self.task.name, "--id", self.number]
        source = self.places.source(self.task)
        if source is not None:
            command += ["--from", str(source)]
        elif self.study.mirrors != MIRRORS:
            command += [part for mirror in self.study.mirrors for part in ("--mirror", mirror)]
        return tuple(command)

    def _plan_command(self) -> tuple[str, ...]:
        planned, configuration = self.study.planned, self.study.configuration
        if planned not in PLANNERS:
            return ("nnUNetv2_preprocess", "-d", self.number, "-plans_name", planned, "-c", configuration)
        planner = PLANNERS[planned]
        chosen = ("-pl", planner) if planner is not None else ()
        # clean: a fingerprint that lies there, perhaps of other data, is not planned from
        return (
            "nnUNetv2_plan_and_preprocess",
            "-d",
            self.number,
            "-c",
            configuration,
            *chosen,
            "--clean",
            "-npfp",
            str(self.study.step_processes),
        )

    def _train(self, trainer: str, fold: int) -> Job:
        gpus = ("-num_gpus", str(self.study.num_gpus)) if self.study.num_gpus > 1 else ()
        command = (
            "nnUNetv2_train", self.number, self.study.configuration, str(fold), "-tr", trainer, "-p", self.study.plans,
            "-device", self.study.device, *gpus, "--npz", "--c",
        )  # fmt: skip
        return self._job("train", *command, needs=(f"split/{self.dataset}",), trainer=trainer, fold=fold)

    def _evaluate(self, trainer: str, fold: int) -> Job:
        command = (
            "nnunet-nacl", "evaluate", self._validation(trainer, fold), "-gt", str(self.files / "gt_segmentations"),
            *self._json_files(), *self._hd95, "-o", str(self._result(trainer, f"fold_{fold}")),
        )  # fmt: skip
        needs = (f"train/{self.dataset}/{trainer}/fold_{fold}",)
        return self._job("evaluate", *command, needs=needs, trainer=trainer, fold=fold)

    def _merge(self, trainer: str) -> Job:
        results = [str(self._result(trainer, f"fold_{fold}")) for fold in self.study.folds]
        command = ("nnunet-nacl", "merge", *results, "-o", str(self._result(trainer, "merged")))
        needs = tuple(f"evaluate/{self.dataset}/{trainer}/fold_{fold}" for fold in self.study.folds)
        return self._job("merge", *command, needs=needs, trainer=trainer)

    def _curves(self) -> Job:
        runs = [(trainer, fold) for trainer in self.study.trainers for fold in self.study.folds]
        folds = (str(self.places.fold(self.dataset, trainer, fold)) for trainer, fold in runs)
        needs = tuple(f"train/{self.dataset}/{trainer}/fold_{fold}" for trainer, fold in runs)
        output = str(self.places.output(self.dataset))
        return self._job("curves", "nnunet-nacl", "benchmark", "curves", *folds, "-o", output, needs=needs)

    def _compare(self) -> Job:
        output = str(self.places.output(self.dataset, "comparison"))
        return self._job("compare", "nnunet-nacl", "compare", *self._runs(), "-o", output, needs=self._merged())

    def _report(self) -> Job:
        output = str(self.places.output(self.dataset, "report.html"))
        needs = (f"compare/{self.dataset}",) if len(self.study.trainers) > 1 else self._merged()
        return self._job("report", "nnunet-nacl", "report", *self._runs(), "-o", output, needs=needs)

    def _results(self, repaired: bool) -> Job:
        """Write the task's page, once all that it shows is there."""
        shown = ["curves"]
        shown += ["compare"] if len(self.study.trainers) > 1 else []
        shown += ["compare_tempered"] if len(self.study.trainers) > 1 and repaired else []
        tempered = [f"merge_tempered/{self.dataset}/{trainer}" for trainer in self.study.trainers if repaired]
        command = (
            "nnunet-nacl", "benchmark", "results", str(self.study.folder), "--task", self.dataset,
            "-o", str(self.places.pages),
        )  # fmt: skip
        needs = (*self._merged(), *tempered, *(f"{rule}/{self.dataset}" for rule in shown))
        return self._job("results", *command, needs=needs)

    def _repair(self) -> Iterator[Job]:
        """Fit a recalibration; apply to each fold's softmax files what the other folds gave; evaluate those."""
        for trainer in self.study.trainers:
            yield self._recalibrate(trainer)
            for fold in self.study.folds:
                yield self._temper(trainer, fold)
                yield self._evaluate_tempered(trainer, fold)
            folders = [str(self._result(trainer, f"scaled/fold_{fold}")) for fold in self.study.folds]
            command = ("nnunet-nacl", "merge", *folders, "-o", str(self._result(trainer, "tempered")))
            needs = tuple(f"evaluate_tempered/{self.dataset}/{trainer}/fold_{fold}" for fold in self.study.folds)
            yield self._job("merge_tempered", *command, needs=needs, trainer=trainer)

    def _recalibrate(self, trainer: str) -> Job:
        command = (
            "nnunet-nacl", "recalibrate", "fit", *(self._validation(trainer, fold) for fold in self.study.folds),
            "-gt", str(self.files / "gt_segmentations"), *self._json_files(), "--also", "temperature",
            "--seed", str(self.study.bootstrap_seed), "-o", str(self._result(trainer, "temperature.json")),
        )  # fmt: skip
        needs = tuple(f"train/{self.dataset}/{trainer}/fold_{fold}" for fold in self.study.folds)
        return self._job("recalibrate", *command, needs=needs, trainer=trainer)

    def _temper(self, trainer: str, fold: int) -> Job:
        command = (
            "nnunet-nacl", "recalibrate", "apply", str(self._result(trainer, "temperature.json")),
            self._validation(trainer, fold), *self._json_files(), "--held-out",
            "-o", str(self._result(trainer, f"scaled/fold_{fold}")),
        )  # fmt: skip
        return self._job(
            "temper", *command, needs=(f"recalibrate/{self.dataset}/{trainer}",), trainer=trainer, fold=fold
        )

    def _evaluate_tempered(self, trainer: str, fold: int) -> Job:
        folder = str(self._result(trainer, f"scaled/fold_{fold}"))
        labels = str(self.files / "gt_segmentations")
        command = ("nnunet-nacl", "evaluate", folder, "-gt", labels, *self._json_files(), *self._hd95)
        needs = (f"temper/{self.dataset}/{trainer}/fold_{fold}",)
        return self._job("evaluate_tempered", *command, needs=needs, trainer=trainer, fold=fold)

    def _compare_tempered(self) -> Job:
        """Hold the other trainers, as they are and repaired, against the repaired baseline."""
        others = [trainer for trainer in self.study.trainers if trainer != self.study.baseline]
        runs = [str(self._result(trainer, part)) for trainer in others for part in ("merged", "tempered")]
        command = (
            "nnunet-nacl", "compare", str(self._result(self.study.baseline, "tempered")), *runs,
            "-o", str(self.places.output(self.dataset, "comparison_tempered")),
        )  # fmt: skip
        needs = (*self._merged(), *(f"merge_tempered/{self.dataset}/{trainer}" for trainer in self.study.trainers))
        return self._job("compare_tempered", *command, needs=needs)

    def _runs(self) -> list[str]:
        """Return the merged results, the baseline's first."""
        others = [trainer for trainer in self.study.trainers if trainer != self.study.baseline]
        return [str(self._result(trainer, "merged")) for trainer in (self.study.baseline, *others)]

    def _merged(self) -> tuple[str, ...]:
        return tuple(f"merge/{self.dataset}/{trainer}" for trainer in self.study.trainers)

    def _validation(self, trainer: str, fold: int) -> str:
        return str(self.places.fold(self.dataset, trainer, fold) / "validation")

    def _json_files(self) -> tuple[str, ...]:
        plans = str(self.files / f"{self.study.plans}.json")
        return ("-djfile", str(self.files / "dataset.json"), "-pfile", plans)

    @property
    def _hd95(self) -> tuple[str, ...]:
        return ("--hd95",) if self.study.hd95 else ()

    def _result(self, trainer: str, part: str) -> Path:
        return self.places.output(self.dataset, self.places.run_name(trainer), part)

    def _job(
        self, rule: str, *command: str, needs: tuple[str, ...] = (), trainer: str | None = None, fold: int | None = None
    ) -> Job:
        parts = [rule, self.dataset, *([trainer] if trainer else []), *([f"fold_{fold}"] if fold is not None else [])]
        return Job(rule, "/".join(parts), command, needs, self.dataset, trainer, fold)
