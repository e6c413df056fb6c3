"""What readers do with faces that cannot be used: they are left out, counted and named, or the reader stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_NAMED = 5
"""How many faults a message names; it counts them all."""


class Fault(NamedTuple):
    """A face that cannot be used.

    Attributes:
        text: which, and why.
        split: that it belongs to; "" where that cannot be known, or there are no splits.
    """

    text: str
    split: str = ""


def settle(root: Path, faults: Sequence[Fault], total: int, strict: bool) -> tuple[Fault, ...]:
    """The faults of a data set, if the rest of it can be used.

    Args:
        root: the data set's folder.
        faults: one for each face that cannot be used.
        total: faces of the data set, those included.
        strict: whether one fault is one too many.

    Raises:
        ValueError: ``strict`` and there are faults, or no face is left.
    """
    if faults and (strict or len(faults) >= total):
        raise ValueError(
            f"{root}: {len(faults)} of {total} faces cannot be used: {named([fault.text for fault in faults])}"
        )
    return tuple(faults)


def named(texts: Sequence[str]) -> str:
    """The first of many texts in one line, and how many more there are."""
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more
