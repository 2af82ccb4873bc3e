"""What `validate --images` writes and prints: the result of each member, and all side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_nacl.evaluation.case_groups import Groups
from nnunet_nacl.evaluation.folder_result import FolderResult

if TYPE_CHECKING:
    from rich.table import Table

    from nnunet_nacl.validation.test_set import TestSetResult


def write_test_set(found: TestSetResult, output: Path, groups: Groups | None) -> FolderResult:
    """Write a result for each member, ensemble.json beside them, print one table, and return the last member's result.

    Of a single fold its result is written and printed as `evaluate` does.
    """
    from nnunet_nacl.commands.results import write_and_print, write_result_files
    from nnunet_nacl.evaluation.store import clear_store
    from nnunet_nacl.report.console import table_console
    from nnunet_nacl.validation.disagreement_file import DisagreementStore, ensemble_content, write_ensemble
    from nnunet_nacl.validation.test_set import member_folder

    members = list(found.members)
    if len(members) == 1:
        (result,) = found.members.values()
        write_and_print(result, output, groups)
        clear_store(output)
        return result
    summaries = {}
    for name, result in found.members.items():
        folder = member_folder(output, name, members)
        folder.mkdir(exist_ok=True)
        summaries[name], _ = write_result_files(result, folder, groups)
        clear_store(folder)
    prints = {case.case.name: case.fingerprint for case in result.cases}
    content = ensemble_content(summaries, found.disagreement, prints)
    path = write_ensemble(content, output)
    DisagreementStore(output).clear()
    table_console().print(side_by_side(content))
    for line in disagreement_lines(content):
        print(line)
    print(f"wrote {', '.join(members)} in {output}, and {path}")
    print(f"are the ensembles different? nnunet-nacl compare {output / members[-2]} {output / members[-1]}")
    return result


def side_by_side(content: dict[str, Any]) -> Table:
    """Return the table of the members: Dice and calibration, mean over cases."""
    from nnunet_nacl.report.console import plain_table
    from nnunet_nacl.report.terminal import format_score

    table = plain_table("Mean over cases")
    table.add_column("")
    of_sets = [(voxels, score) for voxels in ("all", "predicted") for score in ("ECE", "NLL", "Brier")]
    for heading in ("Dice", *(f"{score}\n{voxels}" for voxels, score in of_sets)):
        table.add_column(heading, justify="right")
    for name, scores in content["members"].items():
        values = [scores["Dice"], *(scores[voxels][score] for voxels, score in of_sets)]
        table.add_row(name.replace("_", " "), *map(format_score, values))
    return table


def disagreement_lines(content: dict[str, Any]) -> list[str]:
    """Return in words how far the folds disagree."""
    from nnunet_nacl.report.terminal import format_score

    found = content["disagreement"]
    dice = ", ".join(
        f"{found['labels'][target]} {format_score(value)}" for target, value in found["pairwise_dice"].items()
    )
    return [
        f"folds disagree by {format_score(found['mutual_information'])} nats of mutual information in all voxels, "
        f"{format_score(found['mutual_information_foreground'])} where one of them finds a structure",
        f"pairwise Dice of the folds: {dice}",
    ]
