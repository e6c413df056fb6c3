"""What readers do with faces that cannot be used: they are left out, counted and named, or the reader stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_NAMED = 5
"""How many faults a message names; it counts them all."""


def settle(root: Path, faults: Sequence[str], total: int, strict: bool) -> tuple[str, ...]:
    """The faults of a data set, if the rest of it can be used.

    Args:
        root: the data set's folder.
        faults: one line for each face that cannot be used.
        total: faces of the data set, those included.
        strict: whether one fault is one too many.

    Raises:
        ValueError: ``strict`` and there are faults, or no face is left.
    """
    if faults and (strict or len(faults) >= total):
        raise ValueError(f"{root}: {len(faults)} of {total} faces cannot be used: {named(faults)}")
    return tuple(faults)


def named(faults: Sequence[str]) -> str:
    """The first faults in one line, and how many more there are."""
    more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return "; ".join(faults[:_NAMED]) + more
