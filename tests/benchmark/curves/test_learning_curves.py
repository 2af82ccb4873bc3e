"""Learning curves: read from nnU-Net's logger and logs, judged by the protocol's rule, written down."""

import csv
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import MetaLogger

from nnunet_nacl.benchmark.curves.convergence import convergence, windows
from nnunet_nacl.benchmark.curves.curve_files import Judged, draw
from nnunet_nacl.benchmark.curves.learning_curves import Curve, read_curve
from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError
from nnunet_nacl.training.calibration_logging import ECE_KEY, GAP_KEY
from nnunet_nacl.training.share import read_checkpoint

RUN = "nnUNetTrainerNACL_20epochs__nnUNetPlansCPU__3d_fullres"
DATASET = {"labels": {"background": 0, "head": 1, "tail": 2}, "channel_names": {"0": "x"}, "file_ending": ".nii.gz"}
PLANS = {"dataset_name": "Dataset099_Phantom", "image_reader_writer": "SimpleITKIO", "configurations": {}, "label_manager": "LabelManager"}  # fmt: skip


def values(epochs, seed=0):
    """Return made-up values of each epoch, of the types that nnU-Net logs."""
    rng = np.random.default_rng(seed)
    return [
        {
            "train": np.float32(rng.random()),
            "val": np.float32(rng.random()),
            "dice": list(rng.random(2).astype(np.float32)),
            "ece": float(rng.random()),
            "gap": float(rng.normal()),
        }
        for _ in range(epochs)
    ]


def save_checkpoint(fold, rows, calibration_from=0, **further):
    """Write checkpoint_final.pth with the lists of nnU-Net's own logger; ours from an epoch on, None: never."""
    logger = MetaLogger(str(fold), False)
    lists = logger.local_logger.my_fantastic_logging
    for epoch, row in enumerate(rows):
        logger.log("train_losses", row["train"], epoch)
        logger.log("val_losses", row["val"], epoch)
        logger.log("mean_fg_dice", np.nanmean(row["dice"]), epoch)
        logger.log("dice_per_class_or_region", row["dice"], epoch)
        if calibration_from is not None:
            measured = epoch >= calibration_from
            lists.setdefault(ECE_KEY, []).append(row["ece"] if measured else math.nan)
            lists.setdefault(GAP_KEY, []).append(row["gap"] if measured else math.nan)
    kept = {"network_weights": {}, "init_args": {}, "inference_allowed_mirroring_axes": None, "trainer_name": "x"}
    torch.save(kept | {"logging": logger.get_checkpoint()} | further, fold / "checkpoint_final.pth")


def log_lines(epoch, row, calibration=True, bare=False):
    """Return the lines that nnU-Net and our mixin write in an epoch."""
    dice = [np.round(value, decimals=4) for value in row["dice"]]
    written = str([float(value) for value in dice] if bare else dice)
    lines = [f"Epoch {epoch}", "Current learning rate: 0.01"]
    if calibration:
        lines.append(f"Pseudo calibration: foreground ECE {row['ece']:.4f}, confidence - accuracy {row['gap']:+.4f}")
    lines += [f"train_loss {np.round(row['train'], decimals=4)}", f"val_loss {np.round(row['val'], decimals=4)}"]
    lines += [f"Pseudo dice {written}", "Epoch time: 53.23 s"]
    return "".join(f"2026-11-24 05:41:18.714587: {line} \n" for line in lines)


@pytest.fixture
def fold(tmp_path):
    folder = tmp_path / RUN / "fold_1"
    folder.mkdir(parents=True)
    (folder.parent / "dataset.json").write_text(json.dumps(DATASET))
    (folder.parent / "plans.json").write_text(json.dumps(PLANS))
    return folder


def write_log(fold, started, text):
    (fold / f"training_log_{started}.txt").write_text(text)


def assert_same(curve, other, tolerance):
    for name in ("class_dice", "dice", "dice_ema", "train_loss", "val_loss", "ece", "gap"):
        np.testing.assert_allclose(getattr(curve, name), getattr(other, name), atol=tolerance, err_msg=name)


def test_lists_of_the_logger(fold):
    rows = values(5)
    save_checkpoint(fold, rows, calibration_from=2)
    curve = read_curve(fold, read_checkpoint)
    assert (curve.run, curve.fold, curve.source, curve.finished) == (RUN, "1", ("checkpoint_final.pth",), True)
    assert curve.classes == ("head", "tail")
    np.testing.assert_array_equal(curve.class_dice, [row["dice"] for row in rows])
    np.testing.assert_allclose(curve.dice, [np.mean(row["dice"]) for row in rows], rtol=1e-6)
    np.testing.assert_array_equal(curve.train_loss, [row["train"] for row in rows])
    np.testing.assert_array_equal(curve.ece, [math.nan] * 2 + [row["ece"] for row in rows[2:]])
    assert curve.dice_ema[1] == pytest.approx(0.9 * curve.dice[0] + 0.1 * curve.dice[1])


def test_a_trainer_that_does_not_follow_its_calibration(fold):
    save_checkpoint(fold, values(5), calibration_from=None)
    curve = read_curve(fold, read_checkpoint)
    assert np.isnan(curve.ece).all()
    assert curve.ece.shape == curve.gap.shape == (5,)


def test_logs_say_the_same_as_the_logger(fold):
    """Also where a training was killed and continued, and its logs are older by a digit in the date."""
    rows, thrown_away = values(6), values(6, seed=1)
    save_checkpoint(fold, rows)
    expected = read_curve(fold, read_checkpoint)
    (fold / "checkpoint_final.pth").unlink()
    first = "".join(log_lines(epoch, row) for epoch, row in enumerate([*rows[:3], *thrown_away[3:5]]))
    write_log(
        fold,
        "2026_9_30_23_00_00",
        first + "2026-09-30 23:09:00.000000: Epoch 5 \n2026-09-30 23:10:00.000000: train_loss 0.5 \n",
    )
    second = "".join(log_lines(epoch, row) for epoch, row in enumerate(rows) if epoch >= 3)
    write_log(fold, "2026_10_1_00_00_00", second)
    write_log(fold, "2026_10_1_00_10_00", "2026-10-01 00:10:00.000000: Training done. \n")  # a validation alone
    curve = read_curve(fold, read_checkpoint)
    assert not curve.finished
    assert curve.source[0] == "training_log_2026_9_30_23_00_00.txt"
    assert_same(curve, expected, 5.1e-5)


def test_a_training_that_was_started_anew_is_another(fold):
    old, new = values(4), values(2, seed=1)
    for started, rows in (("2026_9_30_23_00_00", old), ("2026_10_1_00_00_00", new)):
        write_log(fold, started, "".join(log_lines(epoch, row) for epoch, row in enumerate(rows)))
    curve = read_curve(fold, read_checkpoint)
    np.testing.assert_allclose(curve.class_dice, [row["dice"] for row in new], atol=5.1e-5)


def test_numbers_of_older_numpy_and_absent_classes(fold):
    rows = values(3)
    rows[1]["dice"][0] = np.float32(math.nan)
    write_log(
        fold, "2026_9_30_23_00_00", "".join(log_lines(epoch, row, False, epoch == 0) for epoch, row in enumerate(rows))
    )
    curve = read_curve(fold, read_checkpoint)
    np.testing.assert_allclose(curve.class_dice, [row["dice"] for row in rows], atol=5.1e-5)
    assert curve.dice[1] == curve.class_dice[1, 1]
    assert np.isnan(curve.ece).all()


class Foreign:
    """Something that is not loaded from a checkpoint."""


def test_a_checkpoint_with_objects_is_not_loaded(fold):
    rows = values(3)
    save_checkpoint(fold, rows, own=Foreign())
    with pytest.raises(InputError, match="logged lists cannot be read, and there is no training_log"):
        read_curve(fold, read_checkpoint)
    write_log(fold, "2026_9_30_23_00_00", "".join(log_lines(epoch, row) for epoch, row in enumerate(rows)))
    curve = read_curve(fold, read_checkpoint)
    assert (curve.epochs, curve.finished) == (3, True)


def test_iterations_of_the_trainer(fold):
    save_checkpoint(fold, values(4))
    assert read_curve(fold, read_checkpoint).iterations == 4 * 250
    renamed = (
        fold.parent.rename(fold.parent.with_name("nnUNetTrainer_4epochs_30iterations_5valiterations__p__2d"))
        / fold.name
    )
    assert read_curve(renamed, read_checkpoint).iterations == 4 * 30
    (renamed / "debug.json").write_text('{"num_iterations_per_epoch": "7"}')
    assert read_curve(renamed, read_checkpoint).iterations == 4 * 7


def test_classes_without_names(fold):
    save_checkpoint(fold, values(2))
    (fold.parent / "dataset.json").unlink()
    assert read_curve(fold, read_checkpoint).classes == ("class 1", "class 2")


def test_regions_have_names(fold):
    save_checkpoint(fold, values(2))
    regions = {"labels": {"background": 0, "whole": [1, 2], "tail": 2}, "regions_class_order": [1, 2]}
    (fold.parent / "dataset.json").write_text(json.dumps(DATASET | regions))
    assert read_curve(fold, read_checkpoint).classes == ("whole", "tail")


def test_folders_that_are_none(fold, tmp_path):
    with pytest.raises(InputError, match="fold_1: no epoch is logged"):
        read_curve(fold, read_checkpoint)
    with pytest.raises(InputError, match="expected nnU-Net's folder <trainer>__<plans>__<configuration>/fold_X"):
        read_curve(fold.parent, read_checkpoint)


@pytest.mark.parametrize(
    ("epochs", "earlier", "last"),
    [(1000, (750, 850), (900, 1000)), (20, (15, 17), (18, 20)), (30, (22, 25), (27, 30)), (13, (9, 11), (11, 13))],
)
def test_windows(epochs, earlier, last):
    assert windows(epochs) == (slice(*earlier), slice(*last))


def made_curve(class_dice, iterations_per_epoch=250, finished=True, fold="0", run=RUN):
    class_dice = np.array(class_dice, dtype=np.float64)
    dice = np.nanmean(class_dice, axis=1)
    nothing = np.full(len(dice), math.nan)
    losses = np.zeros(len(dice))
    return Curve(run, fold, 1, (), finished, iterations_per_epoch, ("head", "tail"), class_dice, dice, dice, losses, losses, nothing, nothing)  # fmt: skip


def both(*steps):
    """Return the same Dice for both classes: (number of epochs, value) after another."""
    return [[value, value] for number, value in steps for _ in range(number)]


RULE = {
    "flat": (made_curve(both((5, 0.2), (15, 0.8))), []),
    "rises by less than 0.01": (made_curve(both((18, 0.8), (2, 0.809))), []),
    "falls": (made_curve(both((18, 0.8), (2, 0.6))), []),
    "rises": (made_curve(both((18, 0.8), (2, 0.812))), ["pseudo Dice not flat: 0.800, then 0.812"]),
    "rises between the two": (made_curve(both((17, 0.7), (3, 0.8))), ["pseudo Dice not flat: 0.700, then 0.800"]),
    "short": (made_curve(both((20, 0.8)), iterations_per_epoch=100), ["2000 of 3000 iterations"]),
    "long enough": (made_curve(both((20, 0.8)), iterations_per_epoch=150), []),
    "few epochs": (made_curve(both((12, 0.8))), ["12 epochs are too few to see whether it is flat"]),
    "just enough epochs": (made_curve(both((13, 0.8))), []),
    "unfinished": (made_curve(both((15, 0.8)), finished=False), ["not finished (epoch 15)"]),
    "never learned": (made_curve([[0.6, 0.0]] * 20), ["a class was never learned: tail"]),
    "lost": (made_curve([[0.0, 0.6]] * 3 + [[0.6, 0.0]] * 17), ["a class is no longer found: tail"]),
    "found at times": (made_curve([[0.6, 0.0]] * 19 + [[0.6, 0.02]]), []),
    "not in the patches": (made_curve([[0.6, math.nan]] * 20), []),
}  # fmt: skip


@pytest.mark.parametrize(("curve", "why_not"), RULE.values(), ids=RULE)
def test_the_rule(curve, why_not):
    verdict = convergence(curve)
    assert list(verdict.why_not) == why_not
    assert verdict.converged == (not why_not)


def test_flat_but_never_learned_are_told_apart():
    verdict = convergence(made_curve([[0.6, 0.0]] * 20))
    assert verdict.flat
    assert verdict.long_enough
    assert verdict.never_learned == ("tail",)
    assert not verdict.converged


def test_loss_that_is_no_number():
    curve = made_curve(both((20, 0.8)))
    curve.train_loss[-1] = math.nan
    assert convergence(curve).why_not == ("its loss is no number",)


def judged(*curves):
    return [Judged(curve, convergence(curve)) for curve in curves]


def test_figure_has_a_panel_per_run_and_a_colour_per_fold():
    other = RUN.replace("NACL", "SVLS")
    curves = judged(
        made_curve(both((20, 0.8)), fold="0"), made_curve([[0.6, 0.0]] * 20, fold="2"),
        made_curve(both((20, 0.7)), fold="2", run=other), made_curve(both((20, 0.7)), fold="0", run=RUN.replace("NACL", "LS")),
        made_curve(both((20, 0.7)), fold="0", run=RUN.replace("NACL", "ECP")),
    )  # fmt: skip
    panels = [axes for axes in draw(curves).axes if axes.axison]
    assert [axes.get_title().split("\n")[0] for axes in panels] == [
        "nnUNetTrainerNACL", "nnUNetTrainerSVLS", "nnUNetTrainerLS", "nnUNetTrainerECP",
    ]  # fmt: skip
    mean, lowest, second_mean, second_lowest = panels[0].get_lines()
    np.testing.assert_array_equal(mean.get_ydata(), [0.8] * 20)
    np.testing.assert_array_equal(second_lowest.get_ydata(), [0.0] * 20)
    assert mean.get_color() == lowest.get_color() != second_mean.get_color() == panels[1].get_lines()[0].get_color()
    said = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert said == ["fold 0: converged", "fold 2: a class was never learned"]


def test_namesakes_have_their_whole_names():
    curves = judged(made_curve(both((20, 0.8))), made_curve(both((20, 0.8)), run=RUN.replace("3d_fullres", "2d")))
    titles = [axes.get_title() for axes in draw(curves).axes]
    assert titles == [RUN.replace("__", "\n"), RUN.replace("3d_fullres", "2d").replace("__", "\n")]


def test_command(fold, tmp_path, capsys):
    rows = values(20)
    for row in rows:
        row["dice"] = [np.float32(0.6), np.float32(0)]
    save_checkpoint(fold, rows, calibration_from=1)
    stock = tmp_path / "nnUNetTrainer_2epochs__nnUNetPlansCPU__3d_fullres" / "fold_0"
    stock.mkdir(parents=True)
    save_checkpoint(stock, values(2), calibration_from=None)
    output = tmp_path / "new" / "folder"
    command = ["benchmark", "curves", str(fold), str(stock), str(fold), "-o", str(output)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"{RUN} fold 1: 5000 iterations, pseudo Dice 0.300, not converged: a class was never learned: tail" in said
    content = json.loads((output / "learning_curves.json").read_text())
    entry = content["runs"][RUN]["1"]
    assert (entry["iterations"], entry["converged"], entry["flat"], entry["never_learned"]) == (
        5000,
        False,
        True,
        ["tail"],
    )
    short = content["runs"][stock.parent.name]["0"]
    assert short["pseudo_dice_at_the_end"] is None
    assert short["why_not"] == ["500 of 3000 iterations", "2 epochs are too few to see whether it is flat"]
    table = list(csv.DictReader((output / "learning_curves.csv").open()))
    assert [(row["run"], row["epoch"]) for row in table] == [(RUN, str(epoch)) for epoch in range(20)] + [
        (stock.parent.name, "0"), (stock.parent.name, "1"),
    ]  # fmt: skip
    assert (table[0]["pseudo_ece"], float(table[1]["pseudo_ece"])) == ("", pytest.approx(rows[1]["ece"], rel=1e-5))
    assert (table[3]["iterations"], table[3]["pseudo_dice_1"], table[3]["pseudo_dice_2"]) == ("1000", "0.6", "0")
    picture = (output / "learning_curves.svg").read_bytes()
    assert re.search(rb"<svg ", picture)
    assert main(command) == 0
    assert (output / "learning_curves.svg").read_bytes() == picture, "the same numbers give the same file"


def test_a_fold_that_was_trained_again(fold, tmp_path, capsys):
    """In training_2 of nnUNet_results: an entry of its own, the same colour, paler."""
    again = tmp_path / "training_2" / "Dataset099_Phantom" / RUN / "fold_1"
    shutil.copytree(fold.parent, again.parent)
    save_checkpoint(fold, values(3))
    save_checkpoint(again, values(4, seed=1))
    assert main(["benchmark", "curves", str(fold), str(again), "-o", str(tmp_path / "out")]) == 0
    assert f"{RUN} fold 1, training 2: 1000 iterations" in capsys.readouterr().out
    entries = json.loads((tmp_path / "out" / "learning_curves.json").read_text())["runs"][RUN]
    assert {name: (entry["training"], entry["epochs"]) for name, entry in entries.items()} == {
        "1": (1, 3), "1, training 2": (2, 4),
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "out" / "learning_curves.csv").open()))
    assert [(row["fold"], row["training"]) for row in rows] == [("1", "1")] * 3 + [("1", "2")] * 4
    (panel,) = [axes for axes in draw(judged(*(read_curve(path, read_checkpoint) for path in (fold, again)))).axes]
    first, _, second, _ = (line.get_color() for line in panel.get_lines())
    assert first[:3] == second[:3]
    assert first[3] > second[3]


def test_namesakes_of_two_data_sets_are_refused(fold, tmp_path, capsys):
    save_checkpoint(fold, values(2))
    shutil.copytree(fold.parent, tmp_path / "other" / RUN)
    command = ["benchmark", "curves", str(fold), str(tmp_path / "other" / RUN / "fold_1"), "-o", str(tmp_path / "new")]
    assert main(command) == 1
    assert f"Expected folds of one data set, but got 2 of {RUN}/fold_1." in capsys.readouterr().err
    assert not list((tmp_path / "new").iterdir())


def test_command_names_the_folder_that_is_none(tmp_path, capsys):
    assert main(["benchmark", "curves", str(tmp_path), "-o", str(tmp_path)]) == 1
    assert "expected nnU-Net's folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
