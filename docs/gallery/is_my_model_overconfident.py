# %% [markdown]
# # Is my model overconfident?
#
# This script measures, from a folder of saved probabilities, whether a network is overconfident, shows where, and recalibrates it. It takes
# about ten minutes and needs no training. It runs as it is, on a phantom whose true probabilities are known: once with these
# probabilities (`honest`), once with overconfident ones (`sharpened`). Then set `OWN` to a folder of your own and run it again.
#
# All output is written into `gallery_overconfident` in the current folder.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.calibration import VOXEL_SETS, total
from nnunet_nacl.evaluation import evaluate_folder, load_dataset, read_case_labels
from nnunet_nacl.nnunet.prediction_folder import find_description
from nnunet_nacl.recalibration.fit import Options, fit_folders
from nnunet_nacl.report.maps import Reference, prepare_class_maps
from nnunet_nacl.report.prepare_reliability import prepare_reliability
from nnunet_nacl.report.reliability import plot_reliability

OWN = None  # yours: ("path/to/labels", "path/to/predictions made with --save_probabilities")
WORK = Path("gallery_overconfident")
WORK.mkdir(exist_ok=True)

# %% [markdown]
# ## The folders
#
# The phantom's probabilities are in files like those of `--save_probabilities`, and its labels were drawn from them, so they are
# perfectly calibrated. Squaring them does not change any segmentation and makes each voxel more confident than it should be.
#
# Next to predictions of nnU-Net there are `dataset.json` and `plans.json`. The phantom was not predicted by nnU-Net, so the few entries
# that are needed are written here.


# %%
def phantom():
    """Return the label folder and the prediction folders of the phantom."""
    task = WORK / "Task99_Phantom"
    if not task.exists():
        write_task(task)
    honest, sharpened = task / "posteriorTr", task / "sharpened"
    sharpened.mkdir(exist_ok=True)
    for file in honest.glob("*.npz"):
        squared = np.load(file)["probabilities"] ** 2
        np.savez_compressed(sharpened / file.name, probabilities=squared / squared.sum(0))
    labels = {"background": 0, "body": 1, "cap": 2}
    dataset = {"labels": labels, "channel_names": {"0": "phantom"}, "file_ending": ".nii.gz", "numTraining": 20}
    plans = {"dataset_name": "Dataset099_Phantom", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO"}
    for folder in (honest, sharpened):
        (folder / "dataset.json").write_text(json.dumps(dataset))
        (folder / "plans.json").write_text(json.dumps({**plans, "label_manager": "LabelManager", "configurations": {}}))
    return task / "labelsTr", {"honest": honest, "sharpened": sharpened}


labels, models = phantom() if OWN is None else (Path(OWN[0]), {"mine": Path(OWN[1])})
files = [find_description(next(iter(models.values())), name) for name in ("dataset.json", "plans.json")]

# %% [markdown]
# ## Evaluate
#
# `nnunet-nacl evaluate` does the same from the command line, and writes all scores with their intervals to files.

# %%
results = {name: evaluate_folder(labels, folder, *files) for name, folder in models.items()}
for name, result in results.items():
    print(f"{name}: {len(result.cases)} cases")

# %% [markdown]
# ## Look
#
# Each bar contains the voxels of about the same confidence; its height is the share of them that are right. Bars that end at the
# dashed line are calibrated. Orange is the part by which confidence exceeds accuracy. The grey bars show how many voxels there are.
#
# These are the voxels in `predicted`, where the model predicts a structure.

# %%
size = (3.4 * len(models) + 0.4, 4)
figure, axes = plt.subplots(
    2, len(models), figsize=size, sharex=True, squeeze=False, layout="constrained", height_ratios=(4, 1)
)
for (name, result), (diagram, share) in zip(results.items(), axes.T, strict=True):
    plot_reliability(prepare_reliability(result.pooled, "predicted"), diagram, share, name)
figure.savefig(WORK / "reliability.svg")

# %% [markdown]
# ## Read the numbers
#
# `gap` is confidence minus accuracy: above 0 is overconfident, below 0 is underconfident. `ECE` is the mean absolute difference of the
# two over the bins. All voxels of all cases together:

# %%
for name, result in results.items():
    print(f"{name:12} confidence accuracy     gap    ECE")
    for voxel_set in VOXEL_SETS:
        scores = result.pooled.scores(voxel_set)
        print(f"  {voxel_set:12}{scores.confidence:8.3f} {scores.accuracy:8.3f} {scores.gap:+7.3f} {scores.ece:6.3f}")

# %% [markdown]
# **Start with `predicted`, then `all`.** In these two sets the calibrated model has a gap of 0, since they are selected without the
# label. `all` is mostly background with an easy decision, so its numbers are small.
#
# **`foreground` is misleading.** The calibrated model seems overconfident there, and more so in `union`. Both sets are selected by the
# label, that is, by the outcome: they contain each voxel of the structure that was missed, but not the background voxels at the same
# border that were correctly predicted as background. It is like judging a weather forecast on rainy days only. Papers report
# `foreground`, so use it to compare with papers, and models with one another, but not to decide whether a model is calibrated.
#
# A gap above 0 in `predicted`, and orange over most bars: the model is overconfident. The intervals of `nnunet-nacl evaluate` show how
# certain this is with the given number of cases.

# %%
result = results[list(models)[-1]]
gap = result.pooled.scores("predicted").gap
print(f"{list(models)[-1]}: {'over' if gap > 0 else 'under'}confident by {abs(gap):.3f} where it predicts a structure")

# %% [markdown]
# ## Look where
#
# One number does not show where the error is. Take the case with the largest ECE and, of its slices, the one with the largest error.
# The local gap is confidence minus accuracy around each voxel, averaged over some 3 mm: orange is overconfident, violet is
# underconfident. `nnunet-nacl map` writes such maps as NIfTI for ITK-SNAP and 3D Slicer.

# %%
dataset = load_dataset(*files)
if dataset.regions is None:
    worst = max(result.cases, key=lambda case: np.nan_to_num(total(case.problems).scores("predicted").ece))
    label_map = read_case_labels(worst.case, dataset)
    label, spacing = label_map.values, label_map.geometry.spacing
    probabilities = np.load(worst.case.probabilities)["probabilities"].reshape(-1, *label.shape)
    maps = prepare_class_maps(probabilities, len(probabilities), Reference(label, spacing, dataset.ignore_label))
    z = int(np.abs(maps.gap).sum((1, 2)).argmax())
    last = len(probabilities) - 1
    panels = [
        ("label", label[z], "viridis", 0, last),
        ("prediction", probabilities[:, z].argmax(0), "viridis", 0, last),
        ("confidence", maps.confidence[z], "gray", 1 / len(probabilities), 1),
        ("local gap", maps.gap[z], "PuOr_r", -0.2, 0.2),
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 2.2), layout="constrained")
    for panel, (title, image, colors, low, high) in zip(axes, panels, strict=True):
        shown = panel.imshow(image, colors, vmin=low, vmax=high, aspect=spacing[1] / spacing[2])
        panel.set(title=title, xticks=[], yticks=[])
        if colors != "viridis":
            figure.colorbar(shown, ax=panel)
    figure.savefig(WORK / "where.svg")
    print(f"{worst.case.name}, slice {z}")

# %% [markdown]
# The error is at the borders, as in most models. Inside a structure and far from it, the model is confident and right.
#
# ## Recalibrate
#
# Temperature scaling makes the voxels less confident, by one factor for each predicted class, and does not change any segmentation. A
# temperature above 1 means that the model was overconfident there. It must not be judged on the cases on which it was fitted, so the
# cases are divided into five parts, and each part is scored with the temperatures that were fitted on the other four.

# %%
fitted = fit_folders([result.cases[0].case.probabilities.parent], labels, *files, Options(), WORK)
before, after = (total(cases.totals) for cases in (fitted.before, fitted.after))
for channel, factor in zip(fitted.heads.channels, fitted.fitted.maps[0].factors, strict=True):
    print(f"temperature {1 / factor:.2f} where {channel} is predicted")
for title, statistics in (("before", before), ("after", after)):
    scores = statistics.scores("predicted")
    print(f"{title:8} gap {scores.gap:+.3f}  ECE {scores.ece:.3f}  NLL {scores.nll:.3f}")

# %% [markdown]
# The posterior was squared, so the correct temperature is 2 for every predicted class.
#
# ## Look again

# %%
figure, axes = plt.subplots(2, 2, figsize=(7.2, 4), sharex=True, layout="constrained", height_ratios=(4, 1))
for (title, statistics), (diagram, share) in zip({"before": before, "after": after}.items(), axes.T, strict=True):
    plot_reliability(prepare_reliability(statistics, "predicted"), diagram, share, title)
figure.savefig(WORK / "repaired.svg")

# %% [markdown]
# ## What next
#
# - **Use the recalibration**: `nnunet-nacl recalibrate fit` on validation cases, `nnunet-nacl recalibrate apply` on new predictions
#   ([how](../recalibrating.md)).
# - **Train a better calibrated network**: there are trainers with other losses ([which trainer](../trainers.md)); a temperature
#   afterwards can improve them too.
# - **Test the difference**: [compare two trainings](compare_two_trainings.md), paired over the cases.
# - **Show it**: `nnunet-nacl report` writes [one page](../report.md) with the worst cases in pictures.
#
# With predictions of your own, use cases that the model was not trained on: on its training cases it is more confident and more accurate
# than on new ones. nnU-Net's `fold_0/validation` of a training with `--npz` is such a folder, with `gt_segmentations` of the
# preprocessed data set as labels.
#
# ## Limits
#
# The phantom has exactly the error that a temperature corrects. In a real network an error remains after recalibration
# ([how much](../results/temperature-scaling.md)).
