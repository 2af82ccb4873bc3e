"""Where the parts of the finished study lie, and how a test changes them."""

import json

DATASET = "Dataset099_Phantom"
TRAINERS = ("nnUNetTrainer", "nnUNetTrainerNACL", "nnUNetTrainerCELoss")
LENGTH = "3epochs_30iterations"
BASE, NACL, CE = (f"{name}_{LENGTH}" for name in TRAINERS)


def results(study):
    return study / "results" / DATASET


def run_folder(study, trainer):
    return results(study) / f"{trainer}__nnUNetPlansCPU__3d_fullres"


def content(path):
    return json.loads(path.read_text())


def summary(study, trainer, part="merged"):
    return content(run_folder(study, trainer) / part / "calibration.json")


def edit(path, change):
    """Change the content of a JSON file with a function."""
    held = content(path)
    change(held)
    path.write_text(json.dumps(held))
