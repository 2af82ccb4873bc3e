"""What the labels of dataset.json mean, as nnU-Net's ``LabelManager`` reads them.

nnU-Net's own label manager imports PyTorch, which takes most of the time of a small evaluation and most of the memory of a process, and
nothing here needs it otherwise. So the ordinary labels are read here, a property test holds that to nnU-Net's label manager, and whatever
is out of the ordinary (another label manager, text for numbers, anything that it might refuse) is put to nnU-Net itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Region: TypeAlias = "int | tuple[int, ...]"


class Labels(NamedTuple):
    """The labels of a data set.

    Attributes:
        regions: what each channel stands for, in the order of the channels; None where channels are labels.
        order: the label that nnU-Net writes for each region, None where channels are labels.
        ignore_label: value of voxels without annotation, or None.
    """

    regions: list[Region] | None
    order: list[int] | None
    ignore_label: int | None


def labels_of(dataset: dict[str, Any], plans: dict[str, Any]) -> Labels:
    """Return the labels of a data set.

    Args:
        dataset: content of dataset.json.
        plans: content of the plans file, which names nnU-Net's label manager.

    Raises:
        Exception: whatever nnU-Net's label manager raises for labels that it refuses.
    """
    ordinary = ordinary_labels(dataset) if plans.get("label_manager", "LabelManager") == "LabelManager" else None
    return _ask_nnunet(dataset, plans) if ordinary is None else ordinary


def ordinary_labels(dataset: dict[str, Any]) -> Labels | None:
    """Return the labels of a data set without nnU-Net; None where they are out of the ordinary."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not _is_label(labels.get("background")) or labels["background"] != 0:
        return None
    values = [value for name, value in labels.items() if name != "ignore"]
    if not all(_is_label(value) or _is_list_of_labels(value) for value in values):
        return None
    ignore = labels.get("ignore")
    highest = max(max(value) if isinstance(value, list) else value for value in values)
    if ignore is not None and (not _is_label(ignore) or ignore != highest + 1):
        return None
    if not any(isinstance(value, list) and len(value) > 1 for value in values):
        return Labels(None, None, ignore)
    regions: list[Region] = [
        tuple(value) if isinstance(value, list) else value for value in values if _has_foreground(value)
    ]
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(regions) or not all(_is_label(label) for label in order):
        return None
    return Labels(regions, order, ignore)


def _is_label(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_list_of_labels(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_is_label(member) for member in value)


def _has_foreground(value: Any) -> bool:
    return set(value) != {0} if isinstance(value, list) else value != 0


def _ask_nnunet(dataset: dict[str, Any], plans: dict[str, Any]) -> Labels:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans).get_label_manager(dataset)
    if not manager.has_regions:
        return Labels(None, None, manager.ignore_label)
    return Labels(manager.foreground_regions, manager.regions_class_order, manager.ignore_label)
