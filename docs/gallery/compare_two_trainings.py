# %% [markdown]
# # Compare two trainings
#
# This script compares a new training with an old one, paired over the cases, with an interval, a test and a verdict, to see whether the
# difference could be chance. It runs as it is, on a phantom with simulated "trainings" of known quality; then set `OWN` to two folders
# that `nnunet-nacl evaluate` has evaluated, and run it again.
#
# All output is written into `gallery_compare` in the current folder.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.evaluation import evaluate_folder, summarize, write_result, write_summary
from nnunet_nacl.report.prepare_reliability import prepare_reliability_over_cases
from nnunet_nacl.report.reliability import plot_reliability
from nnunet_nacl.study.cautions import cautions, describe
from nnunet_nacl.study.comparison import compare_runs
from nnunet_nacl.study.run import load_run

OWN = None  # yours, the old training first: ("old/fold_0/validation", "new/fold_0/validation")
WORK = Path("gallery_compare")
WORK.mkdir(exist_ok=True)

# %% [markdown]
# ## The trainings
#
# All of them predict the phantom's 20 cases, whose true probabilities are known:
#
# - `old` is overconfident: the true probabilities, squared;
# - `calmer` is less overconfident: the true probabilities to the power of 1.3;
# - `blurred` is `old` with its probabilities smoothed over the neighbours: less confident, and fine shapes are lost;
# - `again` imitates a second training of `old`: each case is a little more or less confident, by chance.


# %%
def trainings(truth, rng):
    """Return what each training says of a case."""
    smeared = np.stack([gaussian_filter(channel, 1.5) for channel in truth])
    raised = {"old": truth**2, "calmer": truth**1.3, "blurred": smeared**2, "again": truth ** rng.normal(2, 0.3)}
    return {name: values / values.sum(0) for name, values in raised.items()}


def phantom():
    """Write the predictions of each training, evaluate them, and return the folders with the results."""
    task = WORK / "Task99_Phantom"
    if not task.exists():
        write_task(task)
    labels = {"background": 0, "body": 1, "cap": 2}
    dataset = {"labels": labels, "channel_names": {"0": "phantom"}, "file_ending": ".nii.gz", "numTraining": 20}
    plans = {"dataset_name": "Dataset099_Phantom", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO"}
    files = [WORK / "dataset.json", WORK / "plans.json"]
    files[0].write_text(json.dumps(dataset))
    files[1].write_text(json.dumps({**plans, "label_manager": "LabelManager", "configurations": {}}))
    rng, names = np.random.default_rng(0), set()
    for file in sorted((task / "posteriorTr").glob("*.npz")):
        for name, probabilities in trainings(np.load(file)["probabilities"], rng).items():
            names.add(name)
            (WORK / name).mkdir(exist_ok=True)
            np.savez_compressed(WORK / name / file.name, probabilities=probabilities)
    for name in names:
        result = evaluate_folder(task / "labelsTr", WORK / name, *files)
        (WORK / name / "calibration").mkdir(exist_ok=True)
        write_summary(summarize(result), WORK / name / "calibration")
        write_result(result, WORK / name / "calibration")
    return [WORK / name for name in ("old", "calmer", "blurred", "again")]


base, *others = [load_run(Path(folder)) for folder in OWN or phantom()]

# %% [markdown]
# ## Look first
#
# All cases together, where a structure is predicted. At most three runs are shown.

# %%
runs = [base, *others][:3]
figure, axes = plt.subplots(
    2, len(runs), figsize=(2.8 * len(runs), 3.6), sharex=True, layout="constrained", height_ratios=(4, 1)
)
for run, (diagram, share) in zip(runs, axes.T, strict=True):
    bars = prepare_reliability_over_cases(list(run.statistics.values()), "predicted")
    plot_reliability(bars, diagram, share, run.name)
figure.savefig(WORK / "diagrams.svg")

# %% [markdown]
# ## Case by case
#
# Each dot is a case: its ECE with the old training (x) and with the other one (y). Below the line the other training is better. Cases
# differ more from one another than trainings do, so only the distance from the line counts: this is what *paired* means. If all dots are
# on one side of the line, the trainings differ; if they are on both sides, the difference may be chance.


# %%
def errors(run):
    """Return the ECE of each case in the voxel set `predicted`."""
    found = {case["case"]: case["voxel_sets"]["predicted"]["ECE"] for case in run.summary["metric_per_case"]}
    return {case: np.nan if error is None else error for case, error in found.items()}


figure, axes = plt.subplots(1, len(others), figsize=(2.7 * len(others), 2.9), squeeze=False, layout="constrained")
for run, panel in zip(others, axes[0], strict=True):
    pairs = np.array([(errors(base)[case], error) for case, error in errors(run).items() if case in errors(base)])
    panel.plot(*pairs.T, "o", markersize=4)
    panel.axline((0, 0), slope=1, color="0.4", linestyle="--", linewidth=1)
    below = int((pairs[:, 1] < pairs[:, 0]).sum())
    panel.set(xlabel=f"ECE, {base.name}", ylabel=f"ECE, {run.name}", title=f"{below} of {len(pairs)} lower")
figure.savefig(WORK / "pairs.svg")

# %% [markdown]
# ## The verdict
#
# Choose the scores **before** you see results: each row is a test, and p is adjusted (Holm) for all of them. Here: Dice, and ECE and NLL in the
# two voxel sets in which a calibrated network has an ECE of 0. `nnunet-nacl compare` prints the same.

# %%
comparison = compare_runs(base, others, ("Dice", "ECE", "NLL"), ("all", "predicted"))
for run in comparison.runs:
    print(f"{run.name} against {base.name}, {len(comparison.cases)} cases")
    for one in comparison.of_run(run.name):
        numbers = f"{one.result.difference:+.4f} ({one.result.low:+.4f} to {one.result.high:+.4f})"
        p = "     -" if np.isnan(one.p_holm) else "<0.001" if one.p_holm < 0.001 else f" {one.p_holm:.3f}"
        print(f"  {describe(one.quantity):16} {numbers:30} p {p}  {one.verdict}")

# %% [markdown]
# What the words mean:
#
# - **better**, **worse**: such a difference is unlikely to be chance, over all tests of this call (adjusted p below 0.05), and the interval
#   of the mean excludes 0. `calmer` is better calibrated, as it was simulated.
# - **unclear**: the difference could be chance. This does not say that the trainings are equal: check how wide the interval is. `again` is
#   the same training, and `unclear` is the right answer.
# - **no test**: too few cases differ. `calmer` and `again` have exactly the segmentations of `old`, so there is no difference in Dice to test.
# - **mixed** (not here): most cases differ in one direction, and a few cases differ strongly in the other. Look at the dots.
#
# All of this is about *these networks on other patients*. Whether the loss is better, that is, whether the result would be the same if both were
# trained again, is another question: it needs five folds of each ([two questions](../comparing.md#two-questions)).
#
# ## Cautions

# %%
for text in cautions(comparison):
    print(f"- {text}")

# %% [markdown]
# `blurred` is an example: a network that segments worse can have the smaller calibration error, since it is less confident. Read Dice first.
#
# The number of cases matters too: with only the first five cases no difference can be significant, however large it is.

# %%
few = comparison.cases[:5]
lower = sum(errors(others[0])[case] < errors(base)[case] for case in few)
print(
    f"{others[0].name}: ECE is lower in {lower} of {len(few)} cases; the smallest possible p is {2 / 2 ** len(few):.4f}"
)

# %% [markdown]
# ## What next
#
# - Several folds: join each training's folds into one folder with `nnunet-nacl merge`, and compare these folders. All columns and rules:
#   [comparing runs](../comparing.md).
# - A report with pictures for others: `nnunet-nacl report`, [how to read it](../report.md).
# - Which trainer to try: [trainers](../trainers.md). Is one of them [overconfident](is_my_model_overconfident.md)?
#
# ## Limits
#
# The tests are about other *cases*. What another *run* of the same training would give can be seen only from further runs. The simulated
# trainings differ in simple ways; the figures say nothing about real losses.
