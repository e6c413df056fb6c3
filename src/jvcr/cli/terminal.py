"""The terminal: whatever is printed, names of files above all, is text to it and never a command."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def printable(text: str, kept: str = "\n\t") -> str:
    r"""The text with escapes for what a terminal would obey or cannot show, such as \x1b; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in text)


class _Printable:
    """A stream that writes what is `printable`, and what rich writes as it is: its own colours, moves and bars."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        by_rich = sys._getframe(1).f_globals.get("__name__", "").startswith("rich.")
        return int(self._stream.write(text if by_rich else printable(text)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console(stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Where commands print tables, bars and lines: strings are taken as they are, without markup, and `printable`."""
    from rich.console import Console

    class PrintableConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    return PrintableConsole(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)


@contextlib.contextmanager
def clean_output() -> Iterator[None]:
    """What is printed within is `printable`, and libraries do not add what they think of images."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no é still gets the rest
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        sys.stdout, sys.stderr = (_Printable(stream) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
