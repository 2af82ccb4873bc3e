"""Small configurations that several test files share."""

import copy

import yaml

from nnunet_nacl.benchmark.config.study import load_study

SMALL = {
    "version": 1,
    "name": "small",
    "tasks": [{"name": "Task99_Phantom", "phantom": {"cases": 6, "size": 16}}],
    "trainers": ["nnUNetTrainer", "nnUNetTrainerNACL"],
    "folds": [0, 1],
    "scale": "cpu",
}


def write_study(folder, **changes):
    """Write benchmark.yaml with the small study, changed, and return the study; None takes a key away."""
    content = copy.deepcopy(SMALL) | changes
    folder.mkdir(exist_ok=True)
    kept = {key: value for key, value in content.items() if value is not None}
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(kept))
    return load_study(folder)
