"""How the commands say how far they are, and how many there are of something."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jvcr.cli import terminal

if TYPE_CHECKING:
    from rich.console import Console


def count(number: int, what: str) -> str:
    """A number and its noun, as in "1 face" and "1,200 faces"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


@contextmanager
def counting(
    what: str,
    total: int | Callable[[], int | None] | None = None,
    enabled: bool = True,
    console: Console | None = None,
    speed: bool = False,
) -> Iterator[Callable[[int], None]]:
    """A bar, or without a total a count, on a terminal, with speed how many come in a second; gives what moves it on.

    A total that takes long to find may be a function, which is called by a thread of its own. Other lines can be
    printed on its console meanwhile; by default that is one of its own, on stderr.
    """
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:.1f}/s")

    class Completed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.completed:,}" + (f"/{task.total:,}" if task.total is not None else ""))

    columns: list[ProgressColumn] = [TextColumn(what), TextColumn("{task.completed:,}")]
    if total is not None:
        columns = [TextColumn(what), BarColumn(), Completed()]
    columns += [Speed()] * speed + [TimeRemainingColumn()] * (total is not None)
    errors = console or terminal.console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not (enabled and errors.is_terminal)) as bar:
        task = bar.add_task(what, total=None if callable(total) else total)
        if callable(total) and not bar.disable:
            threading.Thread(target=lambda: bar.update(task, total=total()), daemon=True).start()
        yield lambda count: bar.advance(task, count)
