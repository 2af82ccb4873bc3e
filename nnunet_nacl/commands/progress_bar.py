"""The progress bar of commands that go through cases, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Advance = Callable[[str, int, int], None]
"""Called with what is being done, the number of finished cases, and of all."""


@contextmanager
def progress_bar(description: str) -> Iterator[Advance]:
    """Show a bar during a block and give the function that moves it."""
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with bar_that_vanishes_on_failure(*columns) as progress:
        task = progress.add_task(description)
        yield lambda what, done, of: progress.update(task, description=what, completed=done, total=of)


@contextmanager
def bar_that_vanishes_on_failure(*columns: ProgressColumn) -> Iterator[Progress]:
    """Show a bar on standard error that stays when the block ends well, and makes room for the error when it does not."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*columns, console=Console(stderr=True)) as progress:
        try:
            yield progress
        except BaseException:
            progress.live.transient = True
            progress.live.stop()
            progress.disable = True  # or it ends with an empty line where standard error is no terminal
            raise
