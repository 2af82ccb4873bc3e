"""How large a task is, before and after it is imported: what the time of a study depends on."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from nnunet_nacl.benchmark.config.study import Study, TaskEntry
from nnunet_nacl.benchmark.duration.span import Span
from nnunet_nacl.benchmark.plan.places import Places
from nnunet_nacl.benchmark.tasks.msd import TASKS
from nnunet_nacl.benchmark.tasks.phantom import LABELS
from nnunet_nacl.files.json_files import mapping_if_any

BYTES_PER_VOXEL = Span(0.2, 2.5)
"""Of a packed image of one channel: 0.27 in the MSD's brain tumours, whose background is 0, 1.3 in its hippocampus."""


@dataclass(frozen=True)
class DataSize:
    """Training cases, voxels of a case, classes with background, channels of an image; and where that comes from."""

    cases: Span
    voxels: Span
    classes: int
    channels: int
    source: str


def data_size(study: Study, task: TaskEntry) -> DataSize:
    """Return what is known of a task's size: from nnU-Net's fingerprint of it, its source, the list of the MSD, or a wide guess."""
    classes, channels = 3, 1
    if task.phantom is not None:
        cases, size = task.phantom
        return DataSize(Span(cases, cases), Span(size**3, size**3), len(LABELS), 1, "the phantom's")
    preprocessed = Places(study).preprocessed / task.dataset
    content = mapping_if_any(preprocessed / "dataset.json") or mapping_if_any(
        Places(study).raw / task.dataset / "dataset.json"
    )
    known = TASKS.get(task.name) if task.source is None else None
    if known is not None:
        classes, channels = len(known.labels) + 1, len(known.modalities)
    elif content:
        classes, channels = _length(content, "labels", classes), _length(content, "channel_names", channels)
    sizes = _fingerprint(preprocessed)
    if sizes:
        mean = sum(sizes) / len(sizes)
        return DataSize(Span(len(sizes), len(sizes)), Span(mean, mean), classes, channels, "nnU-Net's fingerprint")
    if known is not None:
        packed = known.gigabytes * 1e9 / (known.training + known.test) / channels
        return DataSize(Span(known.training, known.training), _unpacked(packed), classes, channels, "the MSD's list")
    images = _images(task.source)
    if images:
        return DataSize(
            Span(len(images), len(images)),
            _unpacked(sum(images) / len(images) / channels),
            classes,
            channels,
            "the files",
        )
    return DataSize(Span(20, 300), Span(1e5, 5e7), classes, channels, "a wide guess")


def _fingerprint(preprocessed: Path) -> list[int]:
    """Return the voxels of each case; empty where nnU-Net has not looked at them yet."""
    shapes = mapping_if_any(preprocessed / "dataset_fingerprint.json").get("shapes_after_crop")
    try:
        return [prod(int(side) for side in shape) for shape in shapes or ()]
    except (TypeError, ValueError, OverflowError):
        return []


def _unpacked(packed: float) -> Span:
    return Span(packed / BYTES_PER_VOXEL.high, packed / BYTES_PER_VOXEL.low)


def _length(content: dict[str, object], key: str, default: int) -> int:
    held = content.get(key)
    return max(len(held), 1) if isinstance(held, dict) else default


def _images(source: Path | None) -> list[int]:
    """Return the sizes of a task's training images in bytes; empty where they are packed or not there."""
    try:
        folders = [source / "imagesTr"] if source is not None else []
        return [path.stat().st_size for folder in folders if folder.is_dir() for path in folder.iterdir()]
    except OSError:
        return []
