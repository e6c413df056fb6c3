"""``jvcr video``."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def video(
    source: str,
    /,
    *,
    out: Annotated[list[Path], Parameter(negative=())],
    weights: str = "compact",
    threads: int | None = None,
    detect_every: float = 1.0,
    detect_size: int = 320,
    max_faces: int | None = None,
    start: float = 0.0,
    stop: float | None = None,
    fps: float | None = None,
    smooth: bool = True,
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
    weights
        Name of shipped weights, or an .onnx file.
    threads
        Processor threads, all available by default.
    detect_every
        How often new faces are looked for while others are followed, in seconds; 0 is in every frame.
    detect_size
        Frames are reduced to this longer side, in pixels, to look for faces. 320 finds faces from 1/15 of that side on;
        640 from 1/30 on, in four times the time.
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
    from rich.console import Console

    # What libraries below OpenCV say of damaged frames is counted, and not printed for each of them.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    from jvcr.inference.detector import SlimeFaceDetector
    from jvcr.inference.landmarker import Landmarker
    from jvcr.inference.tracker import Tracker
    from jvcr.video.tracking import Frame, check_outputs, open_source, track_video

    until_s = math.inf if stop is None else stop
    if not 0 <= start < until_s:
        raise ValueError(f"--start and --stop are seconds, the first before the second, got {start} and {stop}")
    frames = open_source(source, fps)
    check_outputs(out, frames)
    landmarker = Landmarker(weights, threads)
    detector = SlimeFaceDetector(detect_size, threads=landmarker.threads)
    tracker = Tracker(landmarker, detector, detect_every, max_faces, smooth)

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    total = _frames_ahead(frames.total, frames.fps, start, until_s)
    began = time.perf_counter()
    with _ended_as_by_ctrl_c(), _progress(errors) as bar:
        task = bar.add_task("frames", total=total, speed="")

        def moved_on(frame: Frame) -> None:
            done = bar.tasks[task].completed + 1
            bar.update(task, completed=done, speed=f"{done / (time.perf_counter() - began):.1f} frames/s")

        summary = track_video(frames.frames(start, until_s), tracker, out, frames.fps, moved_on)
    took_s = time.perf_counter() - began

    output = Console(highlight=False, soft_wrap=True)
    if frames.unreadable:
        verb = "was" if frames.unreadable == 1 else "were"
        lost = _count(frames.unreadable, "frame")
        errors.print(f"jvcr: {lost} of {source} could not be read and {verb} left out", markup=False)
    output.print(
        f"{_count(summary.frames, 'frame')} of {summary.video_s:.1f} s in {took_s:.1f} s, "
        f"{summary.frames / took_s:.0f} frames/s; {_count(summary.faces, 'face')}, seen in "
        f"{_count(summary.frames_with_faces, 'frame')}; written: {', '.join(map(str, out))}",
        markup=False,
    )
    if summary.interrupted:
        errors.print("jvcr: interrupted; what was found until then is written", markup=False)
        return 130
    return 0


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


def _progress(errors: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
