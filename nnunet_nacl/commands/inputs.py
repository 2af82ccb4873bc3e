"""What is evaluated and what goes with it: ``PREDICTED``, ``-gt``, ``-djfile``, ``-pfile``, the same in all commands.

A command adds its arguments with :func:`add_predicted` or one of its own named ``predicted``, with :func:`add_labels` where it needs
labels, and :func:`add_descriptions`; when it runs, :func:`find_inputs` returns the files, those that were not passed from where
nnU-Net put them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_nacl.commands.arguments import memory_size, positive
from nnunet_nacl.errors import InputError


@dataclass(frozen=True)
class Inputs:
    """What goes with one or several prediction folders of a data set.

    Attributes:
        labels: folder with the label files; None where the command does without.
        dataset_json: nnU-Net's ``dataset.json``.
        plans_json: nnU-Net's plans file.
    """

    labels: Path | None
    dataset_json: Path
    plans_json: Path

    @property
    def label_folder(self) -> Path:
        """The folder with the label files, in commands that need it."""
        if self.labels is None:
            raise InputError("Expected a folder of label files. Pass it with -gt.")
        return self.labels


def add_predicted(parser: argparse.ArgumentParser) -> None:
    """Add the prediction folder, the first positional."""
    parser.add_argument(
        "predicted",
        type=Path,
        metavar="PREDICTED",
        help="prediction folder with .npz files (of --save_probabilities or --npz), e.g. fold_0/validation",
    )


def add_labels(parser: argparse.ArgumentParser, text: str = "") -> None:
    """Add ``-gt``, with a text on what labels are for where a command does without them."""
    default = text or "default: for a fold_X/validation those of nnU-Net"
    parser.add_argument(
        "-gt", "--labels", type=Path, dest="labels", default=None, metavar="LABELS",
        help=f"folder with the label files ({default})",
    )  # fmt: skip


def add_descriptions(parser: argparse.ArgumentParser) -> None:
    """Add ``-djfile`` and ``-pfile``."""
    parser.add_argument("-djfile", type=Path, default=None, metavar="FILE",
                        help="dataset.json (default: in PREDICTED or in the folder of its model)")  # fmt: skip
    parser.add_argument(
        "-pfile", type=Path, default=None, metavar="FILE", help="plans.json (default: in the same places)"
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add ``-np``; :func:`~nnunet_nacl.commands.arguments.default_processes` is its default."""
    parser.add_argument("-np", type=positive, default=None, metavar="N",
                        help="number of processes (default: nnUNet_def_n_proc or all cores)")  # fmt: skip


def add_max_memory(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-memory`` of commands whose processes read one case each."""
    parser.add_argument("--max-memory", type=memory_size, default=None, metavar="SIZE",
                        help="memory for all processes, e.g. 8G (default: 80 %% of the available memory, within cgroup limits)")  # fmt: skip


def find_inputs(parsed: argparse.Namespace, predicted: Sequence[Path], labels: bool = True) -> Inputs:
    """Return the files of prediction folders: those that were passed, or where nnU-Net put them.

    Args:
        parsed: arguments, with ``djfile``, ``pfile`` and, if labels are wanted or optional, ``labels``.
        predicted: the prediction folders; what is found for them has to be the same data set.
        labels: look for labels where none were passed.

    Raises:
        InputError: a file is in none of the places, folders are swapped, or the folders are not of one data set.
    """
    from nnunet_nacl.nnunet.prediction_folder import DATASET_JSON, PLANS_JSON, find_description, find_labels

    given: Path | None = getattr(parsed, "labels", None)
    for folder in predicted:
        _check_softmax_files(folder, given)
    found = [
        Inputs(
            given,
            parsed.djfile or find_description(folder, DATASET_JSON),
            parsed.pfile or find_description(folder, PLANS_JSON),
        )
        for folder in predicted
    ]
    _check_one_dataset(predicted, found)
    first = found[0]
    if given is None and labels:
        folders = {find_labels(folder, one.plans_json): folder for folder, one in zip(predicted, found, strict=True)}
        if len(folders) > 1:
            raise InputError(
                f"labels of these folders lie in {' and '.join(map(str, folders))}. Pass one folder with -gt."
            )
        return Inputs(next(iter(folders)), first.dataset_json, first.plans_json)
    return first


def has_softmax_files(folder: Path) -> bool:
    """Return whether a folder has files such as nnU-Net's ``<case>.npz``."""
    from nnunet_nacl.evaluation.cases import case_names

    return folder.is_dir() and bool(case_names(folder, ".npz"))


def _check_softmax_files(predicted: Path, labels: Path | None) -> None:
    """Raise InputError for a folder without softmax files, and name folders that were swapped."""
    from nnunet_nacl.evaluation.cases import HOW_TO_SAVE

    if has_softmax_files(predicted):
        return
    if not predicted.is_dir():
        raise InputError(f"{predicted}: {'is a file; expected a folder' if predicted.is_file() else 'no such folder'}.")
    if labels is not None and has_softmax_files(labels):
        raise InputError(
            f"{predicted} has no softmax file (.npz), but {labels} has: are they swapped? Predictions come first, labels "
            "after -gt."
        )
    raise InputError(f"{predicted}: no softmax file (.npz). {HOW_TO_SAVE}")


def _check_one_dataset(predicted: Sequence[Path], found: Sequence[Inputs]) -> None:
    """Raise InputError unless dataset.json and plans.json of all folders say the same on labels and files."""
    from nnunet_nacl.evaluation.dataset import load_dataset

    distinct = dict.fromkeys((one.dataset_json, one.plans_json) for one in found)
    if len(distinct) < 2:
        return
    loaded = [load_dataset(one.dataset_json, one.plans_json) for one in found]
    for folder, dataset in zip(predicted, loaded, strict=True):
        if dataset != loaded[0]:
            raise InputError(
                f"{predicted[0]} is of {loaded[0].name} and {folder} of {dataset.name}, or their labels differ. One call takes "
                "folders of one data set."
            )
