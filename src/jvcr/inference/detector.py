"""Finding the faces of an image: any callable will do. Those of others are here, `FaceDetector` is our own."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.geometry.crop import box_fault
from jvcr.inference.per_process import PerProcess

MIN_SCORE = 0.6
"""Detections below this score are mostly none."""

LONG_SIDE = 640
"""Images are made this long for the detector, or left as they are if smaller."""

_ENLARGE_TO = 256
"""Smaller images are enlarged up to this long side, at most twice: of 400 training faces of faces3d (images of 120 and
224 pixels, all yaws) 98.5 % are found that way instead of 97.8 %."""

_SMALLEST_SIDE = 32
"""Smaller images are padded to this."""

_LARGEST_OVERLAP = 0.5
"""Of two boxes that share more than this part of the smaller one, one is dropped."""

BOX_WITH_ANGLE = 5
"""Numbers of a box that says how its face lies."""


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
    if boxes.ndim != 2 or boxes.shape[1] not in (4, BOX_WITH_ANGLE) or len(boxes) != len(scores):
        raise ValueError(
            f"the detector {detector!r} must give boxes (n, 4) and scores (n,), got {boxes.shape} and {scores.shape}"
        )
    if not (np.isfinite(boxes).all() and (scores >= 0).all() and (scores <= 1).all()):
        raise ValueError(f"the detector {detector!r} must give finite boxes and scores from 0 to 1")
    usable = [not box_fault(box[:4], image.shape[1], image.shape[0]) for box in boxes]
    return Detections(boxes[usable], scores[usable])


def checked_boxes(boxes: ArrayLike, image: NDArray[np.uint8], name: str) -> NDArray[np.float64]:
    """A caller's boxes as (n, 4), or with angles (n, 5), each of which shows some of the image."""
    try:
        rows = np.array(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}boxes must be numbers of the shape (n, 4), x0, y0, x1, y1: {error}") from error
    if rows.size == 0:
        return np.zeros((0, 4))
    if rows.ndim != 2 or rows.shape[1] not in (4, BOX_WITH_ANGLE):
        raise ValueError(
            f"{name}boxes must have the shape (n, 4), x0, y0, x1, y1 in pixels, got {rows.shape}; "
            "one box is [[x0, y0, x1, y1]]"
        )
    height, width = image.shape[:2]
    for index, row in enumerate(rows):
        if fault := box_fault(row[:4], width, height) or (
            "" if np.isfinite(row).all() else "holds NaN or infinite values"
        ):
            raise ValueError(f"{name}boxes[{index}] = {row.tolist()} {fault}")
    return rows


class WholeImage:
    """For pictures that were cut out around one face each: the whole of it is the box."""

    concurrent = True

    def __call__(self, image: NDArray[np.uint8], /) -> Detections:
        """As `Detector` asks for."""
        height, width = image.shape[:2]
        return Detections(np.array([[-0.5, -0.5, width - 0.5, height - 0.5]]), np.ones(1))


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
