"""What is fuzzed beside the evaluator: results that are compared, temperatures, configurations and folds of a study."""

import json
import os
import zipfile
from unittest import mock

import numpy as np
import yaml

from nnunet_nacl.benchmark.config.study import load_study
from nnunet_nacl.benchmark.duration.estimate import basis, duration
from nnunet_nacl.benchmark.engine.status import job_states
from nnunet_nacl.benchmark.existing.finished import (
    is_finished,
    is_fold_finished,
    is_readable,
    set_broken_checkpoints_aside,
)
from nnunet_nacl.benchmark.plan.jobs import all_jobs
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.cpu_plans import small_plans
from nnunet_nacl.benchmark.tasks.data_record import RECORD, preprocessed_cases, write_record
from nnunet_nacl.calibration.checks import SUM_TOLERANCE
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import write_result
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.recalibration.fit import Options, fit_folders
from nnunet_nacl.recalibration.heads import heads_of
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.temperature_content import content_of
from nnunet_nacl.recalibration.temperature_file import load
from nnunet_nacl.report.html import render
from nnunet_nacl.report.page_content import Options as PageOptions
from nnunet_nacl.report.page_content import prepare_page
from nnunet_nacl.study.comparison import compare_runs
from nnunet_nacl.study.run import load_run

from mutations import damaged_bytes, damaged_json, damaged_tree  # isort: skip
from targets import DATASET, PLANS, refusal, result_of, softmax  # isort: skip


class Summaries:
    """calibration.json: ``compare`` and ``report``."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("base", "run"):
            write_result(result_of(folder / name), folder / name)
        self.path = folder / "run" / "calibration.json"
        self.content = json.loads(self.path.read_text())

    def attempt(self, rng):
        self.path.write_bytes(damaged_json(rng, self.content))
        try:
            base, run = load_run(self.folder / "base"), load_run(self.folder / "run")
            comparison = compare_runs(*((run, [base]) if rng.randrange(2) else (base, [run])))
            assert comparison.cases
            if rng.randrange(4) == 0:
                render(prepare_page([run, base] if rng.randrange(2) else [run], PageOptions()))
        except InputError as error:
            return refusal(error)
        return "read"


class Temperatures:
    """temperature.json, up to the tempered probabilities."""

    def __init__(self, folder):
        self.path = folder / "temperature.json"
        made = folder / "made"
        result_of(made)
        files = made / "dataset.json", made / "plans.json"
        self.heads = heads_of(load_dataset(*files))
        self.contents = [
            content_of(
                fit_folders(
                    [made / "predictions"],
                    made / "labels",
                    *files,
                    Options(method=method, voxel_set="all", parts=3),
                    folder,
                    lambda *_: None,
                )
            )
            for method in METHODS
        ]
        # the first version of the file knew two methods, and no harm
        old = {"temperature": False, "per-class": True}
        self.contents += [
            {key: value for key, value in content.items() if key not in ("method", "harm", "keeps")}
            | {"schema_version": 1, "per_class": old[content["method"]]}
            for content in self.contents
            if content["method"] in old
        ]
        self.values = softmax((3, 2, 3, 40)).reshape(3, -1)

    def attempt(self, rng):
        self.path.write_bytes(damaged_json(rng, rng.choice(self.contents)))
        try:
            found = load(self.path)
            found.check_heads(self.heads, self.path, self.path)
        except InputError as error:
            return refusal(error)
        for maps in (found.maps, *found.held_out.values()):
            new = self.heads.recalibrate(self.values, maps)
            assert np.all((new >= 0) & (new <= 1)), maps
            assert np.all(np.abs(new.sum(0) - 1) < SUM_TOLERANCE), maps
        json.dumps(found.content, allow_nan=False)
        return "read"


class Configurations:
    """benchmark.yaml, up to the list of jobs."""

    CONTENT = {  # noqa: RUF012
        "version": 1, "name": "small", "tasks": ["Task04_Hippocampus", {"name": "Task99_Phantom", "id": 7, "phantom": {"cases": 6, "size": 16}},
                                                {"name": "Task02_Heart", "from": "data/two.tar"}],
        "trainers": ["nnUNetTrainer", "nnUNetTrainerNACL"], "baseline": "nnUNetTrainer", "folds": [0, 1], "scale": "cpu",
        "configuration": "3d_fullres", "plans": "nnUNetPlans", "length": "2epochs", "patch_size": [16, 16, 16], "device": "cpu", "num_gpus": 1,
        "seeds": {"phantom": 1, "bootstrap": 2}, "recalibrate": True, "mirrors": ["https://example.org/x"],
        "execution": {"profile": "local", "cores": 2, "gpus": [0], "processes": 2, "hours_per_epoch": 0.1},
    }  # fmt: skip
    TEXTS = (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (k, k, b",".join([b"*%c" % (k - 1)] * 9)) for k in range(98, 108)) + b"tasks: *k\n",
        b"&a [*a]", b"tasks: &a [*a]", b"tasks: &a {name: *a}", b"folds: [2001-99-99]", b"? [a]: b", b"? {a: b}\n: c", b"folds: !!python/object/apply:os.getcwd []",
        b"folds: !!binary x", b"folds: !!int x", b"folds: !!float x", b"folds: !!timestamp x", b"<<: 1", b"<<: [*a]", b"---\na\n---\nb", b"%YAML 9.9\n---\na",
        b"a: 1\na: 2", b"\t", b"folds: [1:60:60]", b"folds: 0x", b"version: 0b", b"{" * 3000, b"- " * 3000, b"- \n" * 3000, b"a: |\n", b"\xff", b"'", b"*",
    )  # fmt: skip

    def __init__(self, folder):
        self.folder = folder
        self.variables = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}

    def attempt(self, rng):
        path = self.folder / "benchmark.yaml"
        path.write_bytes(self._damaged(rng))
        try:
            study = load_study(path)
            with mock.patch.dict(os.environ, self.variables):
                jobs = all_jobs(study).values()
                of = basis(study, jobs)
                for job in jobs:
                    assert 0 <= duration(study, job, of[job.dataset]).low <= duration(study, job, of[job.dataset]).high
                job_states(study)
        except InputError as error:
            return refusal(error)
        for trainer in study.trainers:
            assert "\n" not in trainer
        return "read"

    def _damaged(self, rng):
        kind = rng.randrange(8)
        if kind == 0:
            return rng.choice(self.TEXTS)
        if kind == 1:
            return yaml.safe_dump(self.CONTENT).encode() + b"\n" + rng.choice(self.TEXTS)
        if kind < 4:
            return damaged_bytes(rng, yaml.safe_dump(self.CONTENT).encode())
        if kind == 4:
            return damaged_json(rng, self.CONTENT)
        return yaml.safe_dump(damaged_tree(rng, self.CONTENT)).encode("utf-8", "surrogatepass")


class Folds:
    """What a benchmark looks at to take over what is there: splits, plans, data set, records, checkpoints."""

    SPLITS = ({"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "c"], "val": ["b"]})
    FINGERPRINT = {"foreground_intensity_properties_per_channel": {"0": {"mean": 1.5}}}  # noqa: RUF012
    PLANS = PLANS | FINGERPRINT | {
        "dataset_name": "Dataset004_Hippocampus",
        "configurations": {
            "3d_fullres": PLANS["configurations"]["3d_fullres"] | {
                "architecture": {"arch_kwargs": {"n_stages": 2, "strides": [[1, 1, 1], [2, 2, 2]], "n_conv_per_stage": [2, 2]}},
            }
        },
    }  # fmt: skip

    def __init__(self, folder):
        self.folder = folder
        self.study_folder = folder / "study"
        self.study_folder.mkdir()
        places = folder / "preprocessed" / "Dataset004_Hippocampus"
        content = Configurations.CONTENT | {"tasks": [{"name": "Task04_Hippocampus", "from": str(places)}]}
        (self.study_folder / "benchmark.yaml").write_text(yaml.safe_dump(content))
        self.study = load_study(self.study_folder)
        self.preprocessed = places
        (places / "nnUNetPlans_3d_fullres").mkdir(parents=True)
        (places / "gt_segmentations").mkdir()
        for case in ("a", "b", "c"):
            (places / "gt_segmentations" / f"{case}.nii.gz").touch()
        job = next(job for job in all_jobs(self.study).values() if job.rule == "train")
        self.variables = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
        with mock.patch.dict(os.environ, self.variables):
            self.fold = Places(self.study).fold(job.dataset, job.trainer, job.fold)
        (self.fold / "validation").mkdir(parents=True)
        (self.fold / "validation" / "summary.json").write_text("{}")
        (self.fold / "validation" / "c.npz").write_bytes(b"PK\5\6" + bytes(18))
        with zipfile.ZipFile(folder / "checkpoint.pth", "w") as archive:
            archive.writestr("archive/data.pkl", bytes(range(200)))
            archive.writestr("archive/data/0", bytes(300))
        self.checkpoint = (folder / "checkpoint.pth").read_bytes()
        self.jobs = [
            job for job in all_jobs(self.study).values() if job.rule in ("import", "plan", "cpu_plans", "split")
        ] + [job]
        self.contents = self._contents()

    def _contents(self):
        cases = preprocessed_cases(write(self.preprocessed / "dataset.json", DATASET).parent)
        write_record(self.preprocessed, cases, self.SPLITS[0])
        record = json.loads((self.preprocessed / RECORD).read_text())
        return {
            self.preprocessed / "splits_final.json": list(self.SPLITS),
            self.preprocessed / "nnUNetPlans.json": self.PLANS,
            self.preprocessed / "nnUNetPlansCPU.json": small_plans(self.PLANS, "nnUNetPlansCPU", [16, 16, 16]),
            self.preprocessed / "dataset.json": DATASET,
            self.preprocessed / "dataset_fingerprint.json": self.FINGERPRINT,
            self.preprocessed / RECORD: record,
            self.fold / RECORD: record,
            self.fold / "debug.json": {"plans_manager": str(small_plans(self.PLANS, "nnUNetPlansCPU", [16, 16, 16]))},
        }

    def attempt(self, rng):
        for path, content in self.contents.items():
            write(path, content)
        path = self.fold / "checkpoint_final.pth"
        path.write_bytes(self.checkpoint)
        chosen = rng.choice((*self.contents, path))
        chosen.write_bytes(
            damaged_bytes(rng, self.checkpoint) if chosen == path else damaged_json(rng, self.contents[chosen])
        )
        try:
            whole = is_readable(path)
            finished = is_fold_finished(self.fold, self.preprocessed, 0)
            assert whole or not finished
            with mock.patch.dict(os.environ, self.variables):
                for job in self.jobs:
                    is_finished(self.study, job)
            set_broken_checkpoints_aside(self.fold)
            assert path.is_file() == whole
        except InputError as error:
            return refusal(error)
        return "read"


def write(path, content):
    path.write_text(json.dumps(content))
    return path
