"""What nnU-Net kept of the course of a training: pseudo Dice, losses and, where our trainers measured it, calibration.

The lists of nnU-Net's logger in ``checkpoint_final.pth`` come first. They are the history of the very weights that are
evaluated, whatever was killed, continued or started anew meanwhile; every nnU-Net trainer has them; and they are not rounded.
A fold without that checkpoint, or one whose checkpoint holds objects that are not loaded here, is read from its
``training_log_*.txt``: four digits, and where a log starts again at an epoch, what older logs say from there on was thrown away.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.benchmark.duration.pace import iterations_per_epoch
from nnunet_nacl.benchmark.plan.places import training_of
from nnunet_nacl.errors import InputError
from nnunet_nacl.files.json_files import mapping_if_any

CHECKPOINT = "checkpoint_final.pth"
LOGS = "training_log_*.txt"
EMA_WEIGHT = 0.1  # of an epoch in nnU-Net's moving average (MetaLogger.log)
ReadCheckpoint = Callable[[Path], dict[str, Any]]

_NAN = math.nan
_OURS = {"ece": "val_fg_ece", "gap": "val_fg_confidence_gap"}  # of training.calibration_logging
_EPOCH = re.compile(r": Epoch (\d{1,6})\s*$")  # a line is kept for each epoch
_LOSS = re.compile(r": (train|val)_loss (\S+)\s*$")
_DICE = re.compile(r": Pseudo dice \[(.*)\]\s*$")
_CALIBRATION = re.compile(r": Pseudo calibration: foreground ECE (\S+), confidence - accuracy (\S+)\s*$")


@dataclass(frozen=True)
class Curve:
    """The course of one fold's training, an entry per epoch. Arrays are float64, NaN where nothing was logged.

    Attributes:
        run: nnU-Net's folder ``<trainer>__<plans>__<configuration>``.
        fold: e.g. ``0`` or ``all``.
        training: which training of that fold, where a study has several.
        source: the files that it was read from.
        finished: whether the training has come to its end.
        iterations_per_epoch: training iterations.
        classes: names of the foreground classes or regions.
        class_dice: (epochs, classes), pseudo Dice; NaN also where a class is neither in the patches nor predicted there.
        dice: (epochs,), mean over the classes.
        dice_ema: (epochs,), nnU-Net's moving average of it.
        train_loss: (epochs,).
        val_loss: (epochs,).
        ece: (epochs,), foreground ECE of the validation patches.
        gap: (epochs,), their mean confidence minus accuracy.
    """

    run: str
    fold: str
    training: int
    source: tuple[str, ...]
    finished: bool
    iterations_per_epoch: int
    classes: tuple[str, ...]
    class_dice: NDArray[np.float64]
    dice: NDArray[np.float64]
    dice_ema: NDArray[np.float64]
    train_loss: NDArray[np.float64]
    val_loss: NDArray[np.float64]
    ece: NDArray[np.float64]
    gap: NDArray[np.float64]

    @property
    def fold_name(self) -> str:
        """The fold, with the training where it is not the first."""
        return self.fold if self.training == 1 else f"{self.fold}, training {self.training}"

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self.dice)

    @property
    def iterations(self) -> int:
        """Number of training iterations."""
        return self.epochs * self.iterations_per_epoch


def read_curve(fold: Path, read_checkpoint: ReadCheckpoint) -> Curve:
    """Return the curve of a fold.

    Args:
        fold: nnU-Net's folder ``<trainer>__<plans>__<configuration>/fold_X``.
        read_checkpoint: loads a checkpoint without running code of it (``training.share.read_checkpoint``).

    Raises:
        InputError: this is no such folder, or no epoch was logged there.
    """
    fold = fold.resolve()
    run = fold.parent.name
    if not (fold.is_dir() and fold.name.startswith("fold_") and len(run.split("__")) == 3):
        raise InputError(f"{fold}: expected nnU-Net's folder <trainer>__<plans>__<configuration>/fold_X of a training.")
    logged, source = _logged(fold, read_checkpoint)
    if not len(logged["dice"]):
        raise InputError(f"{fold}: no epoch is logged, neither in {CHECKPOINT} nor in {LOGS}.")
    return Curve(
        run=run,
        fold=fold.name.removeprefix("fold_"),
        training=training_of(fold),
        source=tuple(path.name for path in source),
        finished=(fold / CHECKPOINT).is_file(),
        iterations_per_epoch=_iterations_per_epoch(fold),
        classes=_classes(fold.parent, logged["class_dice"].shape[1]),
        **logged,
    )


def _logged(fold: Path, read_checkpoint: ReadCheckpoint) -> tuple[dict[str, NDArray[np.float64]], list[Path]]:
    logs = sorted(fold.glob(LOGS), key=_start)
    checkpoint = fold / CHECKPOINT
    if checkpoint.is_file():
        try:
            return _of_logger(read_checkpoint(checkpoint)["logging"]), [checkpoint]
        except (InputError, KeyError, TypeError, ValueError):
            # half a file, a trainer that logs objects of its own, or lists of another form
            if not logs:
                raise InputError(f"{checkpoint}: its logged lists cannot be read, and there is no {LOGS}.") from None
    return _of_logs(logs), logs


def _of_logger(lists: dict[str, Sequence[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return the lists of nnU-Net's local logger, ours among them where they are."""
    keys = {"dice": "mean_fg_dice", "dice_ema": "ema_fg_dice", "train_loss": "train_losses", "val_loss": "val_losses"}
    length = min(len(lists[key]) for key in ("dice_per_class_or_region", *keys.values()))
    columns = {ours: _column(lists[theirs], length) for ours, theirs in keys.items()}
    columns |= {ours: _column(lists.get(theirs, ()), length) for ours, theirs in _OURS.items()}
    return columns | {"class_dice": _table(lists["dice_per_class_or_region"][:length])}


def _column(values: Sequence[Any], length: int) -> NDArray[np.float64]:
    found = np.array([float(value) for value in values[:length]], dtype=np.float64)
    return np.append(found, np.full(length - len(found), _NAN))


def _table(rows: Sequence[Sequence[Any]]) -> NDArray[np.float64]:
    table = np.full((len(rows), max(map(len, rows), default=0)), _NAN)
    for number, row in enumerate(rows):
        table[number, : len(row)] = [float(value) for value in row]
    return table


def _start(log: Path) -> tuple[int, ...]:
    """Return when a log was started, from its name: year, month and day, unpadded, and the time; a copy keeps it."""
    return tuple(map(int, re.findall(r"\d+", log.stem)))


def _of_logs(logs: Iterable[Path]) -> dict[str, NDArray[np.float64]]:
    """Return what training logs say, oldest first."""
    epochs: dict[int, dict[str, Any]] = {}
    for log in logs:
        epoch = None
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := _EPOCH.search(line):
                epoch = int(match[1])
                epochs = {earlier: values for earlier, values in epochs.items() if earlier < epoch}
            elif epoch is not None:
                _read_line(line, epochs.setdefault(epoch, {}))
    # an epoch is over when its Dice is there, the last of these lines
    complete = {epoch: values for epoch, values in epochs.items() if "class_dice" in values}
    length = max(complete, default=-1) + 1
    rows = [complete.get(epoch, {}) for epoch in range(length)]
    class_dice = _table([row.get("class_dice", ()) for row in rows])
    dice = np.array([mean_of_logged(row) for row in class_dice], dtype=np.float64)
    columns = {key: _column([row.get(key, _NAN) for row in rows], length) for key in ("train_loss", "val_loss", *_OURS)}
    return columns | {"class_dice": class_dice, "dice": dice, "dice_ema": _moving_average(dice)}


def _read_line(line: str, values: dict[str, Any]) -> None:
    if match := _LOSS.search(line):
        values[f"{match[1]}_loss"] = _number(match[2])
    elif match := _DICE.search(line):
        # np.float32(0.5), or 0.5 where NumPy is older
        values["class_dice"] = [_number(re.sub(r"^.*\(|\)$", "", part.strip())) for part in match[1].split(",")]
    elif match := _CALIBRATION.search(line):
        values["ece"], values["gap"] = _number(match[1]), _number(match[2])


def _number(text: str) -> float:
    """Return a logged number, NaN where a damaged line has none."""
    try:
        return float(text)
    except ValueError:
        return _NAN


def mean_of_logged(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN, or NaN where there are none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else _NAN


def _moving_average(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    average = dice.copy()
    for epoch in range(1, len(dice)):
        average[epoch] = (1 - EMA_WEIGHT) * average[epoch - 1] + EMA_WEIGHT * dice[epoch]
    return average


def _iterations_per_epoch(fold: Path) -> int:
    """Return what the trainer had, from debug.json, which nnU-Net writes at each start; else what its name says."""
    try:
        logged = int(mapping_if_any(fold / "debug.json")["num_iterations_per_epoch"])
    except (ValueError, OverflowError, KeyError, TypeError):
        logged = 0
    return logged if logged > 0 else iterations_per_epoch(fold.parent.name.split("__")[0])


def _classes(run: Path, number: int) -> tuple[str, ...]:
    from nnunet_nacl.evaluation.dataset import load_dataset

    try:
        dataset = load_dataset(run / "dataset.json", run / "plans.json")
    except InputError:
        names: tuple[str, ...] = ()
    else:
        names = tuple(dataset.target_names.values())[0 if dataset.regions is not None else 1 :]
    return names if len(names) == number else tuple(f"class {place}" for place in range(1, number + 1))
