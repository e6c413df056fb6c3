"""Where the frames of a video come from: pictures, a file, a camera."""

from __future__ import annotations

import contextlib
import glob
import itertools
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.inference.image import IMAGE_SUFFIXES, read_image

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

DEFAULT_FPS = 30.0
"""Frames a second of pictures, and of a camera or a file that does not tell."""

_HIGHEST_FPS = 240.0
"""Some files name a finer clock, such as 1,000 ticks a second, as their frame rate."""

_MOST_MISSED = 3
"""After so many frames in a row that do not come, each of which makes one wait, a camera counts as gone."""


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


class VideoFile:
    """A video file, by PyAV, as players show it: upright, by its edit list, in square pixels.

    Its attributes are those of a `PictureSequence`, and ``begin_s``: the time of the first frame by the file's own
    clock, seconds, once that is read.

    Raises:
        ModuleNotFoundError: PyAV is not installed.
        ValueError: it is no video, or lacks the end without which it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.files: tuple[Path, ...] = (path,)
        self.unreadable = 0
        self.begin_s = 0.0
        with self._opened() as (container, stream):
            rate = float(stream.guessed_rate or stream.average_rate or 0)
            self.fps = rate if 1 <= rate <= _HIGHEST_FPS else DEFAULT_FPS
            self.total: int | None = stream.frames or round((container.duration or 0) / 1e6 * self.fps) or None

    def frames(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[Frame]:
        """As of a `PictureSequence`; those before the start are decoded too, so that numbers and times stay exact."""
        from av.error import FFmpegError

        self.unreadable = 0
        number, begin, last_s = -1, Fraction(0), -math.inf
        with self._opened() as (container, stream):
            stream.thread_type = "AUTO"
            # AVI and MP4 have an index of what is shown. An AVI that was cut short has lost it, but tells its length.
            indexed = len(stream.index_entries)
            missing = indexed if indexed > 1 else stream.frames
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets)
                    missing -= packet.size > 0
                    decoded: Sequence[VideoFrame | None] = packet.decode()
                except StopIteration:
                    break
                except FFmpegError:
                    decoded = [None]
                for frame in decoded:
                    number += 1
                    if frame is None or frame.is_corrupt:
                        self.unreadable += 1
                        continue
                    shown_at = (frame.pts or 0) * (frame.time_base or Fraction(1))
                    if last_s == -math.inf:
                        begin = shown_at
                        self.begin_s = float(begin)
                    time_s = float(shown_at - begin)
                    if time_s <= last_s:  # a file without times, or with wrong ones
                        time_s = last_s + 1 / self.fps
                    last_s = time_s
                    if time_s > stop_s:
                        return
                    if time_s >= start_s:
                        yield Frame(number, time_s, _as_shown(frame, float(stream.sample_aspect_ratio or 1)))
            self.unreadable += max(0, missing)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        with open_container(self.files[0]) as container:
            cover = _pyav().stream.Disposition.attached_pic
            pictures = [stream for stream in container.streams.video if not stream.disposition & cover]
            if not pictures:
                raise ValueError(f"{self.files[0]} has sound, but no pictures")
            yield container, pictures[0]


def open_container(path: Path) -> InputContainer:
    """A file of pictures and sound; errors as of `VideoFile`."""
    av = _pyav()
    try:
        # No playlist that calls itself a video leads to other places.
        options = {"protocol_whitelist": "file"}
        # From PyAV 19 on, metadata in no encoding at all is no error.
        lenient = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
        return av.open(str(path.absolute()), options=options, **lenient)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{path} is not a video that FFmpeg reads, or it was cut short") from error


def create_container(path: Path) -> OutputContainer:
    """A new file whose table of contents comes first, as players want it that show what has arrived."""
    return _pyav().open(str(path.absolute()), "w", container_options={"movflags": "+faststart"})


def _pyav() -> ModuleType:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'videos are read and written by PyAV: pip install "jvcr[video]"', name="av"
        ) from error
    return av


def _as_shown(frame: VideoFrame, pixel_aspect: float) -> NDArray[np.uint8]:
    """A decoded frame as (h, w, 3) RGB: pixels made square, and turned and mirrored as the file says."""
    width = round(frame.width * pixel_aspect) if 0.2 < pixel_aspect < 5 else frame.width
    image = frame.to_ndarray(format="rgb24", width=width)
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        # x, y of the frame are shown at a x + c y, b x + d y.
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        if abs(a) < abs(b):
            image, a, d = image.swapaxes(0, 1), c, b
        image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image)


class Camera:
    """The camera of a number, by OpenCV; its attributes are those of a `PictureSequence`.

    Raises:
        ValueError: OpenCV cannot open it.
    """

    def __init__(self, number: int) -> None:
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise ValueError(f"no camera {number} can be opened: is it there, free, and may this user read it?")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1 <= fps <= _HIGHEST_FPS else DEFAULT_FPS
        self.total: int | None = None
        self.files: tuple[Path, ...] = ()
        self.unreadable = 0

    def frames(self, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[Frame]:
        """As of a `PictureSequence`, from now on, until so many in a row do not come that the camera must be gone."""
        began_s = time.monotonic()
        number, missed = -1, 0
        try:
            while missed < _MOST_MISSED:
                number += 1
                whole, bgr = self._capture.read()
                time_s = time.monotonic() - began_s
                if time_s > stop_s:
                    return
                if not whole:
                    missed += 1
                    continue
                self.unreadable += missed
                missed = 0
                if time_s >= start_s:
                    yield Frame(number, time_s, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8))
        finally:
            self._capture.release()


Source: TypeAlias = "PictureSequence | VideoFile | Camera"


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
        return Camera(int(name))
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"{name}: no such file, folder or pattern that pictures fit")
    if path.suffix.lower() in IMAGE_SUFFIXES - {".gif"}:
        raise ValueError(
            f"{name} is one picture: `jvcr predict` is for photographs; of a sequence give the folder or a pattern"
        )
    return VideoFile(path)


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
