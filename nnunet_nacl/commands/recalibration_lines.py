"""What `recalibrate` says in words: what was fitted on what, and what to beware of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

REMARKS = {
    "separable": "no voxel is wrong ({where}), so the fit has no optimum: nothing is changed there",
    "flat": "all classes are equally probable in every voxel ({where}): no factor changes anything",
    "no_voxel": "never predicted in the voxels that are fitted on ({where}): nothing is changed there",
    "not_labelled": "no voxel is labelled {where}: it gets the one factor of all classes (margins: the slope of by-prediction, no offset)",
    "at_bound": "a fitted parameter is at the limit of its range ({where}): too few voxels are wrong, or all of them",
}
"""By :attr:`nnunet_nacl.recalibration.methods.base.Remark.what`."""

MOST_NAMES = 6

EXACT = (
    ("n_exact_left_out", "with all probability on one class left out (outside of nnU-Net's crop)"),
    ("n_exact_and_wrong", "of these have another label: no recalibration can correct them"),
    ("n_floored", "with a probability of 0, taken as the floor"),
)


def fit_lines(content: dict[str, Any]) -> list[str]:
    """Return the lines under the table of ``fit``, given the content of temperature.json."""
    counts, parts = content["counts"], (content["cross_fit"] or {"parts": []})["parts"]
    lines = [f"{content['method']}, fitted on all cases: {_numbers(content, content)}"]
    names = _short_names(content["cross_fit"])
    lines += [f"  without {name}: {_numbers(content, part)}" for name, part in zip(names, parts, strict=True)]
    lines.append(f"fitted on {counts['n_fitted']} voxels of the set `{content['voxel_set']}`")
    if counts["subsampled"]:
        lines[-1] += f", drawn from {counts['subsampled']['of']}"
    if content["groups"]:
        lines.append(
            f"{len(content['groups'])} cases in {len(set(content['groups'].values()))} groups, each scored with what was fitted "
            "without its group; intervals are over groups"
        )
    if content.get("ensemble"):
        lines.append(_ensemble(content["ensemble"]))
    for key, text in EXACT:
        number = sum(problem[key] for problem in counts["problems"].values())
        if number:
            lines.append(f"  {number} voxels {text}")
    lines += dict.fromkeys(f"warning: {text}" for fitted in (content, *parts) for text in _warnings(fitted))
    return [*lines, *(harm_lines(content["harm"]["in_words"]) or [_no_harm(content)])]


def _short_names(cross_fit: dict[str, Any] | None) -> list[str]:
    """Return the names of the parts; folders by what tells them apart: ``fold_0`` for ``.../fold_0/validation``."""
    from nnunet_nacl.evaluation.part_names import differing_parts

    names = [str(part["name"]) for part in (cross_fit or {"parts": []})["parts"]]
    return differing_parts([Path(name) for name in names]) if cross_fit and cross_fit["by"] == "folder" else names


def _ensemble(found: dict[str, Any]) -> str:
    """Return the temperature of an ensemble, and what it was made from."""
    of_folds = found["temperatures_of_folders"]
    return (
        f"ensemble of {len(found['folders'])} folds: temperature about {found['temperature']:.4f}, estimated without labels: that of one "
        f"fold, {sum(of_folds) / len(of_folds):.4f}, times {found['variance_ratio']:.3f}, the variance of the mean logits in {found['n_cases']} cases over that of a fold's"
    )


def harm_lines(in_words: Sequence[str]) -> list[str]:
    """Return what got worse on cases that were not fitted on, a line each, with a heading; none where nothing did."""
    if not in_words:
        return []
    return [
        "warning: this recalibration makes worse, on cases that it was not fitted on:",
        *(f"  {text}" for text in in_words),
    ]


def _no_harm(content: dict[str, Any]) -> str:
    if not content["scores"]["held_out"]:
        return f"a single {'group' if content['groups'] else 'case'}: whether scores got worse cannot be checked on other cases"
    return (
        "nothing got worse on cases that it was not fitted on (ECE, NLL, Brier in `all` and `predicted`; soft volumes)"
    )


def _warnings(fitted: dict[str, Any]) -> Iterator[str]:
    for fit in fitted["fits"]:
        if not fit["converged"]:
            yield f"the optimiser did not converge: {fit['message']}"
        for remark in fit["remarks"]:
            yield REMARKS[remark["what"]].format(where=_some(remark["where"]) or "all classes")


def _some(names: Sequence[str]) -> str:
    """Return the first names: with 105 classes there are thousands of pairs."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _numbers(content: dict[str, Any], fitted: dict[str, Any]) -> str:
    """Return temperatures with the name of what each is of, or how many numbers a map of margins has."""
    temperatures, names = fitted.get("temperatures"), content["channels"]
    if temperatures is None:
        return f"slopes and offsets of {len(names)} {'classes' if content['kind'] == 'softmax' else 'regions'}"
    if content["method"] == "temperature":
        return f"temperature {temperatures[0]:.4f}"
    if content["kind"] == "sigmoid" and content["method"] == "by-prediction":
        pairs = (f"{name} {outside:.4f} outside, {inside:.4f} inside" for name, (outside, inside) in zip(names, temperatures, strict=True))  # fmt: skip
        return "temperatures " + "; ".join(pairs)
    each = (f"{name} {value:.4f}" for name, value in zip(names, temperatures, strict=True))
    return "temperatures " + ", ".join(each)
