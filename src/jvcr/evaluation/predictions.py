"""Running a landmarker over a data set under a stated rule for its boxes; predictions are a file of their own.

Scores are computed from that file and the labels (`jvcr.evaluation.summary`), again or against another system, without
running anything. Whose box a face is given changes its error, so an evaluation always says which:

======== ==============================================================================================================
truth    the box of the true landmarks: how published numbers on AFLW2000-3D are made. It flatters: nobody has this box
         in use.
detector of the detections in the image as stored, that of the largest overlap with the true landmarks' box. If none
         overlaps by `MIN_OVERLAP` the face is *not detected*: it counts in no average, and is counted beside them.
dataset  the face box that the data set comes with, as 3DFAW does. A face without one is not detected.
file     the boxes of a caller's file, which are taken as detections: that of the largest overlap, if large enough.
======== ==============================================================================================================

The image gets no border for the detector, also where crops cut heads off: black and mirrored borders were tried on 600
training faces of ``faces3d``, and either way fewer were detected.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.data.dataset import LandmarkDataset, Names
from jvcr.files import load_arrays, replacing
from jvcr.geometry.crop import box_fault
from jvcr.inference.face import Face
from jvcr.inference.landmarker import BoxKind
from jvcr.inference.parallel import parallel_map
from jvcr.scheme import LandmarkScheme

BoxSource: TypeAlias = Literal["truth", "detector", "dataset", "file"]

MIN_OVERLAP = 0.3
"""Least overlap (intersection over union) of a detection with the true landmarks' box.

On 800 training faces of ``faces3d`` right detections have 0.7 in the median, 99 of 100 above 0.5."""

_OLDER_NAMES = {"found": "detected", "about": "metadata"}
"""Of arrays in files of predictions."""


@runtime_checkable
class EvaluatedLandmarker(Protocol):
    """What an evaluation needs of a `jvcr.Landmarker`; another system can be measured by giving it these three."""

    @property
    def threads(self) -> int:
        """How many threads read images and look for faces."""

    def detect(self, image: NDArray[np.uint8], /) -> tuple[ArrayLike, ArrayLike]:
        """The faces in an image (h, w, 3) RGB: boxes (n, 4) x0, y0, x1, y1 in pixels, the best first, and scores."""

    def stream(
        self, images: Iterable[Any], boxes: Iterable[Any] | None = None, box_kind: BoxKind | None = None
    ) -> Iterator[list[Face]]:
        """The faces of each image, in the order of its boxes (n, 4)."""


@dataclass(frozen=True)
class Predictions:
    """What a landmarker said of each face of a data set, in the data set's order; NaN where not detected.

    Attributes:
        images: (F,) paths as `LandmarkDataset.images` has them.
        points_px: (F, N, 3) float32 landmarks in the image frame, pixels.
        confidence: (F, N) float32, as `Face.confidence`.
        box_xyxy: (F, 4) float32, where the landmarker was told to look, pixels.
        metadata: how they were made, plain data for JSON: see `jvcr.evaluation.figures.Metadata`.
    """

    images: Names
    points_px: NDArray[np.float32]
    detected: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    box_xyxy: NDArray[np.float32]
    metadata: dict[str, Any]

    def __post_init__(self) -> None:
        count = len(self.images)
        landmarks = self.points_px.shape[1] if self.points_px.ndim == 3 else 0
        shapes = {
            "points_px": (count, landmarks, 3),
            "detected": (count,),
            "confidence": (count, landmarks),
            "box_xyxy": (count, 4),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"predictions of {count} faces: {name} should be {shape}, got {getattr(self, name).shape}"
                )
        if not np.isfinite(self.points_px[self.detected]).all():
            raise ValueError("predictions: a face is marked as detected but its points_px are not finite")
        spots = self.detected & (self.points_px == self.points_px[:, :1]).all(axis=(1, 2))
        if len(self) and landmarks > 1 and spots.any():
            image = self.images[np.argmax(spots)]
            raise ValueError(f"predictions: {image} is marked as detected but all its points_px lie on one spot")

    def __len__(self) -> int:
        return len(self.images)

    def without_derived(self, scheme: LandmarkScheme, measured: LandmarkScheme) -> Predictions:
        """Predictions of a scheme's landmarks without those that it derives from the ones measured, if it does."""
        if self.points_px.shape[1] != scheme.num_landmarks or not scheme.extends(measured):
            return self
        count = measured.num_landmarks
        return replace(self, points_px=self.points_px[:, :count], confidence=self.confidence[:, :count])

    def save(self, path: str | Path) -> None:
        """Writes ``predictions.npz``: the arrays by their names here, ``images`` as ``image``, ``metadata`` as JSON."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                image=self.images,
                points_px=self.points_px,
                detected=self.detected,
                confidence=self.confidence,
                box_xyxy=self.box_xyxy,
                metadata=np.array(json.dumps(self.metadata)),
            )

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Reads what `save` wrote; of another system's file, ``image``, ``points_px`` and ``detected`` are enough.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, lacks an array, or its arrays do not fit together.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no predictions: {path}")
        arrays = {_OLDER_NAMES.get(name, name): array for name, array in load_arrays(path).items()}
        if missing := [key for key in ("image", "points_px", "detected") if key not in arrays]:
            raise ValueError(f"{path} has no {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}")
        try:
            if arrays["points_px"].dtype.kind not in "fiu":
                raise ValueError(f"points_px should be numbers, got type {arrays['points_px'].dtype}")
            if not (arrays["detected"].dtype.kind == "b" or np.isin(arrays["detected"], (0, 1)).all()):
                raise ValueError("detected should be true or false, or 1 or 0, for each face")
            points = arrays["points_px"].astype(np.float32)
            if points.ndim != 3 or points.shape[2] != 3:
                raise ValueError(f"points_px must have the shape (faces, landmarks, 3), got {points.shape}")
            unknown = np.full((*points.shape[:2], 4), np.nan, np.float32)
            return cls(
                images=np.char.replace(arrays["image"].astype(str), "\\", "/"),
                points_px=points,
                detected=arrays["detected"].astype(bool),
                confidence=arrays.get("confidence", unknown[..., 0]).astype(np.float32),
                box_xyxy=arrays.get("box_xyxy", unknown[:, 0]).astype(np.float32),
                metadata=_checked_metadata(str(arrays.get("metadata", "{}"))),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def _checked_metadata(text: str) -> dict[str, Any]:
    metadata = json.loads(text, parse_constant=_no_number)
    if not isinstance(metadata, dict):
        raise ValueError(f"'metadata' must be a JSON object, got {type(metadata).__name__}")
    unusable = metadata.get("unusable", [])
    if not isinstance(unusable, list) or not all(isinstance(text, str) for text in unusable):
        raise ValueError("'unusable' in 'metadata' must be a list of texts")
    return metadata


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number that JSON has")


def predict(
    landmarker: EvaluatedLandmarker,
    dataset: LandmarkDataset,
    box: BoxSource = "truth",
    advance: Callable[[int], object] | None = None,
    *,
    boxes_of: Sequence[ArrayLike] | None = None,
    box_kind: BoxKind | None = None,
    strict: bool = False,
) -> Predictions:
    """Runs a landmarker over every face of a data set.

    A face whose image cannot be read, or whose true landmarks do not lie on it, is not detected, and
    ``metadata["unusable"]`` names it; ``strict`` stops at it. ``boxes_of`` are, for "file", the boxes (n, 4) of each
    face's image, pixels; ``box_kind`` says what the boxes of "dataset" and "file" surround.

    Returns:
        One prediction a face, without the landmarks that the landmarker's scheme derives from the data set's.
        ``metadata`` holds ``box``, ``seconds``, ``unusable`` and, of the data set, ``annotation``.

    Raises:
        ValueError: the data set has no faces, or has no boxes though they are asked for; the landmarker's landmarks
            are not those of the data set; or, if strict, an image is unusable (or OSError, where it cannot be read).
    """
    if not len(dataset):
        raise ValueError(f"{dataset.root} has no faces to evaluate")
    check_box_source(dataset, box)
    if (box == "file") != (boxes_of is not None) or (boxes_of is not None and len(boxes_of) != len(dataset)):
        given = "none" if boxes_of is None else f"those of {len(boxes_of)} faces"
        raise ValueError(f'boxes_of is for the boxes of a "file", an entry for each of {len(dataset)} faces; {given}')
    count, landmarks = dataset.points_px.shape[:2]
    points = np.full((count, landmarks, 3), np.nan, np.float32)
    confidence = np.full((count, landmarks), np.nan, np.float32)
    boxes = np.full((count, 4), np.nan, np.float32)
    scheme = getattr(landmarker, "scheme", None)
    # What a network's scheme derives from the data set's landmarks comes last, and has no truth of its own.
    derived = len(scheme.derived) if isinstance(scheme, LandmarkScheme) and scheme.extends(dataset.scheme) else 0
    unusable: list[str] = []
    looked_at: list[int] = []
    look = _looker(landmarker, dataset, box, boxes_of, strict)

    def images_and_boxes() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        for i, looked in enumerate(parallel_map(look, range(count), landmarker.threads)):
            if isinstance(looked, str):
                unusable.append(looked)
            elif looked is not None:
                boxes[i] = looked[1][:4]
                looked_at.append(i)
                yield looked[0], looked[1][None]

    start = time.perf_counter()
    for_images, for_boxes = tee(images_and_boxes())
    usual = dataset.scheme.box_kind
    kinds: dict[str, BoxKind] = {"truth": "landmarks", "detector": usual}
    results = landmarker.stream(
        (image for image, _ in for_images),
        (around for _, around in for_boxes),
        box_kind=kinds.get(box, box_kind or usual),
    )
    for number, (face,) in enumerate(results):
        i = looked_at[number]
        if len(face.points) != landmarks + derived:
            raise ValueError(
                f"{dataset.root} has {landmarks} landmarks a face ({dataset.scheme.name}), but the landmarker "
                f"finds {len(face.points)}: use weights of the data set's scheme"
            )
        points[i], confidence[i] = face.points[:landmarks], face.confidence[:landmarks]
        if derived:  # they had a part in the mean of z
            points[i, :, 2] -= points[i, :, 2].mean()
        if advance is not None:
            advance(1)
    if advance is not None:
        advance(count - len(looked_at))
    metadata = {
        "box": box,
        "annotation": dataset.annotation,
        "seconds": round(time.perf_counter() - start, 2),
        "unusable": unusable,
    }
    detected = np.zeros(count, bool)
    detected[looked_at] = True
    return Predictions(dataset.images, points, detected, confidence, boxes, metadata)


def _looker(
    landmarker: EvaluatedLandmarker,
    dataset: LandmarkDataset,
    box: BoxSource,
    boxes_of: Sequence[ArrayLike] | None,
    strict: bool,
) -> Callable[[int], tuple[NDArray[np.uint8], NDArray[np.float32]] | str | None]:
    """What reads the image of a face and says where to look in it: None is nowhere, a text says what is wrong."""

    def box_of(i: int, image: NDArray[np.uint8], true_box: NDArray[np.float32]) -> NDArray[np.float32] | None:
        if box == "truth":
            return true_box
        if box == "dataset":
            assert dataset.boxes_xyxy is not None
            own = dataset.boxes_xyxy[i]
            return own if np.isfinite(own).all() else None
        return best_detection(landmarker.detect(image)[0] if boxes_of is None else boxes_of[i], true_box)

    def look(i: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | str | None:
        true_box = landmark_box(dataset.points_px[i])
        try:
            image = dataset.read_image(i)
            _check_on_image(true_box, image, dataset, i, "the box of the true landmarks")
            around = box_of(i, image, true_box)
            if around is None:
                return None
            _check_on_image(around[:4], image, dataset, i, "its box")
        except (OSError, ValueError) as error:
            if strict:
                raise
            return str(error)
        return image, around

    return look


def check_box_source(dataset: LandmarkDataset, box: BoxSource) -> None:
    """Raises a ValueError where a data set has no boxes of its own and they are asked for."""
    if box == "dataset" and dataset.boxes_xyxy is None:
        raise ValueError(f"{dataset.root} comes without face boxes: use those of the truth, the detector or a file")


def _check_on_image(
    box_xyxy: NDArray[np.float32], image: NDArray[np.uint8], dataset: LandmarkDataset, index: int, what: str
) -> None:
    height, width = image.shape[:2]
    if fault := box_fault(box_xyxy, width, height):
        raise ValueError(f"{dataset.root / str(dataset.images[index])}: {what} {fault}")


def landmark_box(points_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,) x0, y0, x1, y1: the box of a face's (N, 3) landmarks in the image frame, pixels."""
    return np.concatenate([points_px[:, :2].min(axis=0), points_px[:, :2].max(axis=0)])


def best_detection(boxes_xyxy: ArrayLike, true_box_xyxy: ArrayLike) -> NDArray[np.float32] | None:
    """Of (n, 4) detections, that of the largest intersection over union with a face's box; None below `MIN_OVERLAP`.

    Example:
        >>> best_detection([[0, 0, 9, 9], [50, 50, 60, 60]], [52, 50, 60, 60])
        array([50., 50., 60., 60.], dtype=float32)
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    boxes = boxes.reshape(-1, 5 if boxes.ndim == 2 and boxes.shape[1] == 5 else 4)
    truth = np.asarray(true_box_xyxy, dtype=np.float64)
    if not len(boxes):
        return None
    shared = (np.minimum(boxes[:, 2:4], truth[2:]) - np.maximum(boxes[:, :2], truth[:2])).clip(0).prod(axis=1)
    areas = (boxes[:, 2:4] - boxes[:, :2]).prod(axis=1)
    overlap = np.nan_to_num(shared / (areas + (truth[2:] - truth[:2]).prod() - shared))
    best = int(overlap.argmax())
    return boxes[best].astype(np.float32) if overlap[best] >= MIN_OVERLAP else None
