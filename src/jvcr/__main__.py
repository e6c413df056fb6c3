"""``python -m jvcr``, the same as ``jvcr``."""

from jvcr.cli import main

main()
