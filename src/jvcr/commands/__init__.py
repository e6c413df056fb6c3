"""The functions behind the sub-commands of ``jvcr``: thin, and quick to import."""
