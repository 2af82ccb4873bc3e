"""Whether calibration.json is as `nnunet-nacl evaluate` writes it, so that whoever reads it need not ask again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from nnunet_nacl.evaluation.summary import CLASS_SCORES, CONFIDENCES, SCORE_NAMES, WITHOUT_BINS

Check = Callable[[Any, str], None]

COUNTS = ("n_voxels", "n_floored", "n_certain")
VOLUMES = ("reference", "predicted", "soft")


def check_summary(summary: Any) -> None:
    """Raise ValueError, naming the place, unless every entry is there and of its type; other keys are left alone."""
    _entries({"protocol": _protocol, "provenance": _provenance})(summary, "")
    labels = list(summary["protocol"]["labels"])
    voxel_sets = list(summary["protocol"]["voxel_sets"])
    of_voxel_sets = _entries(dict.fromkeys(voxel_sets, _score))
    of_class = {"Dice": _score, "HD95": _score, **dict.fromkeys(CLASS_SCORES, of_voxel_sets)}
    scores = {name: _score if name not in WITHOUT_BINS else _or_absent for name in SCORE_NAMES}
    class_mean = _entries(of_class | {"n_defined": _count})
    case = {
        "case": _text,
        "reference_file": _text,
        "prediction_file": _text,
        "n_ignored": _count,
        "metrics": _exactly(labels, _of_case(of_class | {"n_ref": _count, "n_pred": _count, "volume_ml": _volumes})),
        "voxel_sets": _exactly(voxel_sets, _entries(scores | dict.fromkeys(COUNTS, _count))),
    }
    _entries(
        {
            "foreground_mean": class_mean,
            "mean": _exactly(labels, class_mean),
            "per_case": _exactly(voxel_sets, _entries(scores | {"n_cases": _count})),
            "pooled": _exactly(voxel_sets, _entries(scores | dict.fromkeys(COUNTS, _count))),
            "metric_per_case": _list_of(_entries(case)),
        }
    )(summary, "")
    for kind, remark in _mapping(summary.get("remarks", {}), "remarks").items():
        _entries({"meaning": _text, "cases": _mapping_of_texts})(remark, f"remarks.{kind}.")


def _entries(checks: Mapping[str, Check]) -> Check:
    """Return a check of a mapping that has these keys, and of the intervals beside its scores."""

    def check(value: Any, place: str) -> None:
        _expect(isinstance(value, dict), value, place, "a mapping")
        for key, of_entry in checks.items():
            if of_entry is _or_absent and key not in value:
                continue
            _expect(key in value, value, f"{place}{key}", "there")
            of_entry(value[key], f"{place}{key}.")
        for key, entry in value.items():
            if key.endswith("_interval"):
                _interval(entry, f"{place}{key}")

    return check


def _of_case(checks: Mapping[str, Check]) -> Check:
    """Return a check of the entry of a class in a case, which has no confidences in older files."""

    def check(value: Any, place: str) -> None:
        _entries(checks)(value, place)
        if "confidence" in value:
            _entries(dict.fromkeys(CONFIDENCES, _score))(value["confidence"], f"{place}confidence.")
        _volume(value["volume_ml"].get("spread"), f"{place}volume_ml.spread")

    return check


def _exactly(keys: Collection[str], of_entry: Check) -> Check:
    def check(value: Any, place: str) -> None:
        _entries(dict.fromkeys(keys, of_entry))(value, place)
        _expect(list(value) == list(keys), value, place, f"entries for {', '.join(keys)}")

    return check


def _list_of(of_entry: Check) -> Check:
    def check(value: Any, place: str) -> None:
        _expect(isinstance(value, list) and len(value) > 0, value, place, "a list")
        for number, entry in enumerate(value):
            of_entry(entry, f"{place}{number}.")

    return check


def _protocol(value: Any, place: str) -> None:
    _entries({"labels": _mapping_of_texts, "voxel_sets": _mapping_of_texts, "n_bins": _count, "n_cases": _count})(
        value, place
    )
    for key in ("nll_floor", "boundary_mm"):
        _expect(
            _is_number(value.get(key, 1)) and value.get(key, 1) >= 0, value.get(key), f"{place}{key}", "a number from 0"
        )
    _expect(value.get("nll_floor") != 0, value, f"{place}nll_floor", "above 0")


def _provenance(value: Any, place: str) -> None:
    _entries({"files": _entries({})})(value, place)
    for key in ("dataset_json", "plans_json", "labels"):
        _text(value["files"].get(key, ""), f"{place}files.{key}")
    for key in ("command", "created", "folder"):
        _text(value.get(key, ""), f"{place}{key}")
    _mapping_of_texts(value.get("versions", {"": ""}), f"{place}versions.")


def _mapping(value: Any, place: str) -> dict[str, Any]:
    _expect(isinstance(value, dict), value, place, "a mapping")
    return value  # type: ignore[no-any-return]


def _volumes(value: Any, place: str) -> None:
    _entries(dict.fromkeys(VOLUMES, _volume))(value, place)


def _volume(value: Any, place: str) -> None:
    _expect(value is None or (_is_number(value) and 0 <= value < 1e15), value, place, "a number from 0 or null")


def _mapping_of_texts(value: Any, place: str) -> None:
    _expect(isinstance(value, dict) and len(value) > 0, value, place, "a mapping")
    for key, entry in value.items():
        _text(key, place)
        _text(entry, f"{place}{key}")


def _text(value: Any, place: str) -> None:
    _expect(
        isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value),
        value,
        place,
        "a text",
    )


def _count(value: Any, place: str) -> None:
    _expect(type(value) is int and 0 <= value < 2**63, value, place, "a whole number from 0")


def _score(value: Any, place: str) -> None:
    _expect(value is None or _is_number(value), value, place, "a number or null")


def _or_absent(value: Any, place: str) -> None:
    """Take a score that older files do not have."""
    _score(value, place)


def _interval(value: Any, place: str) -> None:
    ends = value if isinstance(value, list) and len(value) == 2 else [None] if value is None else [""]
    for end in ends:
        _expect(end is None or _is_number(end), value, place, "two numbers or null")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _expect(holds: bool, value: Any, place: str, what: str) -> None:
    if not holds:
        raise ValueError(f"expected `{place.rstrip('.') or 'the file'}` to be {what}, but got {value!r:.80}")
