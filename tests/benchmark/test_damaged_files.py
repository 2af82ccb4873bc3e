"""What fuzzing (tests/fuzz) has found in the readers of benchmark.yaml and of what a benchmark takes over."""

import json
import tracemalloc
import zipfile

import pytest
from mutations import Member, zip_of
from targets_of_studies import Configurations

from nnunet_nacl.benchmark.config.study import load_study
from nnunet_nacl.benchmark.existing.finished import is_finished, is_fold_finished, is_readable
from nnunet_nacl.benchmark.plan.jobs import find_job
from nnunet_nacl.errors import InputError

SMALL = "version: 1\ntasks: [Task04_Hippocampus]\ntrainers: [nnUNetTrainer]\nfolds: [0]\nscale: cpu\n"

YAML = {
    "a day that is none": (SMALL + "name: 2001-99-99\n", "is not YAML"),
    "a timestamp that is none": (SMALL + "name: !!timestamp x\n", "is not YAML"),
    "a number without digits": (SMALL + "num_gpus: !!int x\n", "is not YAML"),
    "nested too deeply": ("[" * 5000, "is not YAML"),
    "a list in itself": ("tasks: &a [*a]\n", "at most 10000 values"),
    "a number with a point": (SMALL.replace("[0]", "[0.0]"), "Expected `folds.0.` to be a whole number from 0 to 4, but got 0.0"),
    "a data set's number with a point": (SMALL.replace("[Task04_Hippocampus]", "[{name: Task04_Hippocampus, id: 4.0}]"), "but got 4.0"),
    "endless hours": (SMALL + "execution: {hours_per_epoch: .inf}\n", "but got inf"),
    "hours that are no number": (SMALL + "execution: {hours_per_epoch: .nan}\n", "but got nan"),
    "a line break at the end of a name": (SMALL.replace("nnUNetTrainer]", '"nnUNetTrainer\\n"]'), "without control characters"),
    "a path with a NUL": (SMALL.replace("[Task04_Hippocampus]", '[{name: Task04_Hippocampus, from: "a\\0b"}]'), "without control characters"),
    "a home that is none": (SMALL.replace("[Task04_Hippocampus]", "[{name: Task04_Hippocampus, from: ~nobody-here/x}]"), "Expected `from` to be a path"),
}  # fmt: skip


@pytest.mark.parametrize("name", YAML)
def test_configuration(name, tmp_path):
    text, message = YAML[name]
    (tmp_path / "benchmark.yaml").write_text(SMALL)
    load_study(tmp_path)
    (tmp_path / "benchmark.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"^[^\n]*benchmark\.yaml: [^\n]*{message}[^\n]*$"):
        load_study(tmp_path)


def test_aliases_that_unfold_to_billions(tmp_path):
    """Ten lists of nine aliases each: 400 bytes, and a message of gigabytes."""
    (tmp_path / "benchmark.yaml").write_bytes(Configurations.TEXTS[0])
    tracemalloc.start()
    with pytest.raises(InputError, match="at most 10000 values"):
        load_study(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**25


@pytest.fixture
def fold(tmp_path):
    """A fold that is trained, and the folder with its splits."""
    (tmp_path / "fold_0" / "validation").mkdir(parents=True)
    (tmp_path / "fold_0" / "validation" / "summary.json").write_text("{}")
    for path in ("fold_0/checkpoint_final.pth", "fold_0/validation/c.npz"):
        with zipfile.ZipFile(tmp_path / path, "w") as archive:
            archive.writestr("a", "b")
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["c"]}]))
    return tmp_path / "fold_0", tmp_path


@pytest.mark.parametrize(
    "splits",
    ['[{"train": []}]', "[]", "{}", "3", "null", '[{"val": 3}]', '["val"]', '[{"val": ["a\\u0000"]}]', "[" * 10**5],
)
def test_splits(splits, fold):
    folder, preprocessed = fold
    assert is_fold_finished(folder, preprocessed, 0)
    (preprocessed / "splits_final.json").write_text(splits)
    with pytest.raises(InputError, match=r"^[^\n]*splits_final\.json: [^\n]*$"):
        is_fold_finished(folder, preprocessed, 0)


@pytest.mark.parametrize(
    "fields", [{"version": 64}, {"method": 99}, {"flags": 1}, {"flags": 0x20}, {"name": b"\xff", "flags": 0x800}]
)
def test_a_checkpoint_that_zipfile_cannot_open_is_broken(fields, tmp_path):
    from dataclasses import replace

    path = tmp_path / "checkpoint_final.pth"
    path.write_bytes(zip_of([Member.of("data.pkl", b"x" * 50)]))
    assert is_readable(path)
    path.write_bytes(zip_of([replace(Member.of("data.pkl", b"x" * 50), **fields)]))
    assert not is_readable(path)


def test_plans_with_a_folder_whose_name_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    (tmp_path / "benchmark.yaml").write_text(SMALL)
    study = load_study(tmp_path)
    folder = tmp_path / "Dataset004_Hippocampus"
    folder.mkdir()
    (folder / "dataset.json").write_text('{"numTraining": 1}')
    plans = {"configurations": {"3d_fullres": {"data_identifier": "x" * 5000}}}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    with pytest.raises(InputError, match="nnUNetPlans.json: is not as nnU-Net writes it"):
        is_finished(study, find_job(study, "plan/Dataset004_Hippocampus"))
