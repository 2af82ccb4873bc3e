"""The temperature of an ensemble from how far its folds disagree: near to the one that labels give, where the assumptions hold."""

import json

import numpy as np
import pytest
from made_up_task import task
from scipy.special import softmax

from nnunet_nacl.cli import main
from nnunet_nacl.errors import InputError
from nnunet_nacl.recalibration.ensemble import disagreement
from nnunet_nacl.recalibration.heads import SigmoidHeads, SoftmaxHeads
from nnunet_nacl.recalibration.methods import METHODS

HEADS = SoftmaxHeads(("background", "body", "cap"))
NAMES = {"background": 0, "body": 1, "cap": 2}
SHAPE = (10, 30, 30)


def folds_and_labels(n_folds, noise, shape=SHAPE, seed=0, sharp=1.5):
    """Return logits ``(F, 3, *shape)`` of folds: those of the truth plus noise of each fold's own, times `sharp`; and labels."""
    rng = np.random.default_rng(seed)
    truth = 2 * rng.normal(size=(3, *shape))
    labels = (rng.random(shape) > np.cumsum(softmax(truth, axis=0), axis=0)[:-1]).sum(0)
    return sharp * (truth + noise * rng.normal(size=(n_folds, 3, *shape))), labels


def probabilities(logits, axis):
    return softmax(logits, axis=axis).astype(np.float32)


def write_folds(folder, logits):
    """Write the predictions of each fold for one case; return their folders."""
    found = []
    for number, fold in enumerate(probabilities(logits, axis=1)):
        found.append(folder / f"test_fold_{number}")
        found[-1].mkdir()
        np.savez_compressed(found[-1] / "case_0.npz", probabilities=fold)
    return found


def fitted_temperature(logits, labels):
    chosen = logits.argmax(0) > 0
    blocks = [(np.log(probabilities(logits, axis=0))[:, chosen], labels[chosen])]
    return 1 / METHODS["temperature"].fit(lambda: blocks, 3, "softmax").map.factor


@pytest.mark.parametrize("n_folds", [2, 5])
@pytest.mark.parametrize("noise", [0.0, 0.7, 1.4])
def test_variance_says_about_what_labels_say(n_folds, noise, tmp_path):
    """A regression of logits is linear and a softmax is not: with noise of half the truth's variance it is some 15 % off."""
    logits, labels = folds_and_labels(n_folds, noise, shape=(20, 50, 50))
    of_folds = np.mean([fitted_temperature(fold, labels) for fold in logits])
    of_ensemble = fitted_temperature(logits.mean(0), labels)
    estimated = of_folds * disagreement(write_folds(tmp_path, logits), HEADS, 2**30, tmp_path).variance_ratio
    assert estimated == pytest.approx(of_ensemble, rel=0.01 + 0.12 * noise)
    if noise:  # a fold's own temperature, put into each, is further off
        assert abs(of_folds - of_ensemble) > 2 * abs(estimated - of_ensemble)


def test_variance_is_numpys(tmp_path):
    logits, _ = folds_and_labels(3, 1.0)
    folders = write_folds(tmp_path, logits)
    centred = logits - logits.mean(1, keepdims=True)
    centred = centred[..., centred.mean(0).argmax(0) > 0]
    expected = centred.mean(0).var(-1).sum() / centred.var(-1).sum(1).mean()
    for memory in (2**30, 1):  # in memory, and in scratch files
        found = disagreement(folders, HEADS, memory, tmp_path)
        assert found.variance_ratio == pytest.approx(expected, rel=1e-5)
        assert found.n_voxels == centred.shape[-1]


def test_regions_and_what_is_outside_of_the_crop(tmp_path):
    """A region's logit is the difference of its two classes; exact voxels are no agreement."""
    heads = SigmoidHeads(("whole", "core"), ((1, 2), (2,)), (1, 2))
    logits = 2 * np.random.default_rng(0).normal(size=(2, 2, *SHAPE))
    folders = []
    for number, fold in enumerate(1 / (1 + np.exp(-logits))):
        fold[:, 0] = 0
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        np.savez_compressed(folders[-1] / "case_0.npz", probabilities=fold.astype(np.float32))
    found = disagreement(folders, heads, 2**30, tmp_path)
    inside = logits[:, :, 1:]
    chosen = inside[:, inside.mean(0) > 0]
    assert found.n_voxels == chosen.shape[-1]
    assert found.variance_ratio == pytest.approx(chosen.mean(0).var() / chosen.var(1).mean(), rel=1e-3)


def test_folders_that_are_refused(tmp_path):
    folders = write_folds(tmp_path, folds_and_labels(2, 1.0)[0])
    with pytest.raises(InputError, match="at least two folds, a folder each; got 1"):
        disagreement(folders[:1], HEADS, 2**30, tmp_path)
    background = tmp_path / "background"
    background.mkdir()
    np.savez_compressed(
        background / "case_0.npz", probabilities=np.broadcast_to([[[[0.8]]], [[[0.1]]], [[[0.1]]]], (3, *SHAPE))
    )
    with pytest.raises(InputError, match="no structure is predicted by the ensemble"):
        disagreement([background, background], HEADS, 2**30, tmp_path)
    (folders[1] / "case_0.npz").rename(folders[1] / "case_1.npz")
    with pytest.raises(
        InputError, match="expected the same cases as in .*test_fold_0, but only one has case_0, case_1"
    ):
        disagreement(folders, HEADS, 2**30, tmp_path)
    (folders[0] / "case_0.npz").unlink()
    with pytest.raises(InputError, match=r"test_fold_0: no softmax file \(.npz\)"):
        disagreement(folders, HEADS, 2**30, tmp_path)


def test_fit_prints_and_records_it(tmp_path, capsys):
    validation = []
    for number in range(3):
        logits, labels = folds_and_labels(1, 1.0, seed=number)
        validation.append((probabilities(logits[0], axis=0), labels))
    predicted, reference = task(tmp_path, validation, NAMES)
    folders = write_folds(tmp_path, folds_and_labels(4, 1.0, seed=9)[0])
    command = ["recalibrate", "fit", predicted, "-gt", reference, "-o", tmp_path / "t.json", "--ensemble", *folders]
    for extra in ([], ["--method", "temperature", "--voxel-set", "all"]):
        assert main([str(part) for part in [*command, *extra]]) == 1
        assert "--ensemble needs --method temperature and the voxel set `predicted`" in capsys.readouterr().err
    assert main([str(part) for part in [*command, "--method", "temperature"]]) == 0
    content = json.loads((tmp_path / "t.json").read_text())
    found = content["ensemble"]
    assert found["temperatures_of_folders"] == pytest.approx(
        content["temperatures"][:1], rel=1e-5
    )  # one folder: all cases
    assert found["temperature"] == found["temperatures_of_folders"][0] * found["variance_ratio"]
    assert found["folders"] == [str(folder) for folder in folders]
    assert found["n_cases"] == 1
    expected = f"ensemble of 4 folds: temperature about {found['temperature']:.4f}, estimated without labels"
    assert expected in capsys.readouterr().out
