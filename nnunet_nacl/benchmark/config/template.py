"""The configuration file that `benchmark init` writes: complete, with a word on each key."""

from __future__ import annotations

from pathlib import Path

from nnunet_nacl.benchmark.config.study import CONFIG_FILE
from nnunet_nacl.errors import InputError

TASKS = {
    "msd": "  - Task04_Hippocampus             # downloaded; `nnunet-nacl import-msd` lists all ten\n"
    "  # - {name: Task09_Spleen, from: /data/msd}       # the task's folder or archive, or a folder that holds it\n",
    "phantom": "  - {name: Task99_Phantom, phantom: {cases: 10, size: 32}}     # drawn, with known truth; no data needed\n",
}
TRAINERS = ("", "CELoss", "NACL", "NACL_warmup8", "DiceNACL", "SVLS", "DiceSVLS")
TRAINERS_TO_TRY = ("", "NACL", "DiceSVLS")
LENGTHS = {
    "cpu": "length: 20epochs                    # given to every trainer's name alike; 250 iterations each\n",
    "try": "length: 4epochs_50iterations_5valiterations     # to see a whole study in a quarter of an hour; 20epochs: for results\n",
    "paper": "# length: 100epochs                 # given to every trainer's name alike; default: nnU-Net's 1000\n",
}
TEMPLATE = """\
# A benchmark of nnunet-nacl. `nnunet-nacl benchmark plan` says what it takes, `run` runs it and goes on where it stopped.
# Results, logs and markers go beside this file. All keys, and what counts as a result: the pages "The benchmark" and "Protocol of
# the benchmark" in the documentation of nnunet-nacl.
version: 1
name: {name}
scale: {scale}                         # paper: nnU-Net's defaults, on a GPU; cpu: small networks, marked as shortened
tasks:
{tasks}trainers:                           # `nnunet-nacl trainers` lists ours; variants by name, and any of nnU-Net's
{trainers}baseline: nnUNetTrainer
{length}folds: {folds}
# trainings: 2                      # of each fold; default: 1
configuration: 3d_fullres
plans: nnUNetPlans
seeds: {{phantom: 0, bootstrap: 0}}
# hd95: true                          # also the HD95 of each class in mm, which takes longer
execution:
  profile: {profile}                    # local, slurm or lsf
  # cores: 8                          # local: default all; on a cluster the most that one job asks for
  # gpus: [0, 1]                      # local: default all; each training locks its own
"""
CLUSTER_PROFILES = {
    "slurm": "# Yours, before the values of nnunet-nacl's profile. Options of snakemake-executor-plugin-slurm.\n"
    "default-resources:\n"
    "  # slurm_partition: PARTITION        # sinfo lists them; default: the cluster's\n"
    "  # slurm_account: ACCOUNT            # default: SLURM's own for you, if there are accounts\n"
    "  mem_mb: 4000\n"
    "  runtime: 60                         # minutes\n"
    "# what single steps ask for instead; `benchmark commands --form sbatch` shows what each asks for\n"
    "# set-resources:\n"
    "#   train:\n"
    "#     slurm_partition: GPU_PARTITION\n"
    "#     gpu_model: a100\n"
    "#     runtime: 2880\n"
    "#   plan:\n"
    "#     mem_mb: 16000\n"
    "# slurm-status-command: squeue        # default: sacct, or squeue where sacct has no accounting database\n",
    "lsf": "# Yours, before the values of nnunet-nacl's profile. Options of snakemake-executor-plugin-lsf.\n"
    "default-resources:\n"
    "  # lsf_queue: QUEUE                  # bqueues lists them; default: the cluster's\n"
    "  # lsf_project: PROJECT              # default: the one of most of your jobs\n"
    "  mem_mb: 4000\n"
    "  runtime: 60                         # minutes\n"
    "# what single steps ask for instead; `benchmark commands --form bsub` shows what each asks for\n"
    "# set-resources:\n"
    "#   train:\n"
    "#     lsf_queue: GPU_QUEUE\n"
    "#     lsf_extra: '-gpu num=1:gmodel=NVIDIAA100'      # default: -gpu num=N\n"
    "#     runtime: 2880\n"
    "#   plan:\n"
    "#     mem_mb: 16000\n",
}


def write_template(folder: Path, scale: str, tasks: str, profile: str) -> list[Path]:
    """Write a configuration into a folder, and a profile to fill in for a cluster; return the paths.

    Raises:
        InputError: the folder has a configuration already, or cannot be written to.
    """
    path = folder / CONFIG_FILE
    if path.exists():
        raise InputError(f"{path} is there already; edit it, or choose another folder.")
    name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in folder.resolve().name)
    to_try = scale == "cpu" and tasks == "phantom"
    text = TEMPLATE.format(
        name=name or "benchmark", scale=scale, tasks=TASKS[tasks], length=LENGTHS["try" if to_try else scale], profile=profile,
        trainers="".join(f"  - nnUNetTrainer{part}\n" for part in (TRAINERS_TO_TRY if to_try else TRAINERS)),
        folds="[0, 1]" if to_try else "[0, 1, 2]" if scale == "cpu" else "[0, 1, 2, 3, 4]",
    )  # fmt: skip
    contents = {path: text}
    if profile in CLUSTER_PROFILES:
        contents[folder / "profile" / "config.yaml"] = CLUSTER_PROFILES[profile]
    try:
        for file, content in contents.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror}). Choose another folder.") from error
    return list(contents)
