"""Progress bars of the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting(what: str, total: int | None = None, enabled: bool = True) -> Iterator[Callable[[int], None]]:
    """A bar, or without a total a count, on a terminal; gives the function that moves it on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    columns: list[ProgressColumn] = [TextColumn(what), TextColumn("{task.completed:,}")]
    if total is not None:
        columns = [
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.completed:,}/{task.total:,}"),
            TimeRemainingColumn(),
        ]
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not (enabled and errors.is_terminal)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def running_total(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar; gives the function to call with how many are done so far."""
    with counting(what, total) as advance:
        before = 0

        def done(count: int) -> None:
            nonlocal before
            advance(count - before)
            before = count

        yield done
