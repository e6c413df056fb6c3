"""What the service takes at most, and what it answers to the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True)
class Limits:
    """Bounds of a service; beyond them it answers with an error and its memory does not grow.

    Attributes:
        max_bytes: length of a request's body, or of a frame.
        max_pixels: of an image; its header tells before anything is decoded.
        max_images: in a request to the batch route.
        max_faces: of an image or a frame, the most certain ones; the others are left out.
        max_waiting: images that wait for a free thread; the next one is told to come again (503).
        max_streams: WebSocket connections at the same time.
        max_seconds: for a body or a frame to arrive, and again for its answer to be ready.
        HEAD_BYTES: length of a request's head.

    Raises:
        ValueError: a bound is not above 0, or infinite, or a batch could never be taken.
    """

    HEAD_BYTES: ClassVar[int] = 32_768

    max_bytes: int = 10_000_000
    max_pixels: int = 25_000_000
    max_images: int = 16
    max_faces: int = 100
    max_waiting: int = 32
    max_streams: int = 8
    max_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise ValueError(f"{field.name} must be above 0 and finite, got {value}")
        if self.max_images > self.max_waiting:
            raise ValueError(
                f"max_images ({self.max_images}) must not be above max_waiting ({self.max_waiting}): the images of a "
                "batch are taken together, or not at all"
            )

    @property
    def max_held_bytes(self) -> int:
        """Of all bodies that are arriving: as many of the longest ones as images may wait."""
        return self.max_bytes * self.max_waiting


class RefusedError(Exception):
    """A request that is not served: the status of HTTP, what is wrong, and seconds after which to come again."""

    def __init__(self, status: int, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after
