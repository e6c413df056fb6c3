"""Videos: frames from a file, pictures or a camera, their faces followed, and what is found written as it comes."""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.cli.photos import IMAGE_SUFFIXES
from jvcr.files import replacing
from jvcr.geometry.pose import HeadPose, euler_to_rotation
from jvcr.inference.image import read_image
from jvcr.inference.tracker import TrackedFace, Tracker
from jvcr.scheme import LandmarkScheme
from jvcr.viz.landmarks import INK, SUBPIXEL_BITS, depth_colors, draw_landmarks, fixed_point, write_text

OUTPUT_SUFFIXES = (".mp4", ".jsonl", ".csv")
"""What can be written of a video."""

DEFAULT_FPS = 30.0
"""Frames a second of pictures, and of a camera or a file that does not tell."""

_HIGHEST_FPS = 240.0
"""Some files name a finer clock, such as 1,000 ticks a second, as their frame rate."""

_MOST_MISSED, _MOST_MISSED_OF_CAMERA = 100, 3
"""After so many frames in a row that cannot be read a file counts as at its end, and a camera, which makes each of them
wait, as gone."""

_LONGEST_PAUSE_S = 10.0
"""A longer pause between two frames is made this long in an annotated video, seconds."""

_CODECS = ("avc1", "mp4v")
"""Of an annotated video: H.264, or MPEG-4 Part 2 where this OpenCV has no encoder for it."""

_LABEL = (255, 255, 255)
_AXES = ((235, 70, 60), (70, 200, 80), (70, 130, 255))


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
        fps: frames a second.
        total: how many frames there should be.
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
    """A video file or a camera, by OpenCV.

    Args:
        source: the file, or the number of the camera.

    Attributes:
        fps: frames a second on average, as far as is known.
        total: how many frames the file says it has; None where that is not known.
        files: what is read, and so must not be overwritten.
        unreadable: how many frames so far could not be read.

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
        """The frames from one time on, up to another; those that cannot be read are counted and left out.

        Those before the start are decoded too, so that numbers and times stay exact.
        """
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
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        if not found:
            raise ValueError(f"{name} is a folder without images (of the suffixes {', '.join(sorted(IMAGE_SUFFIXES))})")
        return list(enumerate(sorted(found, key=_natural)))
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


def check_outputs(outputs: Sequence[Path], source: Source) -> None:
    """Sees to it, before any work is done, that outputs can be written and harm nothing.

    Raises:
        ValueError: an output has a suffix that is not written, is named twice, or is a file that is read.
    """
    taken = {os.path.realpath(path) for path in source.files}
    for path in outputs:
        if path.suffix.lower() not in OUTPUT_SUFFIXES:
            raise ValueError(f"{path} must end in one of {', '.join(OUTPUT_SUFFIXES)}, which says what is written")
        real = os.path.realpath(path)
        if real in taken:
            raise ValueError(f"{path} is read, or written already: choose another --out")
        taken.add(real)


@dataclass(frozen=True)
class Summary:
    """What came of a video.

    Attributes:
        frames: how many were read and written.
        frames_with_faces: in how many of them there was a face.
        faces: how many identities there were.
        video_s: from the first of these frames to the last, seconds.
        interrupted: whether Ctrl-C ended it.
    """

    frames: int
    frames_with_faces: int
    faces: int
    video_s: float
    interrupted: bool


def track_video(
    frames: Iterable[Frame],
    tracker: Tracker,
    outputs: Sequence[Path],
    fps: float = DEFAULT_FPS,
    progress: Callable[[Frame], None] | None = None,
) -> Summary:
    """Follows the faces of a video and writes what is found, in constant memory.

    ========= ==============================================================================================
    .jsonl    a line for each frame: `frame_record`
    .csv      a line for each face of each frame, under the names of `csv_columns`
    .mp4      the frames with `draw_tracked` on them, at a steady fps: frames are repeated or left out so that each is
              shown at its time
    ========= ==============================================================================================

    Lines are written as soon as they are known. A file gets its name at the end, and also if Ctrl-C or an error ends
    the work before: what was written until then is kept and can be read. Only an .mp4 that a full disk left unreadable
    is removed.

    Args:
        frames: in order, their times rising.
        tracker: a fresh one.
        outputs: files to write, by their suffixes.
        fps: frames a second of the annotated video.
        progress: called after each frame.

    Raises:
        OSError: an output cannot be written.
        ValueError: there is no frame; or as `Tracker`.
    """
    count = with_faces = 0
    first_s = last_s = 0.0
    identities: set[int] = set()
    failure: BaseException | None = None
    with contextlib.ExitStack() as stack:
        files = []
        for path in outputs:
            own = stack.enter_context(contextlib.ExitStack())
            files.append((own, _open_sink(own.enter_context(replacing(path)), tracker.landmarker.scheme, fps)))
        try:
            for frame in frames:
                faces = tracker(frame.image, frame.time_s)
                for path, (_, sink) in zip(outputs, files, strict=True):
                    with _naming(path):
                        sink.write(frame, faces)
                first_s, last_s = (first_s if count else frame.time_s), frame.time_s
                count += 1
                with_faces += bool(faces)
                identities.update(face.id for face in faces)
                if progress is not None:
                    progress(frame)
            if not count:
                raise ValueError("there is no frame that could be read; is there one between start and stop?")
        except (Exception, KeyboardInterrupt) as error:
            if not count:
                raise
            failure = error
        for path, (own, sink) in zip(outputs, files, strict=True):
            try:
                with own, _naming(path):  # gives the file its name, or removes it
                    sink.close()
            except OSError as error:
                failure = error if failure is None or isinstance(failure, KeyboardInterrupt) else failure
    interrupted = isinstance(failure, KeyboardInterrupt)
    if failure is not None and not interrupted:
        raise failure
    return Summary(count, with_faces, len(identities), last_s - first_s, interrupted)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Says in errors of the system, such as that of a full disk, which output they are about."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


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


def csv_columns(points: int) -> list[str]:
    """Names of the columns of a .csv file, for so many landmarks."""
    head = ["frame", "time_s", "id", "box_x0", "box_y0", "box_x1", "box_y1", "score", "yaw", "pitch", "roll"]
    return head + [f"{what}{i}" for i in range(points) for what in ("x", "y", "z", "confidence")]


def draw_tracked(image: NDArray[np.uint8], faces: Sequence[TrackedFace], scheme: LandmarkScheme) -> NDArray[np.uint8]:
    """A copy of a frame with its faces drawn on it.

    Each has its landmarks, warm colours near the camera and cold ones far, its identity, and the axes of its head:
    red to the head's left, green up, blue to where it looks.

    Args:
        image: (h, w, 3) RGB.
        faces: what was found in it.
        scheme: says which landmarks lines join.

    Returns:
        (h, w, 3) RGB.
    """
    canvas = np.ascontiguousarray(image).copy()
    for face in faces:
        low = face.points.min(0)
        extent = float((face.points.max(0) - low)[:2].max())
        draw_landmarks(canvas, face.points, depth_colors(face), scheme.edges, extent, outline=INK)
        if face.yaw is not None and face.pitch is not None and face.roll is not None:
            _draw_axes(canvas, face.points.mean(0), HeadPose(face.yaw, face.pitch, face.roll), extent)
        place = round(float(low[0])), round(float(low[1]) - extent / 12)
        write_text(canvas, str(face.id), place, max(0.5, extent / 160), _LABEL, outline=INK)
    return canvas


def _draw_axes(canvas: NDArray[np.uint8], middle: NDArray[np.floating], pose: HeadPose, extent: float) -> None:
    rotation = euler_to_rotation(pose)  # its columns are the head's axes: x right, y up, z towards the camera
    (start,) = fixed_point(middle[None, :2])
    thickness = max(1, round(extent / 60))
    for axis in np.argsort(rotation[2]).tolist():  # the farthest first
        (tip,) = fixed_point((middle[:2] + 0.5 * extent * rotation[:2, axis] * [1, -1])[None])
        cv2.line(canvas, start, tip, _AXES[axis], thickness, cv2.LINE_AA, SUBPIXEL_BITS)


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
    def __init__(self, path: Path, points: int) -> None:
        super().__init__(path)
        self.put(",".join(csv_columns(points)))

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
        picture = _fitted(draw_tracked(frame.image, faces, self._scheme), self._size)
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


_Sink: TypeAlias = "_JsonLines | _CsvTable | _AnnotatedVideo"


def _open_sink(path: Path, scheme: LandmarkScheme, fps: float) -> _Sink:
    if path.suffix.lower() == ".mp4":
        return _AnnotatedVideo(path, scheme, fps)
    return _JsonLines(path) if path.suffix.lower() == ".jsonl" else _CsvTable(path, scheme.num_landmarks)


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
