"""What readers do with faces that cannot be used: they are left out, counted and named, or the reader stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_NAMED = 5
"""How many skipped faces a message names; it counts them all."""


class Skipped(NamedTuple):
    """A face that cannot be used: which one and why, and its split, "" where that is unknown or there are none."""

    text: str
    split: str = ""


def raise_if_strict(root: Path, skipped: Sequence[Skipped], kept: int, strict: bool) -> None:
    """Raises a ValueError where faces of a folder were skipped, and one is too many (``strict``) or none was kept."""
    if skipped and (strict or not kept):
        named = summary([face.text for face in skipped])
        raise ValueError(f"{root}: {len(skipped)} of {kept + len(skipped)} faces cannot be used: {named}")


def summary(texts: Sequence[str]) -> str:
    """The first of many texts in one line, and how many more there are."""
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more
