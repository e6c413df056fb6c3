"""What readers do with faces that cannot be used: they are left out, counted and summary, or the reader stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_NAMED = 5
"""How many skipped faces a message names; it counts them all."""


class Skipped(NamedTuple):
    """A face that cannot be used.

    Attributes:
        text: which, and why.
        split: that it belongs to; "" where that cannot be known, or there are no splits.
    """

    text: str
    split: str = ""


def raise_if_strict(root: Path, skipped: Sequence[Skipped], total: int, strict: bool) -> tuple[Skipped, ...]:
    """The skipped faces of a data set, if the rest of it can be used.

    Args:
        root: the data set's folder.
        skipped: one for each face that cannot be used.
        total: faces of the data set, those included.
        strict: whether one skipped face is one too many.

    Raises:
        ValueError: ``strict`` and faces were skipped, or no face is left.
    """
    if skipped and (strict or len(skipped) >= total):
        raise ValueError(
            f"{root}: {len(skipped)} of {total} faces cannot be used: {summary([s.text for s in skipped])}"
        )
    return tuple(skipped)


def summary(texts: Sequence[str]) -> str:
    """The first of many texts in one line, and how many more there are."""
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more
