"""Following faces from frame to frame: each by its last landmarks, under an identity that stays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.crop import Crop, box_fault, upright_squares
from jvcr.geometry.pose import HeadPose, leans_deg
from jvcr.inference.detector import Detector, detect
from jvcr.inference.face import Face
from jvcr.inference.face_detector import FaceDetector
from jvcr.inference.image import read_image
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.one_euro import FaceSmoother

DETECT_LONG_SIDE = 320
"""Frames are made this long for the detector, which then finds faces from 1/15 of the frame's longer side on."""

DETECT_EVERY_S = 1.0
"""How long a new face may go unseen beside those that are followed, seconds."""

UPRIGHT_WITHIN_DEG = 30.0
"""Faces that lean further are shown to the network upright; it has learned from faces turned by so much."""

KEEP_S = 3.0
"""How long a lost face's identity is kept for it, seconds."""

SEARCH_EVERY_S = 0.25
"""As long as it is kept, the detector looks for it this often, seconds."""

SMALLEST_FACE = 8.0
"""Longer side of the smallest landmarks' box that is followed, pixels."""

LARGEST_CHANGE = 2.0
"""A face that grows or shrinks by more than this factor between two frames is none."""

SAME_SQUARE = 0.3
"""Shared part of the union of a detection's square and a followed face's, from which on they can be one face."""

SAME_FACE = 0.15
"""Mean distance of the corresponding landmarks, in sizes of the face, below which two tracks follow one face."""

REACH, REACH_PER_S, LONGEST_REACH, LARGEST_GROWTH = 0.5, 1.0, 2.0, 1.6
"""How far from where it was lost a face may come back, in its sizes: at once, more for each second, and at most; and by
which factor it may have grown or shrunk."""

SAME_VIEW, SAME_LOOK = 0.8, 0.8
"""Correlation of two thumbnails of following frames, or of a face in them, below which they show something else.

Of pairs of different faces at one place 99 % lie below 0.77, of their pictures below 0.71. In motion of a face size a
second at 10 frames a second frames stay above 0.90; a small or turning face alone may fall below 0.8."""

VELOCITY_MEMORY_S = 0.2
"""Over about this time the velocity of a face is averaged, seconds."""


@dataclass(frozen=True, eq=False, repr=False)
class TrackedFace(Face):
    """A face of a video.

    Attributes:
        id: which face it is, counted from 1: the same in all frames in which it was followed.
    """

    id: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrackedFace) and super().__eq__(other) is True

    def __repr__(self) -> str:
        return f"Tracked{super().__repr__()[:-1]}, id={self.id})"

    def to_dict(self) -> dict[str, Any]:
        """As `Face.to_dict`, with the ``id`` first."""
        return {"id": self.id, **super().to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrackedFace:
        """A face from what `to_dict` gave; refused with a ValueError as by `Face.from_dict`, or without an id."""
        if not isinstance(data.get("id"), int):
            raise ValueError(f"a tracked face needs a whole number as id, got {data.get('id')!r}")
        return _with_id(Face.from_dict(data), data["id"])


def _with_id(face: Face, number: int) -> TrackedFace:
    return TrackedFace(**{f.name: getattr(face, f.name) for f in dataclasses.fields(Face)}, id=number)


@dataclass(eq=False)
class _Track:
    """A face that is followed, or was until ``time_s``."""

    id: int
    face: Face
    before: Face  # of the frame before
    look: NDArray[np.uint8]
    time_s: float
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))  # pixels a second
    astray_px: float = 0.0  # how far its last landmarks lie from where its motion would have led
    smoother: FaceSmoother = field(default_factory=FaceSmoother)

    def move(self, face: Face, look: NDArray[np.uint8], time_s: float) -> None:
        """Takes what was found in a new frame."""
        step_s = time_s - self.time_s
        moved = _middle(face) - _middle(self.face)
        self.astray_px = float(np.linalg.norm(moved - self.velocity * step_s))
        self.velocity += step_s / (step_s + VELOCITY_MEMORY_S) * (moved / step_s - self.velocity)
        self.before, self.face, self.look, self.time_s = self.face, face, look, time_s


class Tracker:
    """Follows the faces of a video, and gives each an identity.

    A face is looked for in the crop around its landmarks of the frame before, and the detector runs only where no face
    is followed, one was lost, or now and then for new ones. It has a state: one object for one video, its frames in
    order; a `Landmarker` may serve many.

    A track ends when the mean confidence of its landmarks falls below ``min_confidence``, when its box is none that a
    face could have, or when it comes to lie on the face of another one: then that one goes on whose motion led there.
    Its identity is kept for three seconds, for a detection about as large and not far from where it was lost. After a
    cut, where the picture changes from one frame to the next and the face with it, all begins anew.

    Args:
        landmarker: finds the landmarks.
        detector: finds the faces; None is `FaceDetector` at a long side of 320 pixels, with as many threads as the
            landmarker has; and for weights of an object that is no face, what the landmarker has.
        detect_every_s: the detector looks for new faces this often, seconds; 0 is in each frame.
        max_faces: no more are followed; None is as many as there are. As long as all are, the detector rests.
        smooth: whether landmarks and pose are smoothed, see `FaceSmoother`. What is followed are the raw ones.
        min_confidence: mean confidence below which a face is lost. None is the landmarker's `low_confidence`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> tracker = Tracker(Landmarker())
        >>> for time_s, frame in frames:
        ...     for face in tracker(frame, time_s):
        ...         print(time_s, face.id, face.yaw)
    """

    def __init__(
        self,
        landmarker: Landmarker,
        detector: Detector | None = None,
        detect_every_s: float = DETECT_EVERY_S,
        max_faces: int | None = None,
        smooth: bool = True,
        min_confidence: float | None = None,
    ) -> None:
        if not detect_every_s >= 0:
            raise ValueError(f"detect_every_s must be at least 0 seconds, got {detect_every_s}")
        if max_faces is not None and max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, or None for all, got {max_faces}")
        if min_confidence is None:
            min_confidence = landmarker.low_confidence
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence must be from 0 to 1, got {min_confidence}")
        if detector is None:
            is_face = landmarker.scheme.is_face
            detector = FaceDetector(DETECT_LONG_SIDE, threads=landmarker.threads) if is_face else landmarker.detector
        self.landmarker = landmarker
        self.detector = detector
        self.detect_every_s = detect_every_s
        self.max_faces = max_faces
        self.smooth = smooth
        self.min_confidence = min_confidence
        self._tracks: list[_Track] = []
        self._lost: list[_Track] = []
        self._time_s = self._detected_s = -math.inf
        self._look_again = False
        self._size: tuple[int, int] | None = None
        self._view: NDArray[np.uint8] | None = None
        self._last_id = 0

    def __call__(self, frame: NDArray[np.uint8], time_s: float) -> list[TrackedFace]:
        """The faces that are followed into the next frame, in the order of their identities.

        Their ``score`` is the detector's where it saw them in this frame, else None.

        Args:
            frame: (h, w, 3) RGB; its size may change from frame to frame, and is then taken for the same view at
                another resolution.
            time_s: when it was taken, seconds; frames need not come at a steady rate.

        Raises:
            ValueError: the frame cannot be used (`ImageError`), or its time is not later than that of the one before.
        """
        image = read_image(frame)
        if not (math.isfinite(time_s) and time_s > self._time_s):
            raise ValueError(f"time_s must rise from frame to frame, got {time_s} after {self._time_s}")
        self._time_s = time_s
        self._fit_to(image)
        self._lost = [track for track in self._lost if time_s - track.time_s <= KEEP_S]
        self._follow(image)
        if self._detection_is_due():
            self._detect(image)
        self._tracks.sort(key=lambda track: track.id)
        return [self._result(track) for track in self._tracks]

    def _fit_to(self, image: NDArray[np.uint8]) -> None:
        """Takes what is known of faces into the pixels of a frame of another size."""
        size = image.shape[1], image.shape[0]
        if self._size not in (None, size):
            across, down = (new / old for new, old in zip(size, self._size or size, strict=True))
            for track in self._tracks + self._lost:
                track.face = track.face.resized(across, down)
                track.velocity *= (across, down)
                track.smoother = FaceSmoother()
            self._look_again = True
        self._size = size

    def _follow(self, image: NDArray[np.uint8]) -> None:
        """Finds the followed faces in a new frame, or loses them."""
        height, width = image.shape[:2]
        view, other_view = _thumbnail(image), False
        if view.std() >= 1:  # a black frame is passed over
            other_view = self._view is not None and _correlation(view, self._view) < SAME_VIEW
            self._view = view
        tracks, self._tracks = self._tracks, []
        inside = [track for track in tracks if not box_fault(_box(track.face), width, height)]
        for track in tracks:
            if track not in inside:
                self._lose(track)
        places = [_upright_box(track.face, self.landmarker.scheme.template) for track in inside]
        faces = self.landmarker(image, places, "landmarks") if inside else []
        for track, face in zip(inside, faces, strict=True):
            look = _thumbnail(image, _box(face))
            if other_view and _correlation(look, track.look) < SAME_LOOK:
                self._look_again = True  # a cut: whoever is there now is somebody else
            elif self._is_face(face) and 1 / LARGEST_CHANGE <= _size(face) / _size(track.face) <= LARGEST_CHANGE:
                track.move(face, look, self._time_s)
                self._tracks.append(track)
            else:
                self._lose(track)
        # The face that is hidden behind another one jumps onto it.
        for track in sorted(self._tracks, key=lambda track: -track.astray_px / _size(track.face)):
            if any(other is not track and _same_face(track.face, other.face) for other in self._tracks):
                self._tracks.remove(track)
                track.face = track.before
                self._lose(track)

    def _lose(self, track: _Track) -> None:
        self._lost.append(track)
        self._look_again = True

    def _is_face(self, face: Face) -> bool:
        return float(face.confidence.mean()) >= self.min_confidence and _size(face) >= SMALLEST_FACE

    def _detection_is_due(self) -> bool:
        if self.max_faces is not None and len(self._tracks) >= self.max_faces:
            return False
        every_s = min(self.detect_every_s, SEARCH_EVERY_S) if self._lost else self.detect_every_s
        waited = self._time_s - self._detected_s >= every_s - 1e-6
        return waited or self._look_again or not self._tracks

    def _detect(self, image: NDArray[np.uint8]) -> None:
        """Looks for faces that are not followed."""
        self._detected_s, self._look_again = self._time_s, False
        boxes, scores = detect(self.detector, image)
        box_kind = self.landmarker.scheme.box_kind
        crop_of = Crop.from_detection if box_kind == "detector" else Crop.from_box
        seen = self._matched([crop_of(box) for box in boxes])
        for number, track in seen.items():
            track.face = dataclasses.replace(track.face, score=float(scores[number]))
        new = [number for number in range(len(boxes)) if number not in seen]
        room = len(new) if self.max_faces is None else self.max_faces - len(self._tracks)
        if not new or not room:
            return
        for i, face in zip(new, self.landmarker(image, boxes[new], box_kind), strict=True):
            known = any(_same_face(face, track.face) for track in self._tracks)
            if self._is_face(face) and not known and room:
                self._begin(dataclasses.replace(face, score=float(scores[i])), image)
                room -= 1

    def _matched(self, squares: list[Crop]) -> dict[int, _Track]:
        """The faces that are followed already: number of a detection's square -> track, best overlap first."""
        pairs = [
            (_shared(square, Crop.around_landmarks(track.face.points)), number, track)
            for number, square in enumerate(squares)
            for track in self._tracks
        ]
        matched: dict[int, _Track] = {}
        for shared, number, track in sorted(pairs, key=lambda pair: -pair[0]):
            if shared >= SAME_SQUARE and number not in matched and track not in matched.values():
                matched[number] = track
        return matched

    def _begin(self, face: Face, image: NDArray[np.uint8]) -> None:
        """Follows a face from now on: one that was lost, if it can be that one, or a new one."""
        back = [(away, track) for track in self._lost if (away := self._away(track, face)) <= 1]
        if back:
            _, track = min(back, key=lambda pair: pair[0])
            self._lost.remove(track)
            number = track.id
        else:
            self._last_id = number = self._last_id + 1
        self._tracks.append(_Track(number, face, face, _thumbnail(image, _box(face)), self._time_s))

    def _away(self, track: _Track, face: Face) -> float:
        """How far a face lies from a lost one, over how far that one can have gone; inf if it is not as large."""
        size = _size(track.face)
        if not 1 / LARGEST_GROWTH <= _size(face) / size <= LARGEST_GROWTH:
            return math.inf
        reach = min(REACH + REACH_PER_S * (self._time_s - track.time_s), LONGEST_REACH)
        return float(np.linalg.norm(_middle(face) - _middle(track.face))) / (reach * size)

    def _result(self, track: _Track) -> TrackedFace:
        face = track.face
        if self.smooth:
            known = face.yaw is not None and face.pitch is not None and face.roll is not None
            pose = HeadPose(face.yaw, face.pitch, face.roll) if known else None  # type: ignore[arg-type]
            points, pose = track.smoother(face.points, pose, self._time_s)
            face = dataclasses.replace(face, points=points.astype(np.float32))
            if pose is not None:
                face = dataclasses.replace(face, yaw=pose.yaw_deg, pitch=pose.pitch_deg, roll=pose.roll_deg)
        return _with_id(face, track.id)


def _box(face: Face) -> NDArray[np.float64]:
    """(4,) around the landmarks."""
    xy = face.points[:, :2].astype(np.float64)
    return np.concatenate([xy.min(0), xy.max(0)])


def _upright_box(face: Face, template: tuple[tuple[float, float, float], ...] | None) -> NDArray[np.float64]:
    """(5,) the landmarks' box and its angle: that of the face where it leans further than the network has learned."""
    if (
        template is None
        or abs(lean := float(leans_deg(face.points[None], np.array(template))[0])) <= UPRIGHT_WITHIN_DEG
    ):
        return np.append(_box(face), 0.0)
    ((x, y, side, angle),) = upright_squares(face.points[None], [lean], margin=1.0)
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2, angle])


def _thumbnail(image: NDArray[np.uint8], box: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
    """A picture, or what of it lies in a box, reduced to 16 x 16 pixels."""
    if box is not None:
        (x0, y0), (x1, y1) = np.clip(np.rint(box).astype(int).reshape(2, 2), 0, np.array(image.shape[1::-1]) - 1)
        image = image[y0 : y1 + 1, x0 : x1 + 1]
    step = max(1, min(image.shape[:2]) // 64)
    thumbnail = cv2.resize(np.ascontiguousarray(image[::step, ::step]), (16, 16), interpolation=cv2.INTER_AREA)
    return np.asarray(thumbnail, dtype=np.uint8)


def _correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Of two thumbnails, -1 to 1, whatever their brightness and contrast; 1 if one shows nothing."""
    x, y = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else 1.0


def _size(face: Face) -> float:
    """Longer side of the landmarks' box, pixels; never 0."""
    return max(float(np.ptp(face.points[:, :2], axis=0).max()), 1e-6)


def _middle(face: Face) -> NDArray[np.float64]:
    return np.asarray(face.points[:, :2].mean(axis=0, dtype=np.float64))


def _same_face(a: Face, b: Face) -> bool:
    distance = np.linalg.norm(a.points[:, :2] - b.points[:, :2], axis=1).mean()
    return float(distance) < SAME_FACE * min(_size(a), _size(b))


def _shared(a: Crop, b: Crop) -> float:
    """Intersection over union of two upright squares."""
    sides = [
        min(p + a.side / 2, q + b.side / 2) - max(p - a.side / 2, q - b.side / 2)
        for p, q in zip(a.center[:2], b.center[:2], strict=True)
    ]
    common = max(0.0, sides[0]) * max(0.0, sides[1])
    return common / (a.side**2 + b.side**2 - common)
