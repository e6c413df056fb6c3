"""The stages of use, each clocked within the very call that users make."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jvcr.benchmark.clock import Task
from jvcr.inference.detector import Detector
from jvcr.inference.landmarker import Landmarker
from jvcr.viz.landmarks import draw_faces

DETECTION = ("decode", "detect")
STAGES = ("crop", "network", "read-out")
"""What follows once it is known where the faces are. The network's stage begins with its pixels as floats; the read-out
is landmarks mapped back, confidence and pose."""

TOGETHER, DRAWING = "together", "drawing"


class StageClock:
    """A landmarker whose calls tell how long each of their stages took; none may have more than ``most_faces``."""

    def __init__(self, weights: str | Path, threads: int, detector: Detector, most_faces: int) -> None:
        self.landmarker = Landmarker(weights, threads, max_batch=most_faces)
        self._marks: list[float] = []
        network = self.landmarker._network
        network.run = self._marked(network.run)  # type: ignore[method-assign]
        self.landmarker.detector = self._marked(detector)

    def _marked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, noting when it begins and when it is done."""

        def run(*arguments: Any) -> Any:
            self._marks.append(time.perf_counter())
            result = function(*arguments)
            self._marks.append(time.perf_counter())
            return result

        return run

    def call(
        self,
        image: bytes | NDArray[np.uint8],
        boxes: NDArray[np.floating] | None = None,
        drawn: NDArray[np.uint8] | None = None,
    ) -> dict[str, float]:
        """Seconds of each stage of one call of the landmarker; None has the faces found, and none drawn."""
        self._marks = [time.perf_counter()]
        faces = self.landmarker(image, boxes, "landmarks")
        self._marks.append(time.perf_counter())
        names = STAGES if boxes is not None else (*DETECTION, *STAGES)
        if drawn is not None:
            draw_faces(drawn, faces, self.landmarker.scheme)
            self._marks.append(time.perf_counter())
            names = (*names, DRAWING)
        seconds = np.diff(self._marks).tolist()
        return {**dict(zip(names, seconds, strict=True)), TOGETHER: self._marks[-1] - self._marks[0]}

    def photo(self, encoded: bytes, pixels: NDArray[np.uint8]) -> Task:
        """An image file in memory, of which nothing is known: everything from its bytes to its landmarks drawn."""
        return Task("photo", self.landmarker.threads, 1, lambda: self.call(encoded, drawn=pixels))

    def frame(self, pixels: NDArray[np.uint8], box: NDArray[np.floating]) -> Task:
        """A frame of a video with one face, where it was in the frame before: its landmarks, drawn."""
        return Task("frame", self.landmarker.threads, 1, lambda: self.call(pixels, box[None], drawn=pixels))

    def faces(self, pixels: NDArray[np.uint8], box: NDArray[np.floating], batch: int) -> Task:
        """The landmarks of several faces whose boxes are known, in one batch: one face again and again."""
        boxes = np.repeat(box[None], batch, axis=0)
        return Task("face", self.landmarker.threads, batch, lambda: self.call(pixels, boxes))
