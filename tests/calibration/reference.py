"""Calibration figures computed the slow way, one voxel and one bin at a time, straight from the definitions."""

import math

import numpy as np

SETS = {
    "all": lambda label, prediction: True,
    "foreground": lambda label, prediction: label != 0,
    "union": lambda label, prediction: label != 0 or prediction != 0,
    "predicted": lambda label, prediction: prediction != 0,
}


def which_bin(probability, n_bins):
    for number in range(n_bins):
        if probability * n_bins <= number + 1:
            return number
    return n_bins - 1


def binned(pairs, n_bins):
    """pairs of (probability, happened) -> list of (count, mean probability, frequency), None for an empty bin."""
    bins = [[] for _ in range(n_bins)]
    for probability, happened in pairs:
        bins[which_bin(probability, n_bins)].append((probability, happened))
    return [(len(b), sum(p for p, _ in b) / len(b), sum(h for _, h in b) / len(b)) if b else None for b in bins]


def ece(pairs, n_bins):
    filled = [b for b in binned(pairs, n_bins) if b]
    total = sum(count for count, _, _ in filled)
    return sum(count * abs(p - f) for count, p, f in filled) / total if total else math.nan


def reference(probabilities, labels, voxel_set, n_bins=15, ignore_label=None):
    """probabilities (K, N), labels (N,) -> dict of scores."""
    num_classes = len(probabilities)
    voxels = [
        (probabilities[:, i].astype(float), int(labels[i])) for i in range(labels.size) if labels[i] != ignore_label
    ]
    present = {label for _, label in voxels}
    chosen = [(p, label) for p, label in voxels if SETS[voxel_set](label, int(np.argmax(p)))]
    top = [(p.max(), int(np.argmax(p)) == label) for p, label in chosen]
    filled = [b for b in binned(top, n_bins) if b]
    gaps = [abs(p - f) for _, p, f in filled]
    class_wise = [
        ece([(p[k], label == k) for p, label in chosen], n_bins) if k in present else math.nan
        for k in range(num_classes)
    ]
    defined = [value for value in class_wise if not math.isnan(value)]
    n = len(chosen)
    return {
        "n_voxels": n,
        "accuracy": sum(right for _, right in top) / n if n else math.nan,
        "confidence": sum(p for p, _ in top) / n if n else math.nan,
        "ece": ece(top, n_bins),
        "ace": sum(gaps) / len(gaps) if gaps else math.nan,
        "mce": max(gaps) if gaps else math.nan,
        "class_wise_ece": class_wise,
        "mean_class_wise_ece": sum(defined) / len(defined) if defined else math.nan,
        "nll": sum(-math.log(max(p[label], 1e-12)) for p, label in chosen) / n if n else math.nan,
        "brier": sum(sum((p[k] - (label == k)) ** 2 for k in range(num_classes)) for p, label in chosen) / n
        if n
        else math.nan,
    }
