"""``nnunet-nacl volumes fit`` and ``nnunet-nacl volumes apply``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.commands.fits import (
    add_apply,
    add_fit,
    read_fit_input,
    read_predicted,
    warn,
    with_probabilities,
    write_table,
)
from nnunet_nacl.errors import InputError

if TYPE_CHECKING:
    from nnunet_nacl.decisions.case_table import CaseTable
    from nnunet_nacl.decisions.volume_fit import VolumeFit

COLUMNS = ("case", "class", "name", "volume_ml", "lower_ml", "upper_ml", "level", "way", "predicted_ml", "warning")

DIFFERS = "the saved segmentation is not that of the probabilities"

# decisions.volumes.WAYS; not imported, so that --help is instant
WAYS = ("hard", "soft", "hard_adaptive", "soft_adaptive")


def add(commands: Commands) -> None:
    """Add the command, its two steps and their arguments."""
    text = "volume of each structure in ml, with an interval for the true volume of a new case"
    parser = commands.add_parser(
        "volumes",
        help=text,
        description=f"{text}. What the interval guarantees is on the page Volumes and triage of the documentation.",
    )
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    fit = add_fit(steps, "fit the intervals on the results of validation folders", "VOLUMES_JSON")
    fit.set_defaults(run=run_fit)
    apply = add_apply(steps, "write the volumes of new predictions with their intervals", "VOLUMES_JSON")
    apply.add_argument("--way", choices=WAYS, default=None,
                       help="how volumes and errors are measured (default: as `fit` chose for each structure). The interval is valid only if you choose "
                            "the way without looking at the results of the fit")  # fmt: skip
    apply.set_defaults(run=run_apply)


def run_fit(parsed: argparse.Namespace) -> int:
    """Run ``fit`` and return its exit status."""
    from nnunet_nacl.decisions.volume_fit import VolumeFit, fit_volumes
    from nnunet_nacl.files.fit_files import write
    from nnunet_nacl.files.output_folder import output_folder

    evaluated, groups = read_fit_input(parsed)
    if evaluated.table.mask_sums is None:
        warn(
            ["some results are of an older version and do not say how uncertain each voxel is, so intervals of adaptive width are left out; run "
             "`nnunet-nacl evaluate` on these folders again"]
        )  # fmt: skip
    content = with_probabilities(fit_volumes(evaluated, parsed.level, groups), evaluated)
    with output_folder(parsed.o.parent):
        write(content, parsed.o)
    fit = VolumeFit(parsed.o)
    _print_fit(content)
    for key, entry in content["structures"].items():
        print(f"{fit.bias_in_words(key, entry['chosen'])}; `apply` corrects for the median error.")
    warn(fit.sentences)
    print(_guarantee(content))
    print(f"wrote {parsed.o}")
    return 0


def _print_fit(content: dict[str, Any]) -> None:
    from rich.text import Text

    from nnunet_nacl.report.console import plain_table, table_console

    units = "cases" if content["unit"] == "case" else "patients"
    level = f"{100 * content['level']:g} %"
    table = plain_table(
        f"{content['n_units']} {units}, each left out in turn; {content['smallest_number']} are the fewest for {level}",
        padding=0,
    )
    table.add_column("structure and way", overflow="fold")
    for heading in ("left out,\ninside", "median\nwidth", "bias"):
        table.add_column(heading, no_wrap=True)
    n_cases = len(content["cases"])
    for entry in content["structures"].values():
        table.add_row(Text(f"{entry['name']}, {n_cases - entry['n_absent']} of {n_cases} cases"))
        for way, found in entry["ways"].items():
            left_out, bias = found["leave_one_out"], entry["bias"][way.partition("_")[0]]
            table.add_row(
                f"  {way.replace('_', ', ')}{' (used)' if way == entry['chosen'] else ''}",
                "needs one more" if left_out is None else _share(left_out["coverage"], left_out["coverage_interval"]),
                "" if left_out is None else f"{left_out['median_relative_width']:.0%}",
                "" if "adaptive" in way else _bias(bias),
            )
    table_console().print(table)
    print(
        f"For hard and soft, the share of left-out {units} inside the interval follows from their number alone (except for ties and whole voxels), whatever was predicted. "
        "It says nothing about the network; the widths do. A width is a share of the predicted volume."
    )
    used = [
        f"{entry['name']} {entry['chosen_bounds']['median_relative_width']:.0%}"
        for entry in content["structures"].values()
    ]
    print(f"Median width of the intervals of `apply`, as in compare and report: {', '.join(used)}.")
    if content["n_units_for_choice"]:
        rest = content["n_units"] - content["n_units_for_choice"]
        print(
            f"How to measure (the way) was chosen on {content['n_units_for_choice']} of the {units}, and the interval was fitted on the other {rest}. "
            "A way that is narrowest among the former may be wider in this table; to choose by the table would make intervals that hold less often."
        )
    else:
        print(
            f"There are too few {units} to choose how to measure (the way) on some and to fit on the others, so hard is used."
        )


def _guarantee(content: dict[str, Any]) -> str:
    """Return what the intervals are worth, in words; no promise where a result left out contradicts it."""
    level = f"{100 * content['level']:g} %"
    differ = [
        entry["name"]
        for entry in content["structures"].values()
        if entry["across_results"] and entry["across_results"]["below_the_level"]
    ]
    if differ:
        return (
            f"The intervals would hold for {level} of new cases if these were drawn like all cases of the fit together. But intervals fitted without one of the results "
            f"did not hold in it ({', '.join(differ)}), so nothing is guaranteed for another network, or an ensemble."
        )
    over = (
        "all such cases"
        if content["unit"] == "case"
        else "patients (with equal weights, whatever number of cases they have; not over cases)"
    )
    return (
        f"If new cases are drawn like those of the fit (exchangeable: same networks, scanners, kind of patients), the intervals hold for {level} of "
        f"them, each structure by itself, on average over {over} and fits (marginal). For a single patient, or a subgroup of patients, nothing is guaranteed; "
        "what breaks it is on the page Volumes and triage of the documentation."
    )


def _share(share: float, interval: list[float]) -> str:
    return f"{share:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


def _bias(bias: dict[str, Any]) -> str:
    ends = "" if bias["share_low"] is None else f" ({bias['share_low']:+.1%} to {bias['share_high']:+.1%})"
    return f"{bias['share']:+.1%}{ends}"


def run_apply(parsed: argparse.Namespace) -> int:
    """Run ``apply`` and return its exit status."""
    from nnunet_nacl.decisions.volume_fit import VolumeFit
    from nnunet_nacl.files.output_folder import output_folder

    fit = VolumeFit(parsed.fit)
    table, _ = read_predicted(parsed, fit)
    rows = _rows(fit, table, parsed.way)
    with output_folder(parsed.o.parent):
        write_table(COLUMNS, rows, parsed.o)
    for case, _, name, volume, low, high, level, *_ in rows:
        print(f"{case}: {name} {_ml(volume)} ml ({_ml(low)} to {_ml(high)}, {100 * level:g} %)")
    for key, way in dict.fromkeys((str(row[1]), str(row[7])) for row in rows):
        print(f"{fit.bias_in_words(key, way)}; these volumes are corrected, predicted_ml is not.")
    warn(fit.sentences)
    outside = [f"{row[0]}, {row[2]}: {row[-1]}" for row in rows if row[-1] and not row[-1].startswith(DIFFERS)]
    if outside:
        warn([f"{len(outside)} of {len(rows)} volumes are outside of the range of the fit, where the intervals need not hold: "
              f"{'; '.join(outside[:3])}{' ...' if len(outside) > 3 else ''}"])  # fmt: skip
    if table.soft is None:
        warn(["not every case has a softmax file (.npz): the intervals are those of segmentations alone"])
    print(f"wrote {parsed.o}")
    return 0


def _rows(fit: VolumeFit, table: CaseTable, wanted: str | None) -> list[tuple[Any, ...]]:
    """Return the rows of the table, by case and structure."""
    from nnunet_nacl.decisions.volumes import base_of

    by_structure = []
    for place, (key, name) in enumerate(fit.structures.items()):
        volumes, interval = table.volumes(place), fit.interval(key)
        if wanted is not None and (wanted not in volumes.ways or wanted not in interval.bounds):
            raise InputError(
                f"--way {wanted} needs a softmax file (.npz) of every case, and a fit on results that contain soft volumes."
            )
        way = wanted or interval.way_for(volumes)
        low, high = interval.apply(volumes, wanted)
        columns = interval.estimate(volumes, wanted), low, high, base_of(volumes, way)
        warnings = fit.warnings(key, volumes)
        by_structure.append(
            [
                (case, key, name, *_rounded(columns, row, fit.level, way), _with_remarks(warnings[row], table, row))
                for row, case in enumerate(table.cases)
            ]
        )
    return [row for of_case in zip(*by_structure, strict=True) for row in of_case]


def _rounded(columns: Any, row: int, level: float, way: str) -> tuple[Any, ...]:
    """Return volume, ends and predicted volume of a case, without the noise of floating point; nine digits hold any whole voxel."""
    volume, low, high, predicted = (float(f"{column[row]:.9g}") for column in columns)
    return volume, low, high, level, way, predicted


def _with_remarks(warning: str, table: CaseTable, row: int) -> str:
    from nnunet_nacl.evaluation.remarks import SEGMENTATION_DIFFERS

    remark = table.remarks[row].get(SEGMENTATION_DIFFERS) if table.remarks else None
    said = "" if remark is None else f"{DIFFERS} ({remark}), which count here"
    return "; ".join(part for part in (warning, said) if part)


def _ml(volume: float) -> str:
    """Return a volume with as many digits as help: four of a large one, three of a small one."""
    return f"{volume:.0f}" if volume >= 1000 else f"{volume:.3g}"
