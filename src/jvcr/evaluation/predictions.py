"""Running a landmarker over a data set under a stated rule for its boxes; predictions are a file of their own.

Scores are computed from that file and the labels (`jvcr.evaluation.summary`), so that they can be computed again, in
another way, or against another system, without running anything.

Whose box a face is given changes its error, so an evaluation always says which:

======== ==============================================================================================================
truth    the box of the true landmarks: how published numbers on AFLW2000-3D are made. It flatters: nobody has this box
         in use.
detector the landmarker's own detector looks at the image as it is stored, and the detection with the largest overlap
         with the true landmarks' box (intersection over union) is taken. If none overlaps by `FOUND_OVERLAP` the face
         is *not found*: it has no prediction, counts in no average, and is reported as a count beside the averages.
dataset  the face box that the data set comes with, as 3DFAW does. A face without one is not found.
file     the boxes of a caller's file, which are taken as detections: that of the largest overlap, if large enough.
======== ==============================================================================================================

The detector gets the image without a border around it, also where a data set's crops are so tight that they cut heads
off: black and mirrored borders were tried on 600 training faces of ``faces3d``, and fewer were found with each of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.data.dataset import LandmarkDataset, Names
from jvcr.files import load_arrays, replacing
from jvcr.geometry.crop import box_fault
from jvcr.inference.face import Face
from jvcr.scheme import LandmarkScheme

BoxSource: TypeAlias = Literal["truth", "detector", "dataset", "file"]

BoxKind: TypeAlias = Literal["detector", "landmarks"]
"""What given boxes surround: a face as detectors box it, forehead to chin, or the landmarks themselves."""

FOUND_OVERLAP = 0.3
"""Least overlap (intersection over union) of a detection with the true landmarks' box.

The two boxes differ, as detectors include the forehead: on 800 training faces of ``faces3d`` the overlap of right
detections is 0.7 in the median and above 0.5 for 99 of 100."""

BATCH = 64
"""Images handed over at once."""


@runtime_checkable
class EvaluatedLandmarker(Protocol):
    """What an evaluation needs of a `jvcr.Landmarker`; another system can be measured by giving it these two."""

    @property
    def detector(self) -> Callable[[NDArray[np.uint8]], tuple[ArrayLike, ArrayLike]]:
        """Image (h, w, 3) RGB -> boxes (n, 4) x0, y0, x1, y1 in pixels and scores (n,)."""

    def batch(
        self, images: Iterable[Any], boxes: Sequence[Any] | None = None, *, box_kind: Literal["detector", "landmarks"]
    ) -> list[list[Face]]:
        """The faces of each image, in the order of its boxes (n, 4)."""


@dataclass(frozen=True)
class Predictions:
    """What a landmarker said of each face of a data set, in the data set's order.

    Attributes:
        images: (F,) paths as `LandmarkDataset.images` has them.
        points_px: (F, N, 3) float32 landmarks in the image frame, pixels; NaN where not found.
        found: (F,) whether there is a prediction.
        confidence: (F, N) float32, as `Face.confidence`; NaN where not found.
        box_xyxy: (F, 4) float32, where the landmarker was told to look, pixels; NaN where not found.
        about: how they were made: the rule for boxes, seconds, and whatever the caller adds; plain data for JSON.
    """

    images: Names
    points_px: NDArray[np.float32]
    found: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    box_xyxy: NDArray[np.float32]
    about: dict[str, Any]

    def __post_init__(self) -> None:
        count = len(self.images)
        landmarks = self.points_px.shape[1] if self.points_px.ndim == 3 else 0
        shapes = {
            "points_px": (count, landmarks, 3),
            "found": (count,),
            "confidence": (count, landmarks),
            "box_xyxy": (count, 4),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"predictions of {count} faces: {name} should be {shape}, got {getattr(self, name).shape}"
                )
        if not np.isfinite(self.points_px[self.found]).all():
            raise ValueError("predictions: a face is marked as found but its points_px are not finite")
        spots = self.found & (self.points_px == self.points_px[:, :1]).all(axis=(1, 2))
        if len(self) and landmarks > 1 and spots.any():
            image = self.images[np.argmax(spots)]
            raise ValueError(f"predictions: {image} is marked as found but all its points_px lie on one spot")

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def merged(cls, parts: Sequence[Predictions]) -> Predictions:
        """The predictions of a data set's parts in order; ``about`` is the first part's, with all that were unusable.

        Raises:
            ValueError: there is no part, or they have different numbers of landmarks.
        """
        if not parts or len({part.points_px.shape[1] for part in parts}) != 1:
            raise ValueError(f"expected predictions of one number of landmarks, got {len(parts)} parts")
        columns = ("images", "points_px", "found", "confidence", "box_xyxy")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
        unusable = [reason for part in parts for reason in part.about.get("unusable", [])]
        return cls(**arrays, about={**parts[0].about, "unusable": unusable})

    def first_landmarks(self, count: int) -> Predictions:
        """The same predictions of each face's first landmarks alone."""
        return replace(self, points_px=self.points_px[:, :count], confidence=self.confidence[:, :count])

    def save(self, path: str | Path) -> None:
        """Writes ``predictions.npz``: the arrays by the attributes' names (``images`` as ``image``), ``about`` as JSON.

        A file that is there stays whole until the new one is.

        Raises:
            OSError: the folder cannot be written to.
        """
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                image=self.images,
                points_px=self.points_px,
                found=self.found,
                confidence=self.confidence,
                box_xyxy=self.box_xyxy,
                about=np.array(json.dumps(self.about)),
            )

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Reads what `save` wrote; of another system's file, ``image``, ``points_px`` and ``found`` are enough.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, lacks an array, or its arrays do not fit together.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no predictions: {path}")
        arrays = load_arrays(path)
        try:
            about = json.loads(str(arrays["about"]), parse_constant=_no_number) if "about" in arrays else {}
        except ValueError as error:
            raise ValueError(f"{path}: 'about' is not JSON: {error}") from error
        if not isinstance(about, dict):
            raise ValueError(f"{path}: 'about' must be a JSON object, got {type(about).__name__}")
        unusable = about.get("unusable", [])
        if not isinstance(unusable, list) or not all(isinstance(text, str) for text in unusable):
            raise ValueError(f"{path}: 'unusable' in 'about' must be a list of texts")
        if missing := [key for key in ("image", "points_px", "found") if key not in arrays]:
            raise ValueError(f"{path} has no {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}")
        try:
            if arrays["points_px"].dtype.kind not in "fiu":
                raise ValueError(f"points_px should be numbers, got type {arrays['points_px'].dtype}")
            if not (arrays["found"].dtype.kind == "b" or np.isin(arrays["found"], (0, 1)).all()):
                raise ValueError("found should be true or false, or 1 or 0, for each face")
            points = arrays["points_px"].astype(np.float32)
            if points.ndim != 3 or points.shape[2] != 3:
                raise ValueError(f"points_px must have the shape (faces, landmarks, 3), got {points.shape}")
            unknown = np.full((*points.shape[:2], 4), np.nan, np.float32)
            return cls(
                images=np.char.replace(arrays["image"].astype(str), "\\", "/"),
                points_px=points,
                found=arrays["found"].astype(bool),
                confidence=arrays.get("confidence", unknown[..., 0]).astype(np.float32),
                box_xyxy=arrays.get("box_xyxy", unknown[:, 0]).astype(np.float32),
                about=about,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number that JSON has")


def predict(
    landmarker: EvaluatedLandmarker,
    dataset: LandmarkDataset,
    box: BoxSource = "truth",
    progress: Callable[[int], object] | None = None,
    *,
    boxes_of: Sequence[ArrayLike] | None = None,
    box_kind: BoxKind = "detector",
    strict: bool = False,
) -> Predictions:
    """Runs a landmarker over every face of a data set.

    A face whose image cannot be read, or whose true landmarks do not lie on it, does not stop the run: it is not found,
    and ``about["unusable"]`` names it.

    Args:
        landmarker: what is measured.
        dataset: faces with their true landmarks.
        box: where each face's box comes from, as the module says.
        progress: called with the number of faces done, now and then.
        boxes_of: for each face the boxes (n, 4) of its image, x0, y0, x1, y1 in pixels, n may be 0; for "file" only.
        box_kind: what the boxes of "dataset" and "file" surround.
        strict: stop at the first unusable image.

    Returns:
        One prediction a face, of the data set's landmarks: those that the landmarker's scheme derives from them
        (`LandmarkScheme.extends`) are left out. ``about`` holds ``box``, ``seconds``, ``unusable`` and, of the data
        set, ``annotation``.

    Raises:
        ValueError: the data set has no faces, or has no boxes though the rule asks for them; the landmarker's landmarks
            are not those of the data set; or, if strict, an image is unusable (or OSError, where it cannot be read).
    """
    if not len(dataset):
        raise ValueError(f"{dataset.root} has no faces to evaluate")
    check_box_source(dataset, box)
    if (box == "file") != (boxes_of is not None) or (boxes_of is not None and len(boxes_of) != len(dataset)):
        given = "none" if boxes_of is None else f"those of {len(boxes_of)} faces"
        raise ValueError(
            f'boxes_of is for the box rule "file", with an entry for each of {len(dataset)} faces; {given}'
        )
    count, landmarks = dataset.points_px.shape[:2]
    points = np.full((count, landmarks, 3), np.nan, np.float32)
    confidence = np.full((count, landmarks), np.nan, np.float32)
    boxes = np.full((count, 4), np.nan, np.float32)
    found = np.zeros(count, bool)
    scheme = getattr(landmarker, "scheme", None)
    # What a network's scheme derives from the data set's landmarks comes last, and has no truth of its own.
    derived = len(scheme.derived) if isinstance(scheme, LandmarkScheme) and scheme.extends(dataset.scheme) else 0
    unusable: list[str] = []

    start = time.perf_counter()
    for first in range(0, count, BATCH):
        faces = range(first, min(first + BATCH, count))
        looked_at: list[int] = []
        images: list[NDArray[np.uint8]] = []
        for i in faces:
            true_box = landmark_box(dataset.points_px[i])
            try:
                image = dataset.read_image(i)
                _check_on_image(true_box, image, dataset, i, "the box of the true landmarks")
                if box == "truth":
                    around: NDArray[np.float32] | None = true_box
                elif box == "dataset":
                    around = _own_box(dataset, i)
                else:
                    detections = landmarker.detector(image)[0] if boxes_of is None else boxes_of[i]
                    around = best_detection(detections, true_box)
                if around is not None:
                    _check_on_image(around, image, dataset, i, "its box")
            except (OSError, ValueError) as error:
                if strict:
                    raise
                unusable.append(str(error))
                continue
            if around is not None:
                boxes[i] = around
                looked_at.append(i)
                images.append(image)
        kinds: dict[str, BoxKind] = {"truth": "landmarks", "detector": "detector"}
        kind = kinds.get(box, box_kind)
        results = landmarker.batch(images, [boxes[i : i + 1] for i in looked_at], box_kind=kind) if images else []
        for i, (face,) in zip(looked_at, results, strict=True):
            if len(face.points) != landmarks + derived:
                raise ValueError(
                    f"{dataset.root} has {landmarks} landmarks a face ({dataset.scheme.name}), but the landmarker "
                    f"finds {len(face.points)}: use weights of the data set's scheme"
                )
            points[i], confidence[i], found[i] = face.points[:landmarks], face.confidence[:landmarks], True
            if derived:  # they had a part in the mean of z
                points[i, :, 2] -= points[i, :, 2].mean()
        if progress is not None:
            progress(faces.stop)
    return Predictions(
        images=dataset.images,
        points_px=points,
        found=found,
        confidence=confidence,
        box_xyxy=boxes,
        about={
            "box": box,
            "annotation": dataset.annotation,
            "seconds": round(time.perf_counter() - start, 2),
            "unusable": unusable,
        },
    )


def check_box_source(dataset: LandmarkDataset, box: BoxSource) -> None:
    """Sees to it that the data set has the boxes that the rule asks for.

    Raises:
        ValueError: it has none.
    """
    if box == "dataset" and dataset.boxes_xyxy is None:
        raise ValueError(f"{dataset.root} comes without face boxes: use the box rule truth, detector or file")


def _own_box(dataset: LandmarkDataset, index: int) -> NDArray[np.float32] | None:
    """The box that the data set gives a face; None where it gives none."""
    assert dataset.boxes_xyxy is not None
    box_xyxy = dataset.boxes_xyxy[index]
    return box_xyxy if np.isfinite(box_xyxy).all() else None


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
    """The detection of one face among those of its image.

    Args:
        boxes_xyxy: (n, 4) detections x0, y0, x1, y1 in pixels, in falling order of their score; n may be 0.
        true_box_xyxy: (4,) box of the true landmarks, pixels.

    Returns:
        (4,) the box of the largest intersection over union, if that is at least `FOUND_OVERLAP`; of equal ones the
        first. None if there is none.

    Example:
        >>> best_detection([[0, 0, 9, 9], [50, 50, 60, 60]], [52, 50, 60, 60])
        array([50., 50., 60., 60.], dtype=float32)
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    truth = np.asarray(true_box_xyxy, dtype=np.float64)
    if not len(boxes):
        return None
    shared = (np.minimum(boxes[:, 2:], truth[2:]) - np.maximum(boxes[:, :2], truth[:2])).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    overlap = np.nan_to_num(shared / (areas + (truth[2:] - truth[:2]).prod() - shared))
    best = int(overlap.argmax())
    return boxes[best].astype(np.float32) if overlap[best] >= FOUND_OVERLAP else None
