"""What `validate --fit` does, writes and prints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_nacl.evaluation.case_groups import Groups
    from nnunet_nacl.evaluation.folder_result import FolderResult
    from nnunet_nacl.validation.cross_validation import Options
    from nnunet_nacl.validation.fit import Fitted
    from nnunet_nacl.validation.model import TrainedModel


def validate_and_fit(
    parsed: argparse.Namespace, model: TrainedModel, labels: Path, output: Path, options: Options, groups: Groups | None
) -> FolderResult:
    """Validate a model and fit a recalibration; write and print both, and return the result of the validation."""
    from nnunet_nacl.commands.progress_bar import progress_bar
    from nnunet_nacl.commands.results import write_and_print
    from nnunet_nacl.evaluation.store import clear_store
    from nnunet_nacl.files.output_folder import prepare_folder
    from nnunet_nacl.recalibration import fit
    from nnunet_nacl.recalibration.guarantees import DEFAULT_METHOD
    from nnunet_nacl.validation import fit as in_memory

    prepare_folder(parsed.fit.parent)  # before anything is computed
    chosen = fit.Options(method=parsed.method or DEFAULT_METHOD, n_bins=parsed.bins, groups=groups)
    with progress_bar("validating") as advance:
        fitted = in_memory.validate_and_fit(model, labels, output, options, chosen, advance)
    write_and_print(fitted.result, output, groups)
    clear_store(output)
    _write_and_print_fit(fitted, parsed.fit)
    return fitted.result


def _write_and_print_fit(fitted: Fitted, path: Path) -> None:
    """Write temperature.json and print what `recalibrate fit` prints, and how large the scratch files were."""
    from nnunet_nacl.commands.recalibration_lines import fit_lines
    from nnunet_nacl.files.fit_files import write
    from nnunet_nacl.recalibration.temperature_content import compared, content_of
    from nnunet_nacl.report.console import table_console
    from nnunet_nacl.report.recalibration_table import prepare_recalibration_table

    content = content_of(fitted.fit)
    content["compared"] = compared({})
    write(content, path)
    table_console().print(prepare_recalibration_table(content))
    for line in fit_lines(content):
        print(line)
    print(f"scratch files of the voxels that were fitted on: {fitted.scratch_bytes / 1e6:.1f} MB, gone now")
    print(f"wrote {path}")
