"""The ten tasks of the Medical Segmentation Decathlon (MSD): what they hold and how their archives are known.

Sources: Antonelli et al., *The Medical Segmentation Decathlon*, Nature Communications 2022 (arXiv 2106.05735) and Simpson
et al., arXiv 1902.09063, for modalities, targets and licence; the tasks' own ``dataset.json`` for labels and case numbers; the
checksums that MONAI's ``DecathlonDataset`` (1.6.1) checks. The licence is CC-BY-SA 4.0 for all: who passes the data on names
its authors and keeps the licence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nnunet_nacl.errors import InputError

LICENCE = "CC-BY-SA 4.0"
MIRRORS = ("https://msd-for-monai.s3-us-west-2.amazonaws.com",)
"""Folders that hold ``TaskXX_Name.tar``, tried one after another: the copy in the AWS open data programme."""


@dataclass(frozen=True)
class Task:
    """One MSD task.

    Attributes:
        name: ``TaskXX_Name``; folder and archive are called so.
        modalities: of the image channels, in order.
        labels: foreground classes; label value 1 comes first.
        training: labelled cases.
        test: cases without public labels.
        gigabytes: size of the archive, roughly, to plan with.
        md5: checksum of the archive.
    """

    name: str
    modalities: tuple[str, ...]
    labels: tuple[str, ...]
    training: int
    test: int
    gigabytes: float
    md5: str

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return f"{self.name}.tar"


_ALL = (
    Task("Task01_BrainTumour", ("FLAIR", "T1w", "T1gd", "T2w"), ("edema", "non-enhancing tumor", "enhancing tumour"),
         484, 266, 7.1, "240a19d752f0d9e9101544901065d872"),
    Task("Task02_Heart", ("MRI",), ("left atrium",), 20, 10, 0.43, "06ee59366e1e5124267b774dbd654057"),
    Task("Task03_Liver", ("CT",), ("liver", "cancer"), 131, 70, 27, "a90ec6c4aa7f6a3d087205e23d4e6397"),
    Task("Task04_Hippocampus", ("MRI",), ("Anterior", "Posterior"), 260, 130, 0.03, "9d24dba78a72977dbd1d2e110310f31b"),
    Task("Task05_Prostate", ("T2", "ADC"), ("PZ", "TZ"), 32, 16, 0.23, "35138f08b1efaef89d7424d2bcc928db"),
    Task("Task06_Lung", ("CT",), ("cancer",), 63, 32, 8.5, "8afd997733c7fc0432f71255ba4e52dc"),
    Task("Task07_Pancreas", ("CT",), ("pancreas", "cancer"), 281, 139, 11.5, "4f7080cfca169fa8066d17ce6eb061e4"),
    Task("Task08_HepaticVessel", ("CT",), ("Vessel", "Tumour"), 303, 140, 8.7, "641d79e80ec66453921d997fbf12a29c"),
    Task("Task09_Spleen", ("CT",), ("spleen",), 41, 20, 1.5, "410d4a301da4e5b2f6f86ec3ddba524e"),
    Task("Task10_Colon", ("CT",), ("colon cancer primaries",), 126, 64, 5.8, "bad7a188931dc2f6acf72b08eb6202d0"),
)  # fmt: skip

TASKS = {task.name: task for task in _ALL}


def find_task(name: str) -> Task:
    """Return the task that a name means: ``Task04_Hippocampus``, ``Hippocampus``, ``Task04`` or ``4``.

    Raises:
        InputError: no task is called so; the message lists them.
    """
    wanted = name.lower()
    for task in _ALL:
        number, title = task.name.lower().split("_")
        if wanted in (task.name.lower(), title, number, number.removeprefix("task"), number.removeprefix("task0")):
            return task
    raise InputError(f"Expected `task` to be one of {', '.join(TASKS)}, but got {name!r}.")


def dataset_name(task: str, dataset_id: int | None = None) -> str:
    """Return nnU-Net's name of an imported task: ``Task04_Hippocampus`` becomes ``Dataset004_Hippocampus``.

    Raises:
        InputError: the name is not ``TaskXX_Name``, which nnU-Net's converter demands.
    """
    match = re.fullmatch(r"Task(\d{2,3})_([A-Za-z0-9-]+)", task)
    if match is None:
        raise InputError(f"Expected `task` to be named TaskXX_Name (one underscore), but got {task!r}.")
    return f"Dataset{int(match[1]) if dataset_id is None else dataset_id:03d}_{match[2]}"
