# %% [markdown]
# # The reliability figure of the NACL paper
#
# Murugesan et al. ([arXiv 2401.14487](https://arxiv.org/abs/2401.14487)) show what a loss does to the confidence with one reliability diagram
# per loss, side by side, with its ECE. This script makes that figure: from networks of your own, or, as it is, from four small networks
# that it trains in PyTorch alone on a phantom. The form is the paper's; the data are not, and neither are the numbers.
#
# All output is written into `gallery_nacl` in the current folder.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk
import torch

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.calibration import CalibrationStatistics, total
from nnunet_nacl.losses import FocalLoss, LabelSmoothingLoss, NACLLoss
from nnunet_nacl.report.prepare_reliability import prepare_reliability
from nnunet_nacl.report.reliability import plot_reliability
from nnunet_nacl.study.run import load_run

OWN = None  # yours, evaluated: ("stock/fold_0/validation", "nacl/fold_0/validation")
WORK = Path("gallery_nacl")
WORK.mkdir(exist_ok=True)
LOSSES = {
    "cross-entropy": torch.nn.CrossEntropyLoss(),
    "label smoothing": LabelSmoothingLoss(0.1),
    "focal": FocalLoss(gamma=3),
    "NACL": NACLLoss(weight=0.1),
}

# %% [markdown]
# ## Four networks
#
# Each has three convolutions and sees four slices of two cases over and over, which makes a network overconfident. They differ in the
# loss alone: same start, same slices, same steps. The slices of four other cases are held out.


# %%
def slices(task, cases):
    """Return images ``(B, 1, Y, X)`` and labels ``(B, Y, X)`` of the slices in the middle of the cases."""
    images, labels = [], []
    for name in cases:
        for found, folder in ((images, "imagesTr"), (labels, "labelsTr")):
            array = sitk.GetArrayFromImage(sitk.ReadImage(task / folder / f"{name}.nii.gz"))
            middle = len(array) // 2
            found.append(array[middle - 1 : middle + 1])
    image = torch.tensor(np.concatenate(images)[:, None], dtype=torch.float64)
    return image, torch.tensor(np.concatenate(labels), dtype=torch.int64)


def trained(loss, image, label):
    """Return a small network after 150 steps on a few slices."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(channels, 12, 5, padding=2) for channels in (1, 12)]
    last = torch.nn.Conv2d(12, 3, 1)
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), last).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        logits = network(image)
        loss(logits, label if isinstance(loss, torch.nn.CrossEntropyLoss) else label[:, None]).backward()
        optimizer.step()
    return network


def of_phantom():
    """Train a network with each loss and return what each says of the cases that it was not trained on."""
    task = WORK / "Task99_Phantom"
    if not task.exists():
        write_task(task, n_cases=6)
    names = [f"phantom_{number:03d}" for number in range(6)]
    image, label = slices(task, names[:2])
    new_image, new_label = slices(task, names[2:])
    mean, deviation = image.mean(), image.std()
    found = {}
    for name, loss in LOSSES.items():
        network = trained(loss, (image - mean) / deviation, label)
        with torch.no_grad():
            probabilities = network((new_image - mean) / deviation).softmax(1).movedim(1, 0).numpy()
        found[name] = CalibrationStatistics.empty(num_classes=3)
        found[name].update(probabilities, new_label.numpy())
    return found


if OWN is None:
    statistics = of_phantom()
else:
    runs = [load_run(Path(folder)) for folder in OWN]
    statistics = {run.name: total(run.statistics.values()) for run in runs}

# %% [markdown]
# ## The figure
#
# A bar per bin of confidence: its height is the share of voxels that are right. The paper takes the voxels of the `foreground`, that is, chosen by
# their label; `predicted` asks the fairer question (why: [voxel sets](../scores.md#voxel-sets)). Below each diagram is the share of voxels.

# %%
for voxel_set in ("foreground", "predicted"):
    size = (2.3 * len(statistics), 3.2)
    figure, axes = plt.subplots(
        2, len(statistics), figsize=size, sharex=True, squeeze=False, layout="constrained", height_ratios=(4, 1)
    )
    for (name, of_run), (diagram, share) in zip(statistics.items(), axes.T, strict=True):
        plot_reliability(prepare_reliability(of_run, voxel_set), diagram, share, name)
    figure.savefig(WORK / f"{voxel_set}.svg")

# %% [markdown]
# ## What it shows
#
# `gap` is confidence minus accuracy in `predicted`: above 0 is overconfident. `inside` is the confidence over all voxels, most of them far from any
# border.

# %%
print(f"{'loss':16} {'accuracy':>8} {'gap':>6} {'inside':>7}")
for name, of_run in statistics.items():
    predicted, everywhere = of_run.scores("predicted"), of_run.scores("all")
    print(f"{name:16} {predicted.accuracy:8.2f} {predicted.gap:+6.2f} {everywhere.confidence:7.2f}")

# %% [markdown]
# Cross-entropy is overconfident here; each of the others is less confident. NACL pulls the *logits* towards the shares of the classes around a voxel,
# so that at its optimum the confidence is 1 - weight / K, here 0.967, also where nothing is in doubt
# ([why](../trainers.md#what-nacl-promises-and-what-it-does-not)). Whether a smaller gap is a better network is a second question: look at the accuracy.
#
# ## What next
#
# - With nnU-Net: `nnUNetv2_train ... -tr nnUNetTrainerNACL --npz`, `nnunet-nacl evaluate`, and `OWN` above; [trainers](../trainers.md).
# - The same losses on real data, three folds each: [hippocampus](../results/hippocampus.md).
# - Is a difference chance? [Compare two trainings](compare_two_trainings.md).
#
# ## Limits
#
# Tiny networks, two cases to learn from and one training each: the order of the losses here says nothing about yours.
