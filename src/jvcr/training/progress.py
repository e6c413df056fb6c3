"""Telling how far a run is: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from jvcr.training.loss import Losses, Stage

LINE_EVERY_SECONDS = 60.0


class Progress:
    """Rate, losses, validation and time left of a run of ``total`` steps; all processes but the first keep silent."""

    def __init__(self, total: int, enabled: bool = True) -> None:
        self.total = total
        self.console = Console(stderr=True, quiet=not enabled, soft_wrap=True)
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[status]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not (enabled and self.console.is_terminal),
        )
        self._task = self._bar.add_task("training", total=total, status="", visible=False)
        self._recent: deque[tuple[float, int, float, list[float]]] = deque(maxlen=200)
        self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @contextmanager
    def reading(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar for reading images; gives the function to call with the number read."""
        task = self._bar.add_task(f"reading {what} images", total=total, status="")
        yield lambda done: self._bar.update(task, completed=done)
        self._bar.remove_task(task)

    def step(self, step: int, stage: Stage, losses: Losses, faces: int, waited: float) -> None:
        """A step is done; ``waited`` are the seconds it stood waiting for its examples."""
        now = time.monotonic()
        self._recent.append((now, faces, waited, [float(loss) for loss in losses]))
        span = max(now - self._recent[0][0], 1e-9)
        rate = sum(r[1] for r in list(self._recent)[1:]) / span
        mean = self.mean_losses(len(self._recent))
        waiting = sum(r[2] for r in list(self._recent)[1:]) / span
        status = (
            f"{rate:.0f} faces/s, waited {waiting:.0%}, L_vox {mean['voxel']:.4g}, L_coord {mean['coordinate']:.4g}"
        )
        self._bar.update(self._task, description=f"stage: {stage}", completed=step, status=status, visible=True)
        if not self.console.is_terminal and (now - self._last_line > LINE_EVERY_SECONDS or step == self.total):
            self._last_line = now
            left = (self.total - step) * faces / max(rate, 1e-9) / 60
            self.console.print(f"step {step}/{self.total} ({stage}) {status}, {left:.0f} min left", highlight=False)

    def mean_losses(self, steps: int) -> dict[str, float]:
        """Of the latest steps, by name; terms that there are not are left out."""
        recent = [r[3] for r in list(self._recent)[-steps:]]
        means = {
            name: sum(values) / len(recent)
            for name, values in zip(Losses._fields, zip(*recent, strict=True), strict=True)
        }
        return {name: mean for name, mean in means.items() if mean or name in ("voxel", "coordinate")}

    def validated(self, figures: dict[str, float]) -> None:
        """Validation figures, percent."""
        self.note("validation: " + ", ".join(f"{k} {v:.3f} %" for k, v in figures.items()))

    def note(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(text, highlight=False)

    def note_interrupt(self) -> None:
        """What Ctrl-C does, written past all buffers: the signal may have come in the middle of printing another line.

        Python refuses to print while it prints.
        """
        if not self.console.quiet:
            with contextlib.suppress(OSError, ValueError):  # where stderr is no file, nobody waits for the line
                text = "\nstopping after this step; press Ctrl-C again to stop without saving\n"
                os.write(self.console.file.fileno(), text.encode())
