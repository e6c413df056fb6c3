"""Where what is found in a video goes: JSON lines, a CSV table, an annotated video."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.inference.tracker import TrackedFace
from jvcr.scheme import LandmarkScheme
from jvcr.video.sources import Frame
from jvcr.viz.landmarks import draw_faces

OUTPUT_SUFFIXES = (".mp4", ".jsonl", ".csv")
"""What can be written of a video."""

_LONGEST_PAUSE_S = 10.0
"""A longer pause between two frames is made this long in an annotated video, seconds."""

_CODECS = ("avc1", "mp4v")
"""Of an annotated video: H.264, or MPEG-4 Part 2 where this OpenCV has no encoder for it."""


@runtime_checkable
class Sink(Protocol):
    """A file that grows frame by frame."""

    def write(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        """Adds a frame."""

    def close(self) -> None:
        """Ends the file; what was written stays, whole."""


def open_sink(path: Path, scheme: LandmarkScheme, fps: float) -> Sink:
    """What writes a file of this suffix; an annotated video has so many frames a second."""
    if path.suffix.lower() == ".mp4":
        return _AnnotatedVideo(path, scheme, fps)
    return _JsonLines(path) if path.suffix.lower() == ".jsonl" else _CsvTable(path, scheme.num_landmarks)


def check_outputs(outputs: Sequence[Path], read: Sequence[Path]) -> None:
    """Sees to it, before any work is done, that outputs can be written and harm nothing.

    Raises:
        ValueError: an output has a suffix that is not written, is named twice, or is a file that is read.
    """
    taken = {os.path.realpath(path) for path in read}
    for path in outputs:
        if path.suffix.lower() not in OUTPUT_SUFFIXES:
            raise ValueError(f"{path} must end in one of {', '.join(OUTPUT_SUFFIXES)}, which says what is written")
        real = os.path.realpath(path)
        if real in taken:
            raise ValueError(f"{path} is read, or written already: choose another --out")
        taken.add(real)


def frame_record(frame: Frame, faces: Sequence[TrackedFace]) -> dict[str, Any]:
    """What is found in a frame, in plain types: ``frame``, ``time_s``, ``width``, ``height``, ``faces``."""
    height, width = frame.image.shape[:2]
    return {
        "frame": frame.number,
        "time_s": round(frame.time_s, 6),
        "width": width,
        "height": height,
        "faces": [face.to_dict() for face in faces],
    }


def csv_columns(num_landmarks: int) -> list[str]:
    """Names of the columns of a .csv file."""
    head = ["frame", "time_s", "id", "box_x0", "box_y0", "box_x1", "box_y1", "score", "yaw", "pitch", "roll"]
    return head + [f"{what}{i}" for i in range(num_landmarks) for what in ("x", "y", "z", "confidence")]


class _Lines:
    """A text file of whole lines, each of them in the file as soon as it is written."""

    def __init__(self, path: Path) -> None:
        self._path, self._bytes = path, 0
        self._file = path.open("w", buffering=1, encoding="ascii", newline="")

    def put(self, line: str) -> None:
        self._file.write(line + "\n")
        self._bytes += len(line) + 1

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:  # the error of the last line, met again
            os.truncate(self._path, self._bytes)


class _JsonLines(_Lines):
    def write(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        self.put(json.dumps(frame_record(frame, faces)))


class _CsvTable(_Lines):
    def __init__(self, path: Path, num_landmarks: int) -> None:
        super().__init__(path)
        self.put(",".join(csv_columns(num_landmarks)))

    def write(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        for face in frame_record(frame, faces)["faces"]:
            landmarks = [v for p, c in zip(face["points"], face["confidence"], strict=True) for v in (*p, c)]
            head = [frame.number, round(frame.time_s, 6), face["id"], *face["box"], face["score"]]
            row = [*head, face["yaw"], face["pitch"], face["roll"], *landmarks]
            self.put(",".join("" if value is None else str(value) for value in row))


class _AnnotatedVideo:
    """Frames with their faces, at a steady rate; all of the first one's size, others fitted into it."""

    def __init__(self, path: Path, scheme: LandmarkScheme, fps: float) -> None:
        self._path, self._scheme, self._fps = path, scheme, fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._shown: cv2.typing.MatLike = np.zeros((0, 0, 3), np.uint8)
        self._written = 0
        self._begin_s = self._last_s = 0.0

    def write(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        if self._writer is None:
            self._size = frame.image.shape[1], frame.image.shape[0]
            self._writer = _open_writer(self._path, self._fps, self._size)
            self._begin_s = self._last_s = frame.time_s
        self._begin_s += max(0.0, frame.time_s - self._last_s - _LONGEST_PAUSE_S)
        self._last_s = frame.time_s
        until = round((frame.time_s - self._begin_s) * self._fps) + 1
        if until <= self._written:
            return
        picture = _fitted(draw_faces(frame.image, faces, self._scheme), self._size)
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        while self._written < until:
            self._writer.write(bgr if self._written == until - 1 else self._shown)
            self._written += 1
        self._shown = bgr

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            # OpenCV tells no error in writing. Without its end, such a file cannot be read.
            written = cv2.VideoCapture(str(self._path))
            whole = written.isOpened()
            written.release()
            if not whole:
                raise OSError("the annotated video could not be written to its end, and is removed: is the disk full?")


def _open_writer(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    for codec in _CODECS:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
        if writer.isOpened():
            return writer
    raise OSError(
        f"this OpenCV cannot write a video of {size[0]} x {size[1]} pixels in any of the codecs {', '.join(_CODECS)}; "
        ".jsonl and .csv need none"
    )


def _fitted(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture as large as fits into a size, black around it."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    scale = min(size[0] / width, size[1] / height)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - columns) // 2, (size[1] - rows) // 2
    canvas[top : top + rows, left : left + columns] = cv2.resize(picture, (columns, rows), interpolation=method)
    return canvas
