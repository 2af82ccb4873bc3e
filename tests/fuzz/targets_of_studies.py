"""What is fuzzed beside the evaluator: results that are compared, temperatures, configurations and folds of a study."""

import json
import os
import zipfile
from unittest import mock

import numpy as np
import yaml

from nnunet_nacl.benchmark.config import load_study
from nnunet_nacl.benchmark.estimate import hours, pace
from nnunet_nacl.benchmark.finished import is_finished, is_fold_finished, is_readable, set_broken_checkpoints_aside
from nnunet_nacl.benchmark.jobs import all_jobs
from nnunet_nacl.benchmark.status import job_states
from nnunet_nacl.calibration.checks import SUM_TOLERANCE
from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import write_result
from nnunet_nacl.evaluation.dataset import load_dataset
from nnunet_nacl.recalibration.fit import Options, fit_folders
from nnunet_nacl.recalibration.heads import heads_of
from nnunet_nacl.recalibration.temperature_file import content_of, load
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
        result = fit_folders(
            [made / "predictions"],
            made / "labels",
            *files,
            Options(voxel_set="all", cross_fit=True, parts=3),
            folder,
            lambda *_: None,
        )
        self.content = content_of(result)
        self.values = softmax((3, 2, 3, 40)).reshape(3, -1)

    def attempt(self, rng):
        self.path.write_bytes(damaged_json(rng, self.content))
        try:
            found = load(self.path)
            found.check_heads(self.heads, self.path, self.path)
        except InputError as error:
            return refusal(error)
        for factors in (found.factors, *found.held_out.values()):
            tempered = self.heads.temper(self.values, factors)
            assert np.all((tempered >= 0) & (tempered <= 1)), factors
            assert np.all(np.abs(tempered.sum(0) - 1) < SUM_TOLERANCE), factors
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
                for job in jobs:
                    assert hours(study, job, pace(study, jobs)) >= 0
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
    """What a benchmark looks at to take over what is there: splits, plans, data set, checkpoints."""

    SPLITS = ({"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "c"], "val": ["b"]})

    def __init__(self, folder):
        self.folder = folder
        self.study_folder = folder / "study"
        self.study_folder.mkdir()
        content = Configurations.CONTENT | {"tasks": ["Task04_Hippocampus"]}
        (self.study_folder / "benchmark.yaml").write_text(yaml.safe_dump(content))
        self.study = load_study(self.study_folder)
        places = folder / "preprocessed" / "Dataset004_Hippocampus"
        self.preprocessed = places
        (places / "nnUNetPlans_3d_fullres").mkdir(parents=True)
        (places / "gt_segmentations").mkdir()
        self.fold = folder / "fold_0"
        (self.fold / "validation").mkdir(parents=True)
        (self.fold / "validation" / "summary.json").write_text("{}")
        (self.fold / "validation" / "c.npz").write_bytes(b"PK\5\6" + bytes(18))
        with zipfile.ZipFile(folder / "checkpoint.pth", "w") as archive:
            archive.writestr("archive/data.pkl", bytes(range(200)))
            archive.writestr("archive/data/0", bytes(300))
        self.checkpoint = (folder / "checkpoint.pth").read_bytes()
        self.variables = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
        self.jobs = [
            job for job in all_jobs(self.study).values() if job.rule in ("import", "plan", "cpu_plans", "split")
        ]

    def attempt(self, rng):
        contents = {
            self.preprocessed / "splits_final.json": list(self.SPLITS),
            self.preprocessed / "nnUNetPlans.json": PLANS,
            self.preprocessed / "nnUNetPlansCPU.json": PLANS,
            self.preprocessed / "dataset.json": DATASET,
        }
        for path, content in contents.items():
            path.write_text(json.dumps(content))
        path = self.fold / "checkpoint_final.pth"
        path.write_bytes(self.checkpoint)
        chosen = rng.choice((*contents, path))
        chosen.write_bytes(
            damaged_bytes(rng, self.checkpoint) if chosen == path else damaged_json(rng, contents[chosen])
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
