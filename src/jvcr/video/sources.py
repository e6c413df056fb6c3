"""Where the frames of a video come from: pictures, a file, a camera."""

from __future__ import annotations

import glob
import itertools
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.inference.image import IMAGE_SUFFIXES, read_image

DEFAULT_FPS = 30.0
"""Frames a second of pictures, and of a camera or a file that does not tell."""

_HIGHEST_FPS = 240.0
"""Some files name a finer clock, such as 1,000 ticks a second, as their frame rate."""

_MOST_MISSED, _MOST_MISSED_OF_CAMERA = 100, 3
"""After so many frames in a row that cannot be read a file counts as at its end, and a camera, which makes each of them
wait, as gone."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a video.

    Attributes:
        number: from 0, its place in the source.
        time_s: when it is shown, or was taken, in seconds from the source's beginning.
        image: (h, w, 3) RGB.
    """

    number: int
    time_s: float
    image: NDArray[np.uint8]


class PictureSequence:
    """Pictures as a video, at a steady rate.

    Args:
        files: number of a frame and its file, in their order; numbers may be left out, as dropped frames are.
        fps: frames a second.

    Attributes:
        fps: frames a second, on average, as far as is known.
        total: how many frames there should be; None where that is not known.
        files: what is read, and so must not be overwritten.
        unreadable: how many frames have been missing so far, or could not be read.
    """

    def __init__(self, files: Sequence[tuple[int, Path]], fps: float) -> None:
        self.fps = fps
        self.files = tuple(path for _, path in files)
        self.total: int | None = files[-1][0] + 1
        self.unreadable = 0
        self._numbered = tuple(files)

    def frames(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[Frame]:
        """The frames from one time on, up to another; those that cannot be read are counted and left out.

        Raises:
            ValueError: none of several pictures can be read; the message says what is wrong with the first.
        """
        expected, readable, fault = None, False, ""
        for number, path in self._numbered:
            time_s = number / self.fps
            if time_s < start_s:
                continue
            if time_s > stop_s:
                break
            self.unreadable += 0 if expected is None else number - expected
            expected = number + 1
            try:
                image = read_image(path)
            except (OSError, ValueError) as error:
                self.unreadable += 1
                fault = fault or str(error)
            else:
                readable = True
                yield Frame(number, time_s, image)
        if fault and not readable:
            raise ValueError(f"none of the pictures can be read; the first: {fault}")


class Capture:
    """A video file, or the camera of a number, by OpenCV; its attributes are those of a `PictureSequence`.

    Raises:
        ValueError: OpenCV cannot open it.
    """

    def __init__(self, source: Path | int) -> None:
        self._camera = isinstance(source, int)
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            raise ValueError(
                f"no camera {source} can be opened: is it there, free, and may this user read it?"
                if self._camera
                else f"{source} is not a video that OpenCV reads, or it was cut short; if a video player opens it, "
                "`ffmpeg -i IN OUT.mp4` makes one that it does read"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1 <= fps <= _HIGHEST_FPS else DEFAULT_FPS
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.total = int(count) if not self._camera and 0 < count < 1e9 else None
        self.files: tuple[Path, ...] = () if isinstance(source, int) else (source,)
        self.unreadable = 0

    def frames(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[Frame]:
        """As of a `PictureSequence`; those before the start are decoded too, so that numbers and times stay exact."""
        began_s = time.monotonic()
        number, last_s, missed, readable = -1, -math.inf, 0, 0
        most = _MOST_MISSED_OF_CAMERA if self._camera else _MOST_MISSED
        try:
            while missed < most:
                if not self._capture.grab():  # a damaged frame, or the end
                    missed += 1
                    continue
                number += 1 + missed
                self.unreadable += missed
                missed = 0
                time_s = time.monotonic() - began_s if self._camera else self._file_time_s(number)
                if time_s <= last_s:  # a file without times, or with wrong ones
                    time_s = last_s + 1 / self.fps
                last_s = time_s
                if time_s > stop_s:
                    return
                whole, bgr = self._capture.retrieve() if time_s >= start_s else (True, None)
                readable += whole
                self.unreadable += not whole
                if whole and bgr is not None:
                    yield Frame(number, time_s, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8))
            # Some damaged frames OpenCV steps over by itself: only the file's own count tells.
            if self.total is not None and any(_counts_frames(path) for path in self.files):
                self.unreadable = max(self.unreadable, self.total - readable)
        finally:
            self._capture.release()

    def _file_time_s(self, number: int) -> float:
        time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return time_s if math.isfinite(time_s) else number / self.fps


def _counts_frames(path: Path) -> bool:
    """Whether a file says how many frames it has, as AVI and MP4 do; of others OpenCV reckons it from their length."""
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError:  # it has gone meanwhile
        return False
    return begin[:4] == b"RIFF" or begin[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


Source: TypeAlias = "PictureSequence | Capture"


def open_source(name: str, fps: float | None = None) -> Source:
    """What a name given to the command means.

    Args:
        name: a video file; a folder of pictures, in the order of their names, where 10 comes after 9; a pattern of
            pictures, as ``frames/*.png`` or ``frame_%04d.png``; or the number of a camera.
        fps: frames a second of pictures; None is 30.

    Raises:
        FileNotFoundError: there is no such file, or nothing fits the pattern.
        ValueError: it is no video; a folder holds no picture; two pictures have one number; or a rate is given that
            nothing could use.
    """
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"the frame rate must be a number above 0, got {fps}")
    pictures = _pictures(name)
    if pictures:
        return PictureSequence(pictures, DEFAULT_FPS if fps is None else fps)
    if fps is not None:
        raise ValueError(f"a frame rate is for pictures, and {name} is a video or a camera, which tells its own times")
    if name.isdecimal():
        return Capture(int(name))
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"{name}: no such file, folder or pattern that pictures fit")
    if path.suffix.lower() in IMAGE_SUFFIXES - {".gif"}:
        raise ValueError(
            f"{name} is one picture: `jvcr predict` is for photographs; of a sequence give the folder or a pattern"
        )
    return Capture(path)


def _pictures(name: str) -> list[tuple[int, Path]]:
    """Number and file of each picture that a name stands for; empty if it stands for none."""
    path = Path(name)
    if path.is_dir():
        pictures = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        if not pictures:
            raise ValueError(f"{name} is a folder without images (of the suffixes {', '.join(sorted(IMAGE_SUFFIXES))})")
        return list(enumerate(sorted(pictures, key=_natural)))
    if path.exists():
        return []
    if printf := re.fullmatch(r"(.*)%(0?)(\d*)d(.*)", path.name):
        before, zeros, width, after = printf.groups()
        digits = rf"(\d{{{int(width or 1)},}})" if zeros else r"(\d+)"
        fits = re.compile(re.escape(before) + digits + re.escape(after))
        folder = path.parent.iterdir() if path.parent.is_dir() else ()
        numbered = sorted((int(m[1]), p) for p in folder if (m := fits.fullmatch(p.name)))
        for (number, p), (following, other) in itertools.pairwise(numbered):
            if number == following:
                raise ValueError(f"{p.name} and {other.name} are both frame {number} of {name}: rename one")
        return [(number - numbered[0][0], p) for number, p in numbered]
    return list(enumerate(sorted((Path(p) for p in glob.glob(name)), key=_natural)))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Numbers within names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
