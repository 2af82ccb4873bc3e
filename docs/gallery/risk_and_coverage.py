# %% [markdown]
# # Risk and coverage, before and after a recalibration
#
# If only some cases can be checked by hand, does the confidence choose the right ones? And does it choose better once the network is
# recalibrated? This script draws the curves with which the field answers: the risk of the cases that are accepted unchecked, against the
# share of cases that are. It runs as it is, on a phantom; then set `OWN` to two evaluated folders of yours, and run it again.
#
# All output is written into `gallery_risk` in the current folder.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.decisions import oracle, risk_coverage
from nnunet_nacl.evaluation import evaluate_folder, summarize
from nnunet_nacl.recalibration.fit import Options, fit_folders
from nnunet_nacl.study.run import load_run

OWN = None  # yours, evaluated: ("fold_0/validation", "the same, recalibrated with --held-out")
WORK = Path("gallery_risk")
WORK.mkdir(exist_ok=True)

# %% [markdown]
# ## A network that is good on some cases
#
# Each case of the phantom is blurred by another width: where it is blurred much, nobody can know the label of a voxel, and no segmentation has
# a high Dice. The labels are drawn with the blurred probabilities, and the network says these, squared: it is overconfident everywhere. The
# recalibration is `by-prediction`, fitted on four fifths of the cases and applied to the last fifth, in turns, so that no case is judged by
# what was fitted on it.


# %%
def hard_case(posterior, rng):
    """Return a case's true probabilities and a label map drawn with them."""
    width = rng.uniform(0, 2.5)
    truth = np.stack([gaussian_filter(channel, width) for channel in posterior])
    truth /= truth.sum(0)
    return truth, (rng.random(truth.shape[1:]) > truth.cumsum(0)[:-1]).sum(0)


def phantom():
    """Write, recalibrate and evaluate the predictions; return the summary of each evaluation."""
    task = WORK / "Task99_Phantom"
    if not task.exists():
        write_task(task)
    names = {"background": 0, "body": 1, "cap": 2}
    dataset = {"labels": names, "channel_names": {"0": "phantom"}, "file_ending": ".nii.gz", "numTraining": 20}
    plans = {"dataset_name": "Dataset099_Phantom", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO"}
    files = [WORK / "dataset.json", WORK / "plans.json"]
    files[0].write_text(json.dumps(dataset))
    files[1].write_text(json.dumps({**plans, "label_manager": "LabelManager", "configurations": {}}))
    labels, before, after = WORK / "labels", WORK / "before", WORK / "after"
    rng = np.random.default_rng(0)
    for folder in (labels, before, after):
        folder.mkdir(exist_ok=True)
    for file in sorted((task / "posteriorTr").glob("*.npz")):
        truth, drawn = hard_case(np.load(file)["probabilities"], rng)
        of_phantom = sitk.ReadImage(task / "labelsTr" / f"{file.stem}.nii.gz")
        label_map = sitk.GetImageFromArray(drawn.astype(np.uint8))
        label_map.CopyInformation(of_phantom)
        sitk.WriteImage(label_map, labels / f"{file.stem}.nii.gz")
        np.savez_compressed(before / file.name, probabilities=truth**2 / (truth**2).sum(0))
    fitted = fit_folders([before], labels, *files, Options(), WORK)
    for held_out in fitted.held_out:
        for number in held_out.part.members:
            file = fitted.cases[number].probabilities
            said = np.load(file)["probabilities"]
            new = fitted.heads.recalibrate(said.reshape(len(said), -1), held_out.fitted.maps)
            np.savez_compressed(after / file.name, probabilities=new.reshape(said.shape))
    return {folder.name: summarize(evaluate_folder(labels, folder, *files)) for folder in (before, after)}


if OWN is None:
    summaries = phantom()
else:
    summaries = {name: load_run(Path(folder)).summary for name, folder in zip(("before", "after"), OWN, strict=True)}

# %% [markdown]
# ## Is the recalibration any good?
#
# The calibration error of the voxels, mean over cases:

# %%
for name, summary in summaries.items():
    errors = [case["voxel_sets"]["predicted"]["ECE"] for case in summary["metric_per_case"]]
    print(
        f"{name:7} ECE {np.mean([error for error in errors if error is not None]):.2f} where a structure is predicted"
    )

# %% [markdown]
# ## Order the cases
#
# The confidence in a case is the **soft Dice confidence**, the Dice that its segmentation would have on average if the probabilities were
# right, mean over structures. The risk is 1 - Dice. Each dot is a case. On the line the confidence is the Dice.


# %%
def confidence_and_risk(summary):
    """Return the soft Dice confidence and 1 - Dice of each case that has both, means over its structures."""
    rows = []
    for case in summary["metric_per_case"]:
        structures = [entry for label, entry in case["metrics"].items() if label != "0"]
        sure = [
            entry["confidence"]["soft_Dice"] for entry in structures if entry["confidence"]["soft_Dice"] is not None
        ]
        dice = [entry["Dice"] for entry in structures if entry["Dice"] is not None]
        if sure and dice:
            rows.append((np.mean(sure), 1 - np.mean(dice)))
    return np.array(rows).T


found = {name: confidence_and_risk(summary) for name, summary in summaries.items()}
figure, axes = plt.subplots(1, 2, figsize=(6, 3), sharex=True, sharey=True, layout="constrained")
for panel, (name, (confidence, risk)) in zip(axes, found.items(), strict=True):
    panel.plot(confidence, 1 - risk, "o", markersize=4)
    panel.axline((0, 0), slope=1, color="0.4", linestyle="--", linewidth=1)
    panel.set(xlabel="soft Dice confidence", ylabel="Dice", title=name, xlim=(0, 1), ylim=(0, 1))
figure.savefig(WORK / "cases.svg")
for name, (confidence, risk) in found.items():
    print(f"{name:7} mean confidence {confidence.mean():.2f}, mean Dice {1 - risk.mean():.2f}")

# %% [markdown]
# After the recalibration the confidence of a case is nearer to its Dice: as a number it means more.
#
# ## Risk and coverage
#
# Accept the cases from the most to the least confident. Left: the mean risk of the accepted cases. Right: the sum of their risks over the
# number of *all* cases, which is the risk of someone who has the rest checked; its area is the AUGRC. The grey line is the best order
# there is. Lower is better.

# %%
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3), layout="constrained")
for (name, (confidence, risk)), style in zip(found.items(), ("-", "--"), strict=True):
    curve = risk_coverage(confidence, risk)
    axes[0].plot(curve.coverage, curve.selective_risk, style, label=name)
    axes[1].plot(curve.coverage, curve.generalized_risk, style, label=name)
    print(f"{name:7} AURC {curve.aurc:.3f}, AUGRC {curve.augrc:.3f}")
best = oracle(found["before"][1])
axes[0].plot(best.coverage, best.selective_risk, color="0.6", zorder=0, label="best order")
axes[1].plot(best.coverage, best.generalized_risk, color="0.6", zorder=0, label="best order")
print(
    f"best    AURC {best.aurc:.3f}, AUGRC {best.augrc:.3f}; knowing nothing: AUGRC {found['before'][1].mean() / 2:.3f}"
)
axes[0].set(xlabel="coverage", ylabel="selective risk", xlim=(0, 1), ylim=(0, None))
axes[1].set(xlabel="coverage", ylabel="generalized risk", xlim=(0, 1), ylim=(0, None))
axes[0].legend()
figure.savefig(WORK / "risk_coverage.svg")

# %% [markdown]
# **The curves do not move.** They depend on the order of the confidences alone, and a recalibration changes all of them alike. It repairs
# what a confidence *means*; which cases come first is another question. Here the order was nearly the best one to begin with, since
# blur alone makes a case hard. On real data [it was the same](../results/decisions.md#which-confidence-finds-bad-cases).
#
# ## What next
#
# - `nnunet-nacl triage` sorts new cases without labels, with a lower bound of each Dice: [volumes and triage](../decisions.md).
# - `nnunet-nacl compare` and `report` give both areas of each run with intervals over cases.
# - What is promised and what is not: [guarantees](../guarantees.md).
#
# ## Limits
#
# Twenty cases are few: look at the intervals that `nnunet-nacl compare` gives before you call one curve lower than another. The phantom's
# network is wrong in one way, which its confidence can see; a real network may be sure of a wrong structure.
