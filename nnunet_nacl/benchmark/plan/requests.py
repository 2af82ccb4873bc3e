"""What a step asks a scheduler for: CPU cores, memory and time. The Snakefile and `commands` both take it from here.

Generous guesses that a cluster's own profile overrides (``set-threads`` and ``set-resources``), not measurements.
"""

from __future__ import annotations

import os

from nnunet_nacl.benchmark.config.study import Study

READING_SOFTMAX = ("evaluate", "recalibrate", "temper", "evaluate_tempered")
CPU_TRAINING_CORES = 8
"""Cores of a training without a GPU on a cluster; nnU-Net takes every core that it sees."""


def cpus(study: Study, rule: str) -> int:
    """Return how many cores a step asks for; on a cluster never more than ``execution.cores``."""
    if rule == "train" and study.device != "cuda":
        if study.profile == "local":
            return study.cores or os.cpu_count() or 1
        return study.cores or CPU_TRAINING_CORES
    # nnU-Net starts 12 processes for data augmentation
    wanted = {"plan": 8, "train": 12}.get(rule, 4 if rule in READING_SOFTMAX else 1)
    # on one machine, Snakemake itself keeps to the cores there are
    return wanted if study.profile == "local" else min(wanted, study.cores or wanted)


def gpus(study: Study, rule: str) -> int:
    """Return how many GPUs a step asks for."""
    return study.num_gpus if rule == "train" and study.device == "cuda" else 0


def gpu_resources(study: Study, rule: str) -> dict[str, int | str]:
    """Return Snakemake's resources for the GPUs of a step.

    Its plugin for SLURM makes ``--gpus`` of ``gpu``, which counts over all nodes: nnU-Net's processes need one node. That for LSF
    knows no GPUs, only further options of bsub, and always asks for one host.
    """
    count = gpus(study, rule)
    if not count:
        return {}
    by_profile: dict[str, dict[str, int | str]] = {"slurm": {"nodes": 1}, "lsf": {"lsf_extra": f"-gpu num={count}"}}
    return {"gpu": count, **by_profile.get(study.profile, {})}


def memory_mb(study: Study, rule: str) -> int:
    """Return how many megabytes of memory a step asks for."""
    if rule == "train":
        return 48000 if study.scale == "paper" else 8000
    return {"plan": 32000}.get(rule, 16000 if rule in READING_SOFTMAX else 4000)


def minutes(rule: str) -> int:
    """Return how many minutes a step asks for. What a training does not finish in time, its next run goes on with."""
    return {"import": 720, "plan": 720, "train": 4320}.get(rule, 240 if rule in READING_SOFTMAX else 60)
