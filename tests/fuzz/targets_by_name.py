"""The targets by the names that scripts/fuzz_readers.py and docs/security.md give them."""

import importlib

TARGETS = {
    "softmax": "targets.SoftmaxFiles",
    "bins": "targets.BinsFiles",
    "store": "targets.StoredCases",
    "descriptions": "targets.Descriptions",
    "labels": "targets.LabelFiles",
    "summary": "targets_of_studies.Summaries",
    "temperature": "targets_of_studies.Temperatures",
    "configuration": "targets_of_studies.Configurations",
    "folds": "targets_of_studies.Folds",
    "spacing": "targets_of_side_files.SpacingFiles",
    "groups": "targets_of_side_files.CaseGroups",
    "splits": "targets_of_side_files.Splits",
    "logs": "targets_of_side_files.TrainingLogs",
    "raters": "targets_of_side_files.RaterLists",
    "volumes": "targets_of_decisions.VolumeFiles",
    "triage": "targets_of_decisions.TriageFiles",
    "thresholds": "targets_of_decisions.ThresholdFiles",
    "lesions": "targets_of_lesions.LesionFiles",
}


def make(name, folder):
    """Return a target, with its valid files in a folder; nnU-Net is imported only now."""
    module, target = TARGETS[name].split(".")
    return getattr(importlib.import_module(module), target)(folder)
