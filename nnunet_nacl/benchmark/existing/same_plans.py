"""Whether plans of the right name are the plans that a study names, and whether a fold was trained with them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from nnunet_nacl.benchmark.config.study import Study
from nnunet_nacl.benchmark.plan.jobs import PLANNERS
from nnunet_nacl.benchmark.tasks.cpu_plans import derived_plans
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import mapping_if_any, read_mapping

DEFAULT_PLANNER = "ExperimentPlanner"
INTENSITIES = "foreground_intensity_properties_per_channel"


def check_planner(study: Study, preprocessed: Path) -> None:
    """Raise InputError where a plans file is of another data set, planner or fingerprint than its name and place say."""
    path = preprocessed / f"{study.planned}.json"
    if not path.is_file():
        return
    plans = read_mapping(path, "")
    named = plans.get("dataset_name", preprocessed.name)
    if named != preprocessed.name:
        # nnU-Net trains on the data set that the plans name
        raise InputError(f"{path} is of {named}, not of {preprocessed.name}. Move it away, or name other `plans`.")
    if study.planned not in PLANNERS:
        return  # the user's own: they may be whatever they are
    wanted = PLANNERS[study.planned] or DEFAULT_PLANNER
    planner = plans.get("experiment_planner_used", wanted)
    if planner != wanted:
        raise InputError(f"{path} was made by {planner}, but `plans: {study.planned}` are those of {wanted}. Move it away with what was trained with it.")  # fmt: skip
    fingerprint = mapping_if_any(preprocessed / "dataset_fingerprint.json")
    if INTENSITIES in fingerprint and plans.get(INTENSITIES, fingerprint[INTENSITIES]) != fingerprint[INTENSITIES]:
        raise InputError(
            f"{path} was made from other images than {preprocessed / 'dataset_fingerprint.json'} (the intensities in the foreground "
            f"differ). Move the data set's folder away with what was trained on it."
        )


def check_cpu_plans(study: Study, preprocessed: Path) -> None:
    """Raise InputError where the small plans are other than those that would be derived now."""
    path = preprocessed / f"{study.plans}.json"
    if not path.is_file():
        return
    held = _of_configuration(read_mapping(path, ""), study.configuration)
    patch = held.get("patch_size")
    if study.patch_size is not None and patch is not None and list(study.patch_size) != patch:
        raise InputError(
            f"{path} has patches of {patch}, but `patch_size` asks for {list(study.patch_size)}. Change `patch_size`, or move "
            f"the file away with what was trained with it."
        )
    planned = preprocessed / f"{study.planned}.json"
    if not planned.is_file():
        return
    derived = derived_plans(planned, study.plans, study.patch_size, "")
    key = _differing(_of_configuration(derived, study.configuration), held)
    if key is not None:
        raise InputError(
            f"{path} is not what `nnunet-nacl cpu-plans` makes of {planned.name}"
            f"{'' if study.patch_size is None else ' with this `patch_size`'}: {key} differs. Move it away with what was trained with it."
        )


def check_trained_plans(study: Study, fold: Path, preprocessed: Path) -> None:
    """Raise InputError where the plans that nnU-Net noted at the start of a fold's training are other than the present ones.

    They stand in its ``debug.json``. They hold the intensities of the images as well, and so tell the data apart. The copy of the plans
    above the folds is that of whichever fold was started last.
    """
    path = preprocessed / f"{study.plans}.json"
    trained = _noted_plans(fold / "debug.json")
    if trained is None or not path.is_file():
        return
    key = _differing(
        _of_configuration(read_mapping(path, ""), study.configuration), _of_configuration(trained, study.configuration)
    )
    if key is not None:
        what = "other images" if key == INTENSITIES else f"other plans: {key} differs"
        raise InputError(
            f"{fold} was trained with {what}, as its debug.json says beside {path}. Move it away to train it anew."
        )


def _noted_plans(path: Path) -> dict[str, Any] | None:
    """Return the plans in a fold's debug.json, where they are a Python dictionary in a text; None where there are none."""
    try:
        plans = ast.literal_eval(mapping_if_any(path)["plans_manager"])
    except (LookupError, TypeError, ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return plans if isinstance(plans, dict) else None


def _of_configuration(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    """Return what of the plans a training in one configuration depends on."""
    configurations = plans.get("configurations")
    of_it = configurations.get(configuration) if isinstance(configurations, dict) else None
    kept = dict(of_it) if isinstance(of_it, dict) else {}
    if INTENSITIES in plans:
        kept[INTENSITIES] = plans[INTENSITIES]
    return kept


def _differing(wanted: dict[str, Any], held: dict[str, Any]) -> str | None:
    """Return the first key whose values differ, with those of nested mappings after dots."""
    for key in sorted(wanted.keys() | held.keys()):
        one, other = wanted.get(key), held.get(key)
        if one != other:
            if isinstance(one, dict) and isinstance(other, dict) and key != INTENSITIES:
                return f"{key}.{_differing(one, other)}"
            return str(key)
    return None
