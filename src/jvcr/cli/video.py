"""``jvcr video``."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jvcr.cli.options import Detector, Device, MinFace, Threads, Weights
from jvcr.cli.progress import count, counting

if TYPE_CHECKING:
    from jvcr.inference.tracker import Tracker
    from jvcr.video.sources import Frame, VideoFile


def video(
    source: str,
    /,
    *,
    out: Annotated[list[Path], Parameter(negative=())],
    weights: Weights = "compact",
    threads: Threads = None,
    detect_every: float = 1.0,
    detect_size: int = 320,
    max_faces: int | None = None,
    start: float = 0.0,
    stop: float | None = None,
    fps: float | None = None,
    smooth: bool = True,
    detector: Detector = None,
    device: Device = "cpu",
    min_face: MinFace = None,
) -> int:
    """Follow the faces of a video: their 3D landmarks in every frame, each face under a number that stays.

    What is written goes by the suffix of --out, which may be given several times: OUT.mp4 is the video with landmarks,
    numbers and head axes drawn on it; OUT.jsonl has a line for each frame, OUT.csv one for each face of each frame.

        jvcr video talk.mp4 --out talk_faces.mp4 --out talk.jsonl
        jvcr video frames/ --fps 25 --out faces.csv
        jvcr video 'shot/frame_%04d.png' --out shot.jsonl --no-smooth
        jvcr video 0 --stop 60 --out camera.mp4

    Frames that cannot be read are left out and counted. Ctrl-C ends it, and what was written until then is kept. What
    the numbers mean: docs/video.md.

    Parameters
    ----------
    source
        A video file; a folder of pictures, or a pattern such as 'frames/*.png' or 'frame_%04d.png'; or the number of a
        camera, 0 for the first.
    out
        File to write, ending in .mp4, .jsonl or .csv; give it again for more.
    detect_every
        How often new faces are looked for while others are followed, in seconds; 0 is in every frame.
    detect_size
        Frames are reduced to this longer side, in pixels, to look for faces. 320 finds faces from 1/30 of that side on;
        640 from 1/60 on, in up to five times the time.
    max_faces
        No more faces than this are followed at once.
    start
        Seconds of the video to leave out at its beginning.
    stop
        Second of the video to stop at; without it, its end.
    fps
        Frames a second of a sequence of pictures, 30 by default; videos tell their own times.
    smooth
        Take the jitter out of landmarks and pose; --no-smooth gives each frame as it is found.
    """
    import cv2

    from jvcr.cli import terminal

    silent = 0
    (cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2).setLogLevel(silent)  # before 4.13 it was elsewhere
    from jvcr.inference.options import LandmarkerOptions
    from jvcr.inference.tracker import Tracker
    from jvcr.video.sinks import check_outputs
    from jvcr.video.sources import VideoFile, open_source

    until_s = math.inf if stop is None else stop
    if not 0 <= start < until_s:
        raise ValueError(f"--start and --stop are seconds, the first before the second, got {start} and {stop}")
    frames = open_source(source, fps)
    check_outputs(out, frames.files)
    options = LandmarkerOptions(weights, detector, device, detect_size=detect_size, min_face=min_face)
    landmarker = options.landmarker(threads)
    tracker = Tracker(landmarker, landmarker.detector, detect_every, max_faces, smooth)

    errors = terminal.console(stderr=True, soft_wrap=True)
    total = _frames_ahead(frames.total, frames.fps, start, until_s)
    began = time.perf_counter()
    with _ended_as_by_ctrl_c(), counting("frames", total, console=errors, speed=True) as advance:
        sound = frames if isinstance(frames, VideoFile) else None
        summary = track_video(frames.frames(start, until_s), tracker, out, sound, lambda _: advance(1))
    took_s = time.perf_counter() - began

    output = terminal.console(soft_wrap=True)
    if frames.unreadable:
        verb = "was" if frames.unreadable == 1 else "were"
        lost = count(frames.unreadable, "frame")
        errors.print(f"jvcr: {lost} of {source} could not be read and {verb} left out", markup=False)
    output.print(
        f"{count(summary.frames, 'frame')} of {summary.video_s:.1f} s in {took_s:.1f} s, "
        f"{summary.frames / took_s:.0f} frames/s; {count(summary.faces, 'face')}, seen in "
        f"{count(summary.frames_with_faces, 'frame')}; written: {', '.join(map(str, out))}",
        markup=False,
    )
    if summary.interrupted:
        errors.print("jvcr: interrupted; what was found until then is written", markup=False)
        return 130
    return 0


@dataclass(frozen=True)
class Summary:
    """What came of a video."""

    frames: int  # read and written
    frames_with_faces: int
    faces: int  # identities
    video_s: float  # from the first of these frames to the last
    interrupted: bool  # by Ctrl-C


def track_video(
    frames: Iterable[Frame],
    tracker: Tracker,
    outputs: Sequence[Path],
    sound: VideoFile | None = None,
    progress: Callable[[Frame], None] | None = None,
) -> Summary:
    """Follows the faces of a video with a fresh tracker and writes what is found (`open_sink`), in constant memory.

    Lines are written as soon as they are known. A file gets its name at the end, and also if Ctrl-C or an error ends
    the work before: what was written until then is kept and can be read. Only an .mp4 that a full disk left unreadable
    is removed.
    Times of frames rise; ``sound`` is the file of these frames, whose sound an annotated video takes. An OSError where
    an output cannot be written, a ValueError where there is no frame, or as `Tracker`.
    """
    from jvcr.files import replacing
    from jvcr.video.sinks import open_sink

    number = with_faces = 0
    first_s = last_s = 0.0
    identities: set[int] = set()
    failure: BaseException | None = None
    with contextlib.ExitStack() as stack:
        files = []
        for path in outputs:
            own = stack.enter_context(contextlib.ExitStack())
            files.append((own, open_sink(own.enter_context(replacing(path)), tracker.landmarker.scheme, sound)))
        try:
            for frame in frames:
                faces = tracker(frame.image, frame.time_s)
                for path, (_, sink) in zip(outputs, files, strict=True):
                    with _naming(path):
                        sink.write(frame, faces)
                first_s, last_s = (first_s if number else frame.time_s), frame.time_s
                number += 1
                with_faces += bool(faces)
                identities.update(face.id for face in faces)
                if progress is not None:
                    progress(frame)
            if not number:
                raise ValueError("there is no frame that could be read; is there one between start and stop?")
        except (Exception, KeyboardInterrupt) as error:
            if not number:
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
    return Summary(number, with_faces, len(identities), last_s - first_s, interrupted)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """As `jvcr.files.naming`, but in place of a temporary file's name too, which PyAV puts into its errors."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Also when something else asks for the end, as `timeout` and service managers do, what is done is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _frames_ahead(total: int | None, fps: float, start_s: float, stop_s: float) -> int | None:
    """How many frames there will be, about; None if that is not known."""
    if total is None:
        return None if stop_s == math.inf else max(1, round((stop_s - start_s) * fps))
    return max(1, round(min(total, stop_s * fps) - start_s * fps))
