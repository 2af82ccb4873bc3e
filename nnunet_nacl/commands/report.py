"""``nnunet-nacl report``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_nacl.commands.arguments import Commands, natural
from nnunet_nacl.commands.groups import add_groups, groups_of
from nnunet_nacl.commands.messages import warning

if TYPE_CHECKING:
    from nnunet_nacl.calibration.arrays import FloatArray
    from nnunet_nacl.study.run import Run


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    text = "write evaluated runs as one HTML file that opens offline"
    parser = commands.add_parser(
        "report", help=text, description=f"{text}. Several results are compared with the first."
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT",
                        help="output folder of `nnunet-nacl evaluate` or `merge`, or the evaluated prediction folder; join the results of "
                             "one trainer that was trained several times on the same folds with commas: they are one RESULT")  # fmt: skip
    parser.add_argument(
        "-o", type=Path, default=Path("report.html"), metavar="FILE", help="file to write (default: %(default)s)"
    )
    parser.add_argument("--images", type=Path, default=None, metavar="FOLDER",
                        help="nnU-Net's imagesTr or imagesTs, to show the images of the worst cases too")  # fmt: skip
    parser.add_argument(
        "--voxel-set",
        default="predicted",
        help="voxel set that ranks the cases and that the case table shows (default: %(default)s)",
    )
    parser.add_argument(
        "--worst",
        type=natural,
        default=6,
        metavar="N",
        help="number of worst cases with pictures (default: %(default)s)",
    )
    parser.add_argument("--figures", type=Path, default=None, metavar="DIR",
                        help="also write the diagrams into this folder, as SVG and PDF files, one column (84 mm) wide")  # fmt: skip
    parser.add_argument("--lesions", type=Path, nargs="+", default=(), metavar="FOLDER",
                        help="output folder of `nnunet-nacl lesions` for each RESULT, in their order (default: the folder `lesions` next to the "
                             "predictions, if there is one)")  # fmt: skip
    for option in ("-djfile", "-pfile"):
        parser.add_argument(option, type=Path, default=None, metavar="FILE",
                            help=f"{'dataset' if option == '-djfile' else 'plans'}.json, for the pictures of the worst cases "
                                 "(default: the file that the evaluation read)")  # fmt: skip
    add_groups(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from nnunet_nacl.errors import InputError
    from nnunet_nacl.report.case_files import Given
    from nnunet_nacl.report.figures import write_figures
    from nnunet_nacl.report.html import write_report
    from nnunet_nacl.report.page_content import Options, prepare_page
    from nnunet_nacl.study.names import distinctly_named, without_repetition
    from nnunet_nacl.study.run import load_repeated, trainings_of

    if parsed.images is not None and not parsed.images.is_dir():
        raise InputError(f"{parsed.images}: no such folder. Pass nnU-Net's imagesTr as --images.")
    given = Given(parsed.images, parsed.djfile, parsed.pfile)
    distinct, repeated = without_repetition(map(load_repeated, parsed.results))
    runs = [_able_to_predict(run) for run in distinctly_named(distinct)]
    page = prepare_page(runs, Options(parsed.voxel_set, given, parsed.worst, groups_of(parsed), tuple(parsed.lesions)))
    write_report(page, parsed.o)
    print(f"wrote {parsed.o}")
    for sentence in (
        *(f"{run.folder} was given more than once, and is shown once." for run in repeated),
        *page.left_out,
        *page.not_shown,
    ):
        warning(f"{parsed.o}: {sentence}")
    if parsed.figures is not None:
        if sys.stderr.isatty():
            print("drawing the diagrams", file=sys.stderr)
        shown = [training for run in runs for training in trainings_of(run)]
        for path in write_figures(shown, parsed.figures):
            print(f"wrote {path}")
    return 0


def _able_to_predict(run: Run) -> Run:
    """Return a result that knows how to predict its cases again, where `validate` has predicted them in memory."""
    run = replace(run, repeats=tuple(_able_to_predict(repeat) for repeat in run.repeats))
    if run.summary["provenance"]["files"].get("predicted") is None:
        return run
    from nnunet_nacl.validation.predict_again import predict_again  # PyTorch and nnU-Net, which no other report needs

    again = predict_again(run)
    if again is None:
        return run

    def announced(case: str) -> FloatArray:
        print(f"predicting {case} again for its pictures (--worst 0 leaves them out)", file=sys.stderr)
        return again(case)

    return replace(run, predict_again=announced)
