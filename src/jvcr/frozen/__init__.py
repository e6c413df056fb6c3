"""What PyInstaller needs to know of jvcr; it asks by the entry point ``pyinstaller40``."""

from pathlib import Path


def hook_folders() -> list[str]:
    """Where ``hook-jvcr.py`` lies."""
    return [str(Path(__file__).parent)]
