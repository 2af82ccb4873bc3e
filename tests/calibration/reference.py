"""Calibration figures computed the slow way, one voxel and one bin at a time, straight from the definitions."""

import math

import numpy as np

SETS = {
    "all": lambda label, prediction: True,
    "foreground": lambda label, prediction: label != 0,
    "union": lambda label, prediction: label != 0 or prediction != 0,
    "predicted": lambda label, prediction: prediction != 0,
    "boundary": lambda label, prediction: False,  # without a spacing there is no distance
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


def mean_defined(values):
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def gap_scores(pairs, n_bins):
    """ECE, ACE, MCE of pairs."""
    filled = [b for b in binned(pairs, n_bins) if b]
    gaps = [abs(p - f) for _, p, f in filled]
    return (ece(pairs, n_bins), sum(gaps) / len(gaps), max(gaps)) if gaps else (math.nan,) * 3


def reference(probabilities, labels, voxel_set, n_bins=15, ignore_label=None, sets=SETS):
    """probabilities (K, N), labels (N,) -> dict of scores."""
    num_classes = len(probabilities)
    voxels = [
        (probabilities[:, i].astype(float), int(labels[i])) for i in range(labels.size) if labels[i] != ignore_label
    ]
    present = {label for _, label in voxels}
    chosen = [(p, label) for p, label in voxels if sets[voxel_set](label, int(np.argmax(p)))]
    top = gap_scores([(p.max(), int(np.argmax(p)) == label) for p, label in chosen], n_bins)
    n = len(chosen)

    def mean(values):
        return math.fsum(values) / n if n else math.nan

    def one_against_rest(function):
        return [
            function([(p[k], label == k) for p, label in chosen]) if k in present else math.nan
            for k in range(num_classes)
        ]

    class_wise = one_against_rest(lambda pairs: ece(pairs, n_bins))
    return {
        "n_voxels": n,
        "accuracy": mean(int(np.argmax(p)) == label for p, label in chosen),
        "confidence": mean(p.max() for p, label in chosen),
        "ece": top[0],
        "ace": top[1],
        "mce": top[2],
        "class_wise_ece": class_wise,
        "class_wise_ace": one_against_rest(lambda pairs: gap_scores(pairs, n_bins)[1]),
        "class_wise_mce": one_against_rest(lambda pairs: gap_scores(pairs, n_bins)[2]),
        "thresholded_class_wise_ece": one_against_rest(lambda pairs: ece([x for x in pairs if x[0] > 1e-3], n_bins)),
        "mean_class_wise_ece": mean_defined(class_wise),
        "nll": mean(-math.log(max(p[label], 1e-12)) for p, label in chosen),
        "brier": mean(sum((p[k] - (label == k)) ** 2 for k in range(num_classes)) for p, label in chosen),
    }
