"""``nnunet-nacl compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnunet_nacl.commands.arguments import Commands, natural, positive
from nnunet_nacl.commands.former import OptionWithoutEffect
from nnunet_nacl.commands.groups import add_groups, groups_of

DESCRIPTION = """\
Compare evaluated runs with a base over the cases that all of them have: mean differences with intervals over cases, and Wilcoxon
signed-rank tests adjusted (Holm) for all tests of this call. Each row of the table is a test, so choose scores and voxel sets before you
see results. The tests answer: would these networks differ in other patients too? To ask whether the trainers would differ if they were
trained again, first join each trainer's folds with `nnunet-nacl merge`; the joined folder is one RUN. With five or more folds there is
an interval and a test over trainings, and a verdict by fixed margins (see the page Protocol of the documentation)."""


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "compare",
        help="compare evaluated runs with a base: paired differences over cases, with intervals and tests",
        description=DESCRIPTION,
    )
    parser.add_argument("base", type=Path, metavar="BASE", help="result folder of the run to compare with")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN",
                        help="result folder of `nnunet-nacl evaluate`, or of `nnunet-nacl merge` for several folds; join the results of "
                             "one trainer that was trained several times on the same folds with commas: they are one RUN")  # fmt: skip
    parser.add_argument("--scores", nargs="+", default=None, metavar="SCORE",
                        help="scores to compare, by their names in calibration.json, or `all` (default: Dice ECE NLL)")  # fmt: skip
    parser.add_argument("--voxel-sets", nargs="+", default=None, metavar="SET",
                        help="voxel sets of the scores (default: every voxel set) and of the figure (default: all predicted)")  # fmt: skip
    parser.add_argument("--per-class", action="store_true", help="also compare each class")
    parser.add_argument("--parts", nargs="+", default=None, metavar="PART",
                        help="use only the cases of these folds of merged runs, such as fold_1 fold_2 (default: all)")  # fmt: skip
    add_groups(parser)
    for former, kind in (("--replicates", positive), ("--seed", natural)):
        parser.add_argument(former, type=kind, action=OptionWithoutEffect, why="intervals no longer use random numbers")
    parser.add_argument("-o", type=Path, default=None, metavar="FOLDER",
                        help="also write comparison.csv, comparison.json and comparison_decisions.csv into this folder")  # fmt: skip
    parser.add_argument(
        "--figure", type=Path, default=None, metavar="FILE", help="also draw reliability diagrams (.png, .svg, .pdf)"
    )
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.files.output_folder import prepare_folder
    from nnunet_nacl.report.comparison_table import print_comparison
    from nnunet_nacl.report.console import table_console
    from nnunet_nacl.report.decisions_table import print_quality
    from nnunet_nacl.report.reliability import write_reliability_of_runs
    from nnunet_nacl.study.comparison import DEFAULT_SCORES, compare_runs
    from nnunet_nacl.study.comparison_files import write_comparison
    from nnunet_nacl.study.decision_quality import quality_of
    from nnunet_nacl.study.run import load_repeated

    comparison = compare_runs(
        load_repeated(parsed.base),
        [load_repeated(folder) for folder in parsed.runs],
        parsed.scores or DEFAULT_SCORES,
        parsed.voxel_sets,
        parsed.per_class,
        parts=parsed.parts,
        groups=groups_of(parsed),
    )
    quality = quality_of(comparison)
    written = []
    if parsed.o is not None:
        prepare_folder(parsed.o)
        written += write_comparison(comparison, parsed.o, quality)
    if parsed.figure is not None:
        runs = (comparison.base, *comparison.runs)
        voxel_sets = parsed.voxel_sets or ("all", "predicted")
        write_reliability_of_runs(runs, comparison.cases, voxel_sets, parsed.figure)
        written.append(parsed.figure)
    console = table_console()
    print_comparison(comparison, console)
    names = [run.name for run in (comparison.base, *comparison.runs)]
    print_quality(quality, names, comparison.labels, console)
    for path in written:
        print(f"wrote {path}")
    return 0
