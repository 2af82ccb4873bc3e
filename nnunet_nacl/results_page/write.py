"""Writing the pages of a study with their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from nnunet_nacl.benchmark.config.study import CONFIG_FILE, Study, TaskEntry
from nnunet_nacl.errors import InputError, first_line
from nnunet_nacl.evaluation.provenance import today
from nnunet_nacl.files.output_folder import prepare_folder
from nnunet_nacl.files.whole_file import replacing
from nnunet_nacl.results_page.page import Figures, page
from nnunet_nacl.results_page.reliability_figure import prepare_panels, write_reliability_figure
from nnunet_nacl.results_page.task_results import CURVES, TaskResults, read_task

T = TypeVar("T")


def write_pages(study: Study, tasks: Sequence[TaskEntry], configuration: Path, output: Path) -> Iterator[str]:
    """Write ``<dataset>.md`` and its figures for each task that is evaluated; give a line for each file, and each task left out.

    Args:
        study: the study.
        tasks: those of its tasks that are asked for.
        configuration: its file.
        output: folder of the pages; made if missing.

    Raises:
        InputError: nothing is evaluated, the folder cannot be written to, or results are not as `nnunet-nacl evaluate` writes them.
    """
    found = {task.dataset: _checked(study, task.dataset, partial(read_task, study, task)) for task in tasks}
    if not any(found.values()):
        raise InputError(
            f"{study.folder}: no task has a trainer with all folds evaluated. `nnunet-nacl benchmark status` says how far it is."
        )
    prepare_folder(output)
    for dataset, results in found.items():
        if results is None:
            yield f"{dataset}: no trainer is evaluated in all folds yet"
        else:
            yield from _checked(study, dataset, partial(_write, results, configuration, output))


def _checked(study: Study, dataset: str, make: Callable[[], T]) -> T:
    """Return what a function returns, with one line in place of a traceback where a file is not as we write it."""
    try:
        return make()
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"{study.folder}: the results of {dataset} are not as nnunet-nacl writes them ({type(error).__name__}: "
            f"{first_line(error)}). Remove markers/evaluate/{dataset} and run the study again."
        ) from error


def _write(results: TaskResults, configuration: Path, output: Path) -> list[str]:
    """Write a task's page and figures and return a line for each."""
    dataset = results.task.dataset
    reliability = output / f"{dataset}_reliability.svg"
    curves = output / f"{dataset}_{CURVES}.svg" if results.curves_figure is not None else None
    figures = Figures(reliability.name, None if curves is None else curves.name)
    content = page(results, configuration.read_text(encoding="utf-8"), figures, output, today())
    write_reliability_figure(prepare_panels(results), reliability)
    written = [reliability]
    if curves is not None and results.curves_figure is not None:
        with replacing(curves) as temporary:
            temporary.write_bytes(results.curves_figure.read_bytes())
        written.append(curves)
    path = output / f"{dataset}.md"
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return [f"wrote {name}" for name in (*written, path)]


def configuration_file(path: Path) -> Path:
    """Return the configuration file, given it or its folder."""
    return path / CONFIG_FILE if path.is_dir() else path
