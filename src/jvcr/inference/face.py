"""What is found of a face: the same object from Python, in JSON files and anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.geometry.aperture import EYE_RANGE, MOUTH_RANGE, OpenRange, openness
from jvcr.geometry.pose import HeadPose, euler_to_rotation, in_image_frame
from jvcr.inference.image import ImageSource, read_image
from jvcr.scheme import load_scheme

PIXEL_DECIMALS = 2
SHARE_DECIMALS = 3
DEGREE_DECIMALS = 2
ROTATION_DECIMALS = 6

EYE_LANDMARKS, LIP_LANDMARKS = 6, 8
"""Of contours that begin at a corner; face66 has lips without corners."""


@dataclass(frozen=True, eq=False)
class Face:
    """The 3D landmarks of one face. Its arrays are read-only; two faces are equal if all their values are.

    Attributes:
        points: (N, 3) float32 landmarks in the image frame: x right, y down, z away from the camera, all in pixels of
            the image; an integer is a pixel's centre, and z has its mean over the landmarks at 0.
        box: (4,) float32 x0, y0, x1, y1 in pixels: where the face was looked for, the detector's box or the caller's.
        confidence: (N,) float32, 0 to 1: the predicted volume at each landmark, which is near 1 where volume and
            landmark agree and low for a landmark that is hidden or a guess. It is no probability.
        score: the detector's, 0 to 1; None where the caller gave the box, as nothing then judged it.
        yaw: degrees, positive when the nose points to the left side of the image; None, as the next two, where the
            scheme has no template to measure the pose by.
        pitch: degrees, positive when the head looks up.
        roll: degrees, positive when the head leans clockwise on the screen. Of the two triples of angles that describe
            a pose this is the one with a yaw of -90 to 90.
        scheme: name of the landmark scheme, which says what the N landmarks are.
        expected_error: (N,) float32, distance in x and y from the truth to expect, percent of the face's size, which is
            sqrt(width * height) of the landmarks' box, as in the NME; None where the weights were not calibrated.
        angle: degrees by which the box, and so the face, is turned clockwise about its middle.

    Raises:
        ValueError: an array has another shape, or a value is not finite.
    """

    points: NDArray[np.float32]
    box: NDArray[np.float32]
    confidence: NDArray[np.float32]
    score: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    scheme: str = "face68"
    expected_error: NDArray[np.float32] | None = None
    angle: float = 0.0

    def __post_init__(self) -> None:
        shapes: dict[str, tuple[int | None, ...]] = {
            "points": (None, 3),
            "box": (4,),
            "confidence": (len(self.points),),
        }
        if self.expected_error is not None:
            shapes["expected_error"] = shapes["confidence"]
        for name, shape in shapes.items():
            object.__setattr__(self, name, _frozen(name, getattr(self, name), shape))

    @property
    def rotation(self) -> NDArray[np.float64] | None:
        """(3, 3) what turns a head that looks straight at the camera into this one, in the frame of ``points``.

        It is a rotation by -pitch around x, then yaw around the new y, then roll around the new z: what scipy calls
        ``Rotation.from_euler("XYZ", [-pitch, yaw, roll], degrees=True)``. None where there are no angles. Near a yaw of
        90 degrees pitch and roll run into each other, and only the rotation means something.
        """
        return _rotation(self.yaw, self.pitch, self.roll)

    @property
    def eye_open(self) -> tuple[float, float] | None:
        """How far the face's own left and right eye are open, 0 closed to 1 wide open; None where it has none.

        The eye aspect ratio (Soukupova and Cech 2016) of x and y, on a scale calibrated on labels by hand
        (`jvcr.geometry.aperture`). It means something up to a yaw of about 45 degrees.
        """
        groups = _groups(self.scheme)
        eyes = [groups.get(name, ()) for name in ("left_eye", "right_eye")]
        if any(len(eye) != EYE_LANDMARKS for eye in eyes):
            return None
        left, right = (self._open(eye, EYE_RANGE) for eye in eyes)
        return left, right

    @property
    def mouth_open(self) -> float | None:
        """How far the inner lips are apart, 0 closed to 1 wide open, as `eye_open`; None where it has no such lips."""
        lips = _groups(self.scheme).get("inner_lips", ())
        return self._open(lips, MOUTH_RANGE) if len(lips) == LIP_LANDMARKS else None

    def __getitem__(self, part: str) -> NDArray[np.float32]:
        """(n, 3) the landmarks of a part by its name in the scheme, such as "left_eye", in drawing order.

        A KeyError, with the names that there are, if there is no such part.
        """
        groups = _groups(self.scheme)
        if part not in groups:
            raise KeyError(f"{self.scheme} has no part {part!r}, but {', '.join(groups) or 'none'}")
        return self.points[list(groups[part])]

    def draw(self, image: ImageSource) -> NDArray[np.uint8]:
        """A copy of the picture with this face's landmarks on it, RGB: warm colours are near the camera, cold ones far.

        Args:
            image: the picture that the face was found in; see `read_image`, and `jvcr.viz.landmarks.draw_faces` for
                several faces at once.

        Example:
            >>> from PIL import Image
            >>> Image.fromarray(jvcr.Landmarker()("photo.jpg")[0].draw("photo.jpg"))  # doctest: +SKIP
        """
        from jvcr.viz.landmarks import draw_faces  # whoever draws nothing need not load it

        return draw_faces(read_image(image), [self])

    def resized(self, across: float, down: float) -> Face:
        """The face in the picture resized by these factors, whose pixels again have their centres at whole numbers.

        Depth is scaled by their mean.
        """
        center = np.array([0.5, 0.5, 0])  # depth has no edge that its half pixel could refer to
        points = (self.points + center) * [across, down, (across + down) / 2] - center
        box = (self.box + 0.5) * [across, down, across, down] - 0.5
        return replace(self, points=points.astype(np.float32), box=box.astype(np.float32))

    def _repr_html_(self) -> str:
        """What notebooks show: the lines of the landmarks, as large as they are in the picture or smaller."""
        low, high = self.points[:, :2].min(0) - 4, self.points[:, :2].max(0) + 4
        (x, y), (width, height) = low.tolist(), (high - low).tolist()
        places = [f"{px:.1f},{py:.1f}" for px, py, _ in self.points.tolist()]
        lines = [" ".join(places[i] for i in group) for group in _groups(self.scheme).values()]
        thin = f'fill="none" stroke="#2a7de1" stroke-width="{max(width, height) / 150:.2f}"'
        drawn = "".join(f'<polyline points="{line}" {thin}/>' for line in lines)
        dots = "".join(
            f'<circle cx="{place.split(",")[0]}" cy="{place.split(",")[1]}" r="{max(width, height) / 120:.2f}"/>'
            for place in places
        )
        size = f'width="{min(width, 320):.0f}" viewBox="{x:.1f} {y:.1f} {width:.1f} {height:.1f}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{drawn}{dots}</svg><br><code>{self!r}</code>'

    def _open(self, contour: Sequence[int], limits: OpenRange) -> float:
        # Of the points as JSON has them, so that a face that was read back is as open as the one that was written.
        return openness(self.points[list(contour)].round(PIXEL_DECIMALS), limits)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Face):
            return NotImplemented
        return all(np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    def __repr__(self) -> str:
        angles = {"yaw": self.yaw, "pitch": self.pitch, "roll": self.roll}
        pose = "".join(f", {name}={angle:.1f}" for name, angle in angles.items() if angle is not None)
        score = "" if self.score is None else f", score={self.score:.2f}"
        box = ", ".join(f"{v:.1f}" for v in self.box)
        return f"Face({len(self.points)} points of {self.scheme}, box=[{box}]{score}{pose})"

    def to_dict(self) -> dict[str, Any]:
        """The face in plain types, for JSON; `from_dict` reads it back.

        Pixels and degrees are rounded to 2 decimals, scores and confidences to 3: finer than what can be measured.
        ``rotation`` is that of the rounded angles.
        """
        yaw, pitch, roll = map(_rounded_angle, (self.yaw, self.pitch, self.roll))
        rotation = _rotation(yaw, pitch, roll)
        eyes, mouth = self.eye_open, self.mouth_open
        return {
            "points": [_rounded(p, PIXEL_DECIMALS) for p in self.points],
            "box": _rounded(self.box, PIXEL_DECIMALS),
            "angle": _rounded_angle(self.angle),
            "score": None if self.score is None else round(float(self.score), SHARE_DECIMALS),
            "confidence": _rounded(self.confidence, SHARE_DECIMALS),
            "expected_error": None if self.expected_error is None else _rounded(self.expected_error, PIXEL_DECIMALS),
            "yaw": yaw,
            "pitch": pitch,
            "roll": roll,
            "rotation": None if rotation is None else [_rounded(row, ROTATION_DECIMALS) for row in rotation],
            "eye_open": None if eyes is None else [round(v, SHARE_DECIMALS) for v in eyes],
            "mouth_open": None if mouth is None else round(mouth, SHARE_DECIMALS),
            "scheme": self.scheme,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Face:
        """A face from what `to_dict` gave; unknown keys are left alone, and what follows from others is not read.

        Raises:
            ValueError: a key is missing or its value is of the wrong kind or shape.
        """
        try:
            points = _frozen("points", data["points"], (None, 3))
            expected = data.get("expected_error")
            return cls(
                points=points,
                box=_frozen("box", data["box"], (4,)),
                confidence=_frozen("confidence", data["confidence"], (len(points),)),
                angle=float(data.get("angle", 0.0)),
                score=_number(data["score"]),
                yaw=_number(data["yaw"]),
                pitch=_number(data["pitch"]),
                roll=_number(data["roll"]),
                scheme=str(data["scheme"]),
                expected_error=None if expected is None else _frozen("expected_error", expected, (len(points),)),
            )
        except KeyError as error:
            raise ValueError(f"a face needs the key {error}; it has {', '.join(data) or 'none'}") from error
        except TypeError as error:
            raise ValueError(f"a face has a value of the wrong kind: {error}") from error


@lru_cache
def _groups(scheme: str) -> dict[str, tuple[int, ...]]:
    """The groups of a built-in scheme; none of any other, as a face knows no more of it than its name."""
    try:
        return load_scheme(scheme).groups
    except (OSError, ValueError):
        return {}


def _frozen(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """A read-only float32 copy, checked."""
    try:
        array = np.array(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of a face must be numbers of the shape {_text(shape)}: {error}") from error
    if array.ndim != len(shape) or any(s is not None and s != a for s, a in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} of a face must have the shape {_text(shape)}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} of a face holds NaN or infinite values")
    array.flags.writeable = False
    return array


def _text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('N' if s is None else str(s) for s in shape)}{',' if len(shape) == 1 else ''})"


def _rounded(values: NDArray[np.floating], decimals: int) -> list[float]:
    return [round(float(v), decimals) + 0.0 for v in values]  # adding 0 takes the sign off a negative zero


def _rotation(yaw: float | None, pitch: float | None, roll: float | None) -> NDArray[np.float64] | None:
    if yaw is None or pitch is None or roll is None:
        return None
    return in_image_frame(euler_to_rotation(HeadPose(yaw, pitch, roll)))


def _rounded_angle(angle: float | None) -> float | None:
    return None if angle is None else round(float(angle), DEGREE_DECIMALS) + 0.0


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
