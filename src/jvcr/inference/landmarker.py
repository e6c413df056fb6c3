"""From images to faces: detect, crop, run the network, map back."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.geometry.crop import Crop
from jvcr.geometry.pose import HeadPose, head_pose
from jvcr.inference.detector import BOX_WITH_ANGLE, Detections, Detector, WholeImage, checked_boxes, detect
from jvcr.inference.face import Face
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.image import ImageSource, read_image
from jvcr.inference.named import default_detector
from jvcr.inference.parallel import parallel_map
from jvcr.inference.per_process import PerProcess
from jvcr.inference.regressor import Regressed, View, regress
from jvcr.inference.session import OnnxNetwork, Providers, available_cores
from jvcr.scheme import LandmarkScheme

BoxKind: TypeAlias = Literal["detector", "landmarks"]
"""What a caller's boxes surround: the face as detectors box it, forehead to chin, or the landmarks themselves."""

_MOST_PENDING_PIXELS = 64_000_000
"""How many pixels of images may wait for a batch to fill up (three bytes each)."""


@dataclass(frozen=True)
class _Job:
    """An image, empty if it is not needed any more, and of each face in it box, score and crop; or what is wrong."""

    image: NDArray[np.uint8]
    size: tuple[int, int]
    boxes: NDArray[np.floating]
    scores: Sequence[float | None]
    crops: Sequence[Crop]
    box_kind: BoxKind = "detector"
    error: Exception | None = None


LOW_CONFIDENCE = 0.28
"""For weights whose file does not say; docs/video.md says how it was measured."""


@dataclass(frozen=True, eq=False)
class Result:
    """What became of an image; the last three are for who asks for details, and empty otherwise.

    Attributes:
        faces: as of a call.
        error: why the image could not be used; None if it could.
        size: width and height of the image, pixels.
        image: (h, w, 3) uint8 RGB, as it was read.
        volumes: (n, D, H, W) the predicted compact volume of each face, in the unit frame of its crop (z, y, x).
        crops: the crop of each; ``crops[i].to_image`` takes points of that unit frame to the frame of the faces'
            points, whose depth has its mean at 0.
    """

    faces: list[Face]
    error: Exception | None = None
    size: tuple[int, int] = (0, 0)
    image: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    volumes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.float32))
    crops: list[Crop] = field(default_factory=list)


class Landmarker:
    """Finds the 3D landmarks of the faces in images.

    One object serves any number of images, and several threads at once. It can be used in forked children, copied and
    pickled: who gets it loads weights and detector by what they were given as. Execution providers such as CUDA do not
    survive a fork once they have run; spawned processes start their own.

    Args:
        weights: the name of shipped weights ("compact") or the path of an .onnx file.
        threads: how many threads the network and the detector may use; None is one for each core that this process may
            use.
        detector: what finds the faces where no boxes are given, see `Detector`; None is `default_detector`, made when
            it is first needed.
        providers: execution providers of ONNX Runtime, such as ``("CUDAExecutionProvider",)``; None is the CPU.
        passes: 2 crops each face again, around the landmarks of the first pass and upright; 1 does so only where the
            confidence of calibrated weights says that a detector's box may lie badly, and then tries other angles, too.
        max_batch: how many faces go through the network at once; it bounds the memory.

    Attributes:
        max_faces: how many faces of an image are detected at most, the most certain ones; None is all.

    Raises:
        FileNotFoundError: no such weights.
        ValueError: the weights cannot be used, or an argument is out of its range.
    """

    def __init__(
        self,
        weights: str | Path = "compact",
        threads: int | None = None,
        detector: Detector | None = None,
        providers: Providers | None = None,
        passes: int = 1,
        max_batch: int = 64,
    ) -> None:
        self.passes = _at_least_one("passes", passes)
        self.max_batch = _at_least_one("max_batch", max_batch)
        self.max_faces: int | None = None
        self._network = OnnxNetwork(weights, threads, providers)
        self._single = PerProcess(partial(OnnxNetwork, weights, 1, providers))
        self.threads = available_cores() if threads is None else threads
        self._detector = detector
        self._taking_turns = PerProcess(threading.Lock)
        template = self.scheme.template
        self._template = None if template is None else np.array(template)

    def __repr__(self) -> str:
        info = self._network.info
        return (
            f"Landmarker({info.name!r}: {info.scheme.num_landmarks} points of {info.scheme.name}, {info.image_size} px)"
        )

    @property
    def weights(self) -> str:
        """Name of the weights."""
        return self._network.info.name

    @property
    def network(self) -> OnnxNetwork:
        """What runs its weights' file."""
        return self._network

    @property
    def training(self) -> Mapping[str, Any]:
        """What the weights' file says of their training, such as ``faces_seen``; empty where it says nothing."""
        return self._network.info.training

    @property
    def low_confidence(self) -> float:
        """Mean confidence of a face below which its landmarks are not to be trusted.

        Measured for these weights; where they were not calibrated, `LOW_CONFIDENCE` for faces, and 0 for any other
        object, of which nobody knows what is low.
        """
        if (calibration := self._network.info.calibration) is not None:
            return calibration.low_confidence
        return LOW_CONFIDENCE if self.scheme.is_face else 0.0

    @property
    def scheme(self) -> LandmarkScheme:
        """What the landmarks are."""
        return self._network.info.scheme

    @property
    def detector(self) -> Detector:
        """What finds the faces where no boxes are given; of an object that is no face, by default the whole image."""
        if self._detector is None:
            self._detector = default_detector(self.threads) if self.scheme.is_face else WholeImage()
        return self._detector

    @detector.setter
    def detector(self, detector: Detector) -> None:
        self._detector = detector

    def detect(self, image: NDArray[np.uint8], /) -> Detections:
        """The faces that the detector finds in an (h, w, 3) RGB image; several threads may call it at once.

        Raises:
            ValueError: the detector gives something else than boxes and scores.
        """
        with self._taking_turns():
            detector = self.detector  # made by the first who needs it
        with contextlib.nullcontext() if getattr(detector, "concurrent", False) else self._taking_turns():
            boxes, scores = detect(detector, image)
        if self.max_faces is not None and len(scores) > self.max_faces:
            kept = np.argsort(-scores, kind="stable")[: self.max_faces]
            boxes, scores = boxes[kept], scores[kept]
        return Detections(boxes, scores)

    def __call__(
        self,
        image: ImageSource,
        boxes: ArrayLike | None = None,
        box_kind: BoxKind | None = None,
        passes: int | None = None,
    ) -> list[Face]:
        """The faces of one image, run as one batch.

        Args:
            image: a path, the bytes of an image file, a PIL image or an RGB array; see `read_image`.
            boxes: (n, 4) x0, y0, x1, y1 in pixels: where the faces are, in the order of the result. None finds them;
                they come back with the most certain one first. A box may reach over the edge of the image, and have a
                fifth number, the angle of `Detections`.
            box_kind: what the boxes surround, see `BoxKind`; None is `LandmarkScheme.box_kind`.
            passes: as in the constructor, for this call.

        Raises:
            FileNotFoundError, IsADirectoryError: as `read_image`.
            ValueError: the image cannot be used (`ImageError`); or a box is not finite, has no area or lies outside
                of the image, and the message says which.
        """
        return self._one(image, boxes, box_kind, passes, False).faces

    def volumes(
        self,
        image: ImageSource,
        boxes: ArrayLike | None = None,
        box_kind: BoxKind | None = None,
        passes: int | None = None,
    ) -> tuple[list[Face], NDArray[np.float32], list[Crop]]:
        """The faces of one image with what the network saw on the way: faces, volumes and crops as in `Result`."""
        result = self._one(image, boxes, box_kind, passes, True)
        return result.faces, result.volumes, result.crops

    def batch(
        self,
        images: Iterable[ImageSource],
        boxes: Iterable[ArrayLike | None] | None = None,
        box_kind: BoxKind | None = None,
        passes: int | None = None,
    ) -> list[list[Face]]:
        """The faces of many images, run through the network together; see `stream` for more than memory holds."""
        return list(self.stream(images, boxes, box_kind, passes))

    def stream(
        self,
        images: Iterable[ImageSource],
        boxes: Iterable[ArrayLike | None] | None = None,
        box_kind: BoxKind | None = None,
        passes: int | None = None,
    ) -> Iterator[list[Face]]:
        """The faces of any number of images, one list after the other, in bounded memory; see `results`.

        Raises:
            ValueError: images and boxes differ in number. Otherwise as in a single call, when the image's turn comes.
        """
        return (result.faces for result in self.results(images, boxes, box_kind, passes))

    def results(
        self,
        images: Iterable[ImageSource],
        boxes: Iterable[ArrayLike | None] | None = None,
        box_kind: BoxKind | None = None,
        passes: int | None = None,
        details: bool = False,
        on_error: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Result]:
        """What becomes of any number of images, one after the other, in bounded memory.

        Images are taken when their turn comes, so a generator will do, and several threads work at most twice as many
        images ahead. On several cores each image is one thread's from file to faces, which leaves no core waiting; on
        one core, or elsewhere than on the CPU, faces of several images share a batch.

        Args:
            images: each as in a single call; also an array of (images, h, w, 3).
            boxes: for each image its boxes, or None to find them.
            box_kind: as in a single call, for all boxes.
            passes: as in a single call.
            details: whether the results hold image, volumes and crops.
            on_error: what comes of an image that cannot be used, or whose boxes cannot: the error is raised, after the
                results of the images before it, or is that of its result, and the next images go on.

        Raises:
            ValueError: images and boxes differ in number. Otherwise as in a single call, when the image's turn comes.
        """
        if isinstance(images, (str, bytes, os.PathLike)) or (isinstance(images, np.ndarray) and images.ndim != 4):
            raise ValueError("images must be several images, such as a list of paths; for one, call the landmarker")
        passes = self._checked_passes(passes)
        nothing = np.zeros((0, 0, 3), np.uint8)
        alone = self._on_one_thread() if self.threads > 1 and self._network.on_cpu else None

        def prepare(pair: tuple[ImageSource, ArrayLike | None]) -> _Job:
            try:
                job = (alone or self)._prepare(*pair, box_kind)
            except (OSError, ValueError) as error:
                if on_error == "raise":
                    raise
                return _Job(nothing, (0, 0), np.zeros((0, 4)), (), (), error=error)
            return job if job.crops or details else replace(job, image=nothing)

        paired = _paired(images, boxes)
        if alone is None:
            return self._results(parallel_map(prepare, paired, self.threads), passes, details)
        whole = alone._finished
        return parallel_map(lambda pair: next(whole([prepare(pair)], passes, details)), paired, self.threads)

    def _on_one_thread(self) -> Landmarker:
        """This landmarker as each of several threads uses it."""
        other = copy.copy(self)
        other.threads, other._network = 1, self._single()
        with self._taking_turns():
            other._detector = self.detector
        if isinstance(other._detector, FaceDetector):
            other._detector = other._detector.on_one_thread()
        return other

    def _results(self, prepared: Iterator[_Job], passes: int, details: bool) -> Iterator[Result]:
        """The results of jobs, as many at a time as fill a batch."""
        pending: list[_Job] = []
        while True:
            try:
                pending.append(next(prepared))
            except StopIteration:
                break
            except (OSError, ValueError):
                yield from self._finished(pending, passes, details)  # those before it are not lost
                raise
            crops = sum(len(job.crops) for job in pending)
            pixels = sum(job.image.size // 3 for job in pending)
            if not crops or crops >= self.max_batch or pixels >= _MOST_PENDING_PIXELS:
                yield from self._finished(pending, passes, details)
                pending = []
        yield from self._finished(pending, passes, details)

    def _checked_passes(self, passes: int | None) -> int:
        return _at_least_one("passes", self.passes if passes is None else passes)

    def _one(
        self, image: ImageSource, boxes: ArrayLike | None, box_kind: BoxKind | None, passes: int | None, details: bool
    ) -> Result:
        passes = self._checked_passes(passes)
        (result,) = self._finished([self._prepare(image, boxes, box_kind)], passes, details)
        return result

    def _finished(self, jobs: Sequence[_Job], passes: int, details: bool) -> Iterator[Result]:
        regressed = self._regress(jobs, passes)
        for job in jobs:
            own = list(islice(regressed, len(job.crops)))
            faces = list(map(self._face, job.boxes, job.scores, own))
            result = Result(faces, job.error, job.size)
            if details:
                result = replace(result, image=job.image)
            if details and own:
                crops = [_moved_in_depth(one.crop, one.points_px) for one in own]
                result = replace(result, volumes=np.stack([one.volume for one in own]), crops=crops)
            yield result

    def _prepare(self, source: ImageSource, boxes: ArrayLike | None, box_kind: BoxKind | None) -> _Job:
        """Reads an image and decides where its faces are."""
        if box_kind not in (None, "detector", "landmarks"):
            raise ValueError(f'box_kind must be "detector" or "landmarks", got {box_kind!r}')
        box_kind = box_kind if boxes is not None and box_kind else self.scheme.box_kind
        crop_of = Crop.from_detection if box_kind == "detector" else Crop.from_box
        image, rule, depth = read_image(source), self._network.info.crop, self.scheme.depth
        size = image.shape[1], image.shape[0]
        if boxes is None:
            detected, scores = self.detect(image)
            crops = [replace(crop_of(box, rule=rule), depth=depth) for box in detected]
            return _Job(image, size, detected, scores.tolist(), crops, box_kind)
        name = f"{source}: " if isinstance(source, (str, os.PathLike)) else ""
        given = checked_boxes(boxes, image, name)
        crops = [replace(crop_of(box, rule=rule), depth=depth) for box in given]
        return _Job(image, size, given, [None] * len(given), crops, box_kind)

    def _regress(self, jobs: Sequence[_Job], passes: int) -> Iterator[Regressed]:
        """Runs the crops of all jobs in batches; one result for each crop, in order."""
        views = [
            View(job.image, crop, job.box_kind == "detector", job.boxes.shape[1] == BOX_WITH_ANGLE)
            for job in jobs
            for crop in job.crops
        ]
        for start in range(0, len(views), self.max_batch):
            yield from regress(self._network, views[start : start + self.max_batch], passes)

    def _face(self, box: NDArray[np.floating], score: float | None, regressed: Regressed) -> Face:
        points = regressed.points_px.copy()
        points[:, 2] -= points[:, 2].mean()
        calibration = self._network.info.calibration
        pose: HeadPose | None = None if self._template is None else head_pose(points, self._template)
        return Face(
            points=points.astype(np.float32),
            box=box[:4].astype(np.float32),
            confidence=regressed.confidence.astype(np.float32),
            angle=float(box[4]) if len(box) == BOX_WITH_ANGLE else 0.0,
            score=score,
            yaw=None if pose is None else pose.yaw_deg,
            pitch=None if pose is None else pose.pitch_deg,
            roll=None if pose is None else pose.roll_deg,
            scheme=self.scheme.name,
            expected_error=None
            if calibration is None
            else calibration.expected_error(regressed.confidence).astype(np.float32),
        )


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def _moved_in_depth(crop: Crop, points_px: NDArray[np.float64]) -> Crop:
    """The crop in the frame where the points' depth has its mean at 0."""
    x, y, z = crop.center
    return replace(crop, center=(x, y, z - float(points_px[:, 2].mean())))


def _paired(
    images: Iterable[ImageSource], boxes: Iterable[ArrayLike | None] | None
) -> Iterator[tuple[ImageSource, ArrayLike | None]]:
    if boxes is None:
        yield from ((image, None) for image in images)
        return
    missing: Any = object()
    for image, image_boxes in zip_longest(images, boxes, fillvalue=missing):
        if image is missing or image_boxes is missing:
            raise ValueError("images and boxes differ in number: give one array of boxes, or None, for each image")
        yield image, image_boxes
