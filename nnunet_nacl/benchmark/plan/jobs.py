"""The jobs of a study: what each runs and what it waits for. Snakemake, `commands` and `status` all work from this list.

A job's command is one command of nnU-Net's or ours. Its name is its path under markers/ and logs/.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nnunet_nacl.benchmark.config.study import Study, TaskEntry
from nnunet_nacl.benchmark.plan.job import Job, Training
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.msd import MIRRORS
from nnunet_nacl.errors import InputError

PLANNERS = {
    "nnUNetPlans": None,
    "nnUNetResEncUNetMPlans": "nnUNetPlannerResEncM",
    "nnUNetResEncUNetLPlans": "nnUNetPlannerResEncL",
    "nnUNetResEncUNetXLPlans": "nnUNetPlannerResEncXL",
}
"""Plans that nnU-Net makes, and the planner to ask for; any other plans have to be there."""


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
        for each in self._trainings:
            for fold in self.study.folds:
                yield self._train(each, fold)
                yield self._evaluate(each, fold)
            yield self._merge(each)
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

    def _train(self, each: Training, fold: int) -> Job:
        gpus = ("-num_gpus", str(self.study.num_gpus)) if self.study.num_gpus > 1 else ()
        command = (
            "nnUNetv2_train", self.number, self.study.configuration, str(fold), "-tr", each.trainer, "-p", self.study.plans,
            "-device", self.study.device, *gpus, "--npz", "--c",
        )  # fmt: skip
        # all else is the same in every training: the name that nnU-Net is given, data, plans and split
        variables = (("nnUNet_results", str(self.places.results_of(each.number))),) if each.number > 1 else ()
        return self._job("train", *command, needs=(f"split/{self.dataset}",), each=each, fold=fold, variables=variables)

    def _evaluate(self, each: Training, fold: int) -> Job:
        command = (
            "nnunet-nacl", "evaluate", self._validation(each, fold), "-gt", str(self.files / "gt_segmentations"),
            *self._json_files(), *self._hd95, "-o", str(self._result(each, f"fold_{fold}")),
        )  # fmt: skip
        needs = (f"train/{self.dataset}/{each.path}/fold_{fold}",)
        return self._job("evaluate", *command, needs=needs, each=each, fold=fold)

    def _merge(self, each: Training) -> Job:
        results = [str(self._result(each, f"fold_{fold}")) for fold in self.study.folds]
        command = ("nnunet-nacl", "merge", *results, "-o", str(self._result(each, "merged")))
        needs = tuple(f"evaluate/{self.dataset}/{each.path}/fold_{fold}" for fold in self.study.folds)
        return self._job("merge", *command, needs=needs, each=each)

    def _curves(self) -> Job:
        runs = [(each, fold) for each in self._trainings for fold in self.study.folds]
        folds = (str(self.places.fold(self.dataset, each.trainer, fold, each.number)) for each, fold in runs)
        needs = tuple(f"train/{self.dataset}/{each.path}/fold_{fold}" for each, fold in runs)
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
        tempered = [f"merge_tempered/{self.dataset}/{each.path}" for each in self._trainings if repaired]
        command = (
            "nnunet-nacl", "benchmark", "results", str(self.study.folder), "--task", self.dataset,
            "-o", str(self.places.pages),
        )  # fmt: skip
        needs = (*self._merged(), *tempered, *(f"{rule}/{self.dataset}" for rule in shown))
        return self._job("results", *command, needs=needs)

    def _repair(self) -> Iterator[Job]:
        """Fit a recalibration; apply to each fold's softmax files what the other folds gave; evaluate those."""
        for each in self._trainings:
            yield self._recalibrate(each)
            for fold in self.study.folds:
                yield self._temper(each, fold)
                yield self._evaluate_tempered(each, fold)
            folders = [str(self._result(each, f"scaled/fold_{fold}")) for fold in self.study.folds]
            command = ("nnunet-nacl", "merge", *folders, "-o", str(self._result(each, "tempered")))
            needs = tuple(f"evaluate_tempered/{self.dataset}/{each.path}/fold_{fold}" for fold in self.study.folds)
            yield self._job("merge_tempered", *command, needs=needs, each=each)

    def _recalibrate(self, each: Training) -> Job:
        command = (
            "nnunet-nacl", "recalibrate", "fit", *(self._validation(each, fold) for fold in self.study.folds),
            "-gt", str(self.files / "gt_segmentations"), *self._json_files(), "--also", "temperature",
            "--seed", str(self.study.bootstrap_seed), "-o", str(self._result(each, "temperature.json")),
        )  # fmt: skip
        needs = tuple(f"train/{self.dataset}/{each.path}/fold_{fold}" for fold in self.study.folds)
        return self._job("recalibrate", *command, needs=needs, each=each)

    def _temper(self, each: Training, fold: int) -> Job:
        command = (
            "nnunet-nacl", "recalibrate", "apply", str(self._result(each, "temperature.json")),
            self._validation(each, fold), *self._json_files(), "--held-out",
            "-o", str(self._result(each, f"scaled/fold_{fold}")),
        )  # fmt: skip
        return self._job("temper", *command, needs=(f"recalibrate/{self.dataset}/{each.path}",), each=each, fold=fold)

    def _evaluate_tempered(self, each: Training, fold: int) -> Job:
        folder = str(self._result(each, f"scaled/fold_{fold}"))
        labels = str(self.files / "gt_segmentations")
        command = ("nnunet-nacl", "evaluate", folder, "-gt", labels, *self._json_files(), *self._hd95)
        needs = (f"temper/{self.dataset}/{each.path}/fold_{fold}",)
        return self._job("evaluate_tempered", *command, needs=needs, each=each, fold=fold)

    def _compare_tempered(self) -> Job:
        """Hold the other trainers, as they are and repaired, against the repaired baseline."""
        others = [trainer for trainer in self.study.trainers if trainer != self.study.baseline]
        runs = [self._run(trainer, part) for trainer in others for part in ("merged", "tempered")]
        command = (
            "nnunet-nacl", "compare", self._run(self.study.baseline, "tempered"), *runs,
            "-o", str(self.places.output(self.dataset, "comparison_tempered")),
        )  # fmt: skip
        needs = (*self._merged(), *(f"merge_tempered/{self.dataset}/{each.path}" for each in self._trainings))
        return self._job("compare_tempered", *command, needs=needs)

    def _runs(self) -> list[str]:
        """Return the merged results, the baseline's first."""
        others = [trainer for trainer in self.study.trainers if trainer != self.study.baseline]
        return [self._run(trainer, "merged") for trainer in (self.study.baseline, *others)]

    def _run(self, trainer: str, part: str) -> str:
        """Return the results of all trainings of a trainer as one run of a comparison."""
        return ",".join(str(self._result(each, part)) for each in self._trainings if each.trainer == trainer)

    def _merged(self) -> tuple[str, ...]:
        return tuple(f"merge/{self.dataset}/{each.path}" for each in self._trainings)

    @property
    def _trainings(self) -> list[Training]:
        """All trainings; every trainer is trained once before one is trained again."""
        numbers = range(1, self.study.trainings + 1)
        return [Training(trainer, number) for number in numbers for trainer in self.study.trainers]

    def _validation(self, each: Training, fold: int) -> str:
        return str(self.places.fold(self.dataset, each.trainer, fold, each.number) / "validation")

    def _json_files(self) -> tuple[str, ...]:
        plans = str(self.files / f"{self.study.plans}.json")
        return ("-djfile", str(self.files / "dataset.json"), "-pfile", plans)

    @property
    def _hd95(self) -> tuple[str, ...]:
        return ("--hd95",) if self.study.hd95 else ()

    def _result(self, each: Training, part: str) -> Path:
        return self.places.result(self.dataset, each.trainer, part, each.number)

    def _job(
        self,
        rule: str,
        *command: str,
        needs: tuple[str, ...] = (),
        each: Training | None = None,
        fold: int | None = None,
        variables: tuple[tuple[str, str], ...] = (),
    ) -> Job:
        parts = [rule, self.dataset, *([each.path] if each else []), *([f"fold_{fold}"] if fold is not None else [])]
        trainer, training = (each.trainer, each.number) if each else (None, 1)
        return Job(rule, "/".join(parts), command, needs, self.dataset, trainer, fold, training, variables)
