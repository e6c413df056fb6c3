"""Stopping politely: Ctrl-C, or SIGTERM, is a wish that the loop grants after its step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any


class Interrupt:
    """Within ``with``, the first Ctrl-C or SIGTERM sets `requested` and calls ``notice``; a second stops at once."""

    def __init__(self, notice: Callable[[], None]) -> None:
        self.requested = False
        self._notice = notice
        self._process = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for s in before:
                signal.signal(s, self._request)
        except ValueError:  # not the main thread: nothing to catch there
            return self
        self._before = before
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _request(self, signum: int, frame: object) -> None:
        if os.getpid() != self._process:
            return  # a worker, which inherits this: it ends when the loop does
        self.requested = True
        self._notice()
        self._restore()

    def _restore(self) -> None:
        for s, handler in self._before.items():
            signal.signal(s, handler)
