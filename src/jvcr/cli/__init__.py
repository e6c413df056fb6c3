"""The command line: one module for each command, imported when it is called."""

from jvcr.cli.app import main, make_app

__all__ = ["main", "make_app"]
