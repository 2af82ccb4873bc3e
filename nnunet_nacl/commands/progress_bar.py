"""The progress bar of commands that go through cases, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[str, int, int], None]
"""Called with what is being done, the number of finished cases, and of all."""


@contextmanager
def progress_bar(description: str) -> Iterator[Advance]:
    """Show a bar during a block and give the function that moves it."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description)
        yield lambda what, done, of: progress.update(task, description=what, completed=done, total=of)
