"""``nnunet-nacl volumes fit`` and ``nnunet-nacl volumes apply``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nnunet_nacl.commands.arguments import Commands
from nnunet_nacl.commands.fits import add_apply, add_fit, read_fit_input, read_predicted, warn, write_table

if TYPE_CHECKING:
    from nnunet_nacl.decisions.case_table import CaseTable
    from nnunet_nacl.decisions.volume_fit import VolumeFit

COLUMNS = ("case", "class", "name", "volume_ml", "lower_ml", "upper_ml", "level", "way", "warning")


def add(commands: Commands) -> None:
    """Add the command, its two steps and their arguments."""
    text = "how large each structure is, in ml, with an interval that holds the true volume of a new case"
    parser = commands.add_parser(
        "volumes", help=text, description=f"{text}. docs/decisions.md says what that guarantees."
    )
    steps = parser.add_subparsers(title="steps", required=True, metavar="STEP")
    fit = add_fit(steps, "fit the intervals on evaluated validation folders", "VOLUMES_JSON")
    fit.set_defaults(run=run_fit)
    apply = add_apply(steps, "volumes with intervals of new predictions", "VOLUMES_JSON")
    apply.set_defaults(run=run_apply)


def run_fit(parsed: argparse.Namespace) -> int:
    """Run ``fit`` and return its exit status."""
    from nnunet_nacl.decisions.fit_file import write
    from nnunet_nacl.decisions.volume_fit import across_in_words, fit_volumes
    from nnunet_nacl.evaluation.output import output_folder

    evaluated, groups = read_fit_input(parsed)
    content = fit_volumes(evaluated, parsed.level, groups)
    with output_folder(parsed.o.parent):
        write(content, parsed.o)
    _print_fit(content)
    warn(across_in_words(content))
    print(f"wrote {parsed.o}")
    return 0


def _print_fit(content: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    units = "cases" if content["unit"] == "case" else "patients"
    level = f"{100 * content['level']:g} %"
    table = Table("structure", "way", f"coverage at {level}", "mean width", "bias of the volume",
                  title=f"{content['n_units']} {units}, each left out in turn; {content['smallest_number']} are the fewest for {level}",
                  title_justify="left")  # fmt: skip
    for entry in content["structures"].values():
        for way, found in entry["ways"].items():
            left_out, bias = found["leave_one_out"], entry["bias"][way.partition("_")[0]]
            table.add_row(
                entry["name"] if way == next(iter(entry["ways"])) else "",
                f"{way.replace('_', ', ')}{' (chosen)' if way == entry['chosen'] else ''}",
                "needs one more" if left_out is None else _share(left_out["coverage"], left_out["coverage_interval"]),
                "" if left_out is None else f"{left_out['mean_relative_width']:.0%} of the volume",
                "" if bias is None or "adaptive" in way else _bias(bias),
            )
    Console().print(table)
    print(
        f"The intervals hold for {level} of new cases like these, on average over such fits; for one patient they promise nothing. "
        "docs/decisions.md says what breaks that."
    )


def _share(share: float, interval: list[float]) -> str:
    return f"{share:.2f} ({interval[0]:.2f} to {interval[1]:.2f})"


def _bias(bias: dict[str, Any]) -> str:
    ends = "" if bias["interval"] is None else f" ({bias['interval'][0]:+.1%} to {bias['interval'][1]:+.1%})"
    return f"{bias['mean']:+.1%}{ends}"


def run_apply(parsed: argparse.Namespace) -> int:
    """Run ``apply`` and return its exit status."""
    from nnunet_nacl.decisions.volume_fit import VolumeFit
    from nnunet_nacl.evaluation.output import output_folder

    fit = VolumeFit(parsed.fit)
    table, _ = read_predicted(parsed, fit)
    rows = _rows(fit, table)
    with output_folder(parsed.o.parent):
        write_table(COLUMNS, rows, parsed.o)
    for case, _, name, volume, low, high, level, _, _ in rows:
        print(f"{case}: {name} {_ml(volume)} ml ({_ml(low)} to {_ml(high)}, {100 * level:g} %)")
    outside = [f"{row[0]}, {row[2]}: {row[-1]}" for row in rows if row[-1]]
    if outside:
        warn([f"{len(outside)} of {len(rows)} volumes lie outside of what the fit saw, where the intervals need not hold: "
              f"{'; '.join(outside[:3])}{' ...' if len(outside) > 3 else ''}"])  # fmt: skip
    if table.soft is None:
        warn(["not every case has a softmax file (.npz): the intervals are those of segmentations alone"])
    print(f"wrote {parsed.o}")
    return 0


def _rows(fit: VolumeFit, table: CaseTable) -> list[tuple[Any, ...]]:
    """Return the rows of the table, by case and structure."""
    by_structure = []
    for place, (key, name) in enumerate(fit.structures.items()):
        volumes, interval = table.volumes(place), fit.interval(key)
        way = interval.way_for(volumes)
        low, high = interval.apply(volumes, way)
        base = volumes.soft if way.startswith("soft") and volumes.soft is not None else volumes.hard
        warnings = fit.warnings(key, volumes)
        by_structure.append(
            [
                (case, key, name, float(base[row]), float(low[row]), float(high[row]), fit.level, way, warnings[row])
                for row, case in enumerate(table.cases)
            ]
        )
    return [row for of_case in zip(*by_structure, strict=True) for row in of_case]


def _ml(volume: float) -> str:
    """Return a volume with as many digits as help: four of a large one, three of a small one."""
    return f"{volume:.0f}" if volume >= 1000 else f"{volume:.3g}"
