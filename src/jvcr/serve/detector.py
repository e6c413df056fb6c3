"""A detector for the service: any thread may call it, and it finds no more faces than there is time for."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.inference.detector import Detector


class BoundedDetector:
    """The faces of another detector; if there are too many, the most certain ones.

    It may be called by several threads at the same time; where the other one must not, they take turns.

    Args:
        detector: finds the faces.
        max_faces: how many are given at most.
    """

    concurrent = True

    def __init__(self, detector: Detector, max_faces: int) -> None:
        self._detector, self._max_faces = detector, max_faces
        together = getattr(detector, "concurrent", False)
        self._turn: contextlib.AbstractContextManager[object] = (
            contextlib.nullcontext() if together else threading.Lock()
        )

    def __call__(self, image: NDArray[np.uint8]) -> tuple[ArrayLike, ArrayLike]:
        """As `Detector` asks for."""
        with self._turn:
            boxes, scores = (np.asarray(part) for part in self._detector(image))
        if len(scores) <= self._max_faces:
            return boxes, scores
        kept = np.argsort(-scores, kind="stable")[: self._max_faces]
        return boxes[kept], scores[kept]
