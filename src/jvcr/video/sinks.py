"""Where what is found in a video goes: JSON lines, a CSV table, an annotated video."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.inference.tracker import TrackedFace
from jvcr.scheme import LandmarkScheme
from jvcr.video.sources import Frame, VideoFile, create_container, open_container
from jvcr.viz.landmarks import draw_faces

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

OUTPUT_SUFFIXES = (".mp4", ".jsonl", ".csv")
"""What can be written of a video."""

_TICKS_A_SECOND = 90_000
"""Of the clock of an annotated video."""

_BT709 = 1
"""FFmpeg's number for the colours of an annotated video."""

_COPIED_SOUND = ("aac", "mp3", "mp3float", "opus", "libopus", "flac")
"""FFmpeg's names of the kinds of sound that an .mp4 can hold and browsers play."""

_HIGHEST_AAC_RATE = 48_000


@runtime_checkable
class Sink(Protocol):
    """A file that grows frame by frame."""

    def write(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        """Adds a frame."""

    def close(self) -> None:
        """Ends the file; what was written stays, whole."""


def open_sink(path: Path, scheme: LandmarkScheme, source: VideoFile | None = None) -> Sink:
    """What writes a file of this suffix; an annotated video takes the sound of its source."""
    if path.suffix.lower() == ".mp4":
        return _AnnotatedVideo(path, scheme, source)
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
    """Frames with their faces, each shown at its time, in H.264, which browsers play, and the sound of the source.

    All are of the first one's size, others fitted into it.
    """

    def __init__(self, path: Path, scheme: LandmarkScheme, source: VideoFile | None) -> None:
        self._scheme, self._source = scheme, source
        self._output = create_container(path)
        self._stream: VideoStream | None = None
        self._sound: _Sound | None = None
        self._begin_s, self._ticks, self._step = 0.0, -1, _TICKS_A_SECOND // 30

    def write(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        from av import VideoFrame

        if self._stream is None:
            self._begin_s = frame.time_s
            height, width = frame.image.shape[:2]
            self._stream = _h264_stream(self._output, width, height)
            self._sound = _sound_of(self._source, self._output, frame.time_s)
        picture = _fitted(draw_faces(frame.image, faces, self._scheme), (self._stream.width, self._stream.height))
        ticks = round((frame.time_s - self._begin_s) * _TICKS_A_SECOND)
        if self._ticks >= 0:
            self._step = max(1, ticks - self._ticks)
        self._ticks = max(self._ticks + 1, ticks)
        shown = VideoFrame.from_ndarray(picture).reformat(format="yuv420p", dst_colorspace=_BT709)
        shown.pts, shown.time_base = self._ticks, Fraction(1, _TICKS_A_SECOND)
        self._mux(self._stream.encode(shown))
        if self._sound:
            self._sound.write(self._ticks / _TICKS_A_SECOND)

    def close(self) -> None:
        try:
            if self._stream is not None:
                self._mux(self._stream.encode())
            if self._sound:
                self._sound.write((self._ticks + self._step) / _TICKS_A_SECOND)
                self._sound.close()
        finally:
            self._output.close()

    def _mux(self, packets: Sequence[Packet[VideoStream]]) -> None:
        for packet in packets:
            packet.duration = self._step  # which counts for the last one: it is shown as long as the one before
            self._output.mux(packet)


def _h264_stream(output: OutputContainer, width: int, height: int) -> VideoStream:
    """For frames of this size, made even: H.264 halves its colours' resolution."""
    stream = output.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "20"})
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, _TICKS_A_SECOND)
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = 1  # "limited", as videos have
    return stream


class _Sound:
    """The sound of a source, written beside its frames: as it is, or as AAC where .mp4 has no place for it.

    From where it cannot be read there is none.
    """

    def __init__(self, source: InputContainer, output: OutputContainer, begin_s: float) -> None:
        self._source, self._output = source, output
        stream = source.streams.audio[0]
        self._copied = stream.codec_context.name in _COPIED_SOUND
        if self._copied:
            self._stream = output.add_stream_from_template(stream)
        else:
            rate, layout = min(stream.rate, _HIGHEST_AAC_RATE), stream.layout.name
            self._stream = output.add_stream("aac", rate=rate, layout=layout)
        self._pieces = self._heard(stream, begin_s)
        self._next = next(self._pieces, None)

    def write(self, until_s: float) -> None:
        """What is heard up to a time after the beginning."""
        while self._next is not None and self._next.pts * self._next.time_base <= until_s:
            if self._copied:
                self._next.stream = self._stream
                self._output.mux(self._next)
            else:
                self._output.mux(self._stream.encode(self._next))
            self._next = next(self._pieces, None)

    def close(self) -> None:
        if not self._copied:
            self._output.mux(self._stream.encode())
        self._source.close()

    def _heard(self, stream: AudioStream, begin_s: float) -> Iterator[Any]:
        """Packets, or decoded pieces, from the beginning on; their times count from there."""
        from av.error import FFmpegError

        last = -1
        with contextlib.suppress(FFmpegError):
            for packet in self._source.demux(stream):
                for piece in [packet] if self._copied else packet.decode():
                    if piece.pts is None or piece.time_base is None:
                        continue
                    piece.pts -= round(Fraction(begin_s) / piece.time_base)
                    if piece.pts > last:
                        last = piece.pts
                        if self._copied:
                            piece.dts = piece.pts
                        yield piece


def _sound_of(source: VideoFile | None, output: OutputContainer, start_s: float) -> _Sound | None:
    """The sound of a source from a time on, if it has any."""
    if source is None:
        return None
    container = open_container(source.files[0])
    if container.streams.audio:
        return _Sound(container, output, source.begin_s + start_s)
    container.close()
    return None


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
