"""The similarity between an image and the crop's cube.

Three frames meet here, and only here:

====== ==============================================================================================
image  x right, y down, z away from the camera, in pixels of the input image; an integer is a pixel's
       *centre*, so an image of width w covers x from -0.5 to w - 0.5
unit   the crop's cube, [-1, 1] on each axis; -1 and 1 are the crop's *edges*
crop   pixels of the square crop of n x n: pixel j has its centre at unit coordinate (j + 0.5) / n * 2 - 1
====== ==============================================================================================

::

    unit   -1        -0.5        0        0.5         1
            |----+----|----+----|----+----|----+----|
    crop         0         1         2         3            (n = 4)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

CropRule: TypeAlias = Literal["longer", "width"]
"""A crop's size goes by the longer side of the landmarks' box, or its width (the authors' released code). In depth the
first centres the cube on the landmarks' mid-range, the second on their mean."""

CROP_RULES: tuple[CropRule, ...] = get_args(CropRule)

TRAINING_MARGIN = 1.25
"""Side of the crop over the longer side, or the width, of the landmarks' box."""

DETECTOR_SCALE = 1.095
"""Square root of the area of a face detector's box over the longer side of the landmarks' box.

Of the measures of a box the root of the area predicts the landmarks' extent best."""

DETECTOR_RISE = 0.14
"""How far a detector's box lies above the landmarks' box, centre to centre, over the size of the detector's box."""

LARGEST_BOX = 1000.0
"""Side of the largest box that is not taken for a mistake, over the longer side of the image."""


@dataclass(frozen=True)
class Crop:
    """A square (in depth: a cube) cut out of an image: scale, in-plane rotation, shift and an optional mirror.

    Attributes:
        center: (x, y, z) of the cube's centre in the image frame, pixels.
        side: edge length of the cube, pixels of the image; positive.
        angle_deg: in-plane turn of the cube, degrees; positive turns its x axis towards its y axis, which is
            clockwise as seen on a screen. A face that leans clockwise by this angle stands upright in the crop.
        mirror: whether x is reflected.
        depth: edge length along z over ``side``: `jvcr.LandmarkScheme.depth`. Other than 1 it makes the cube a cuboid.
    """

    center: tuple[float, float, float]
    side: float
    angle_deg: float = 0.0
    mirror: bool = False
    depth: float = 1.0

    def __post_init__(self) -> None:
        values = (*self.center, self.side, self.angle_deg, self.depth)
        if len(self.center) != 3 or not all(map(math.isfinite, values)) or min(self.side, self.depth) <= 0:
            raise ValueError(
                "Crop needs a centre of three finite numbers, a finite angle, and side > 0 and depth > 0, "
                f"got center={self.center}, side={self.side}, angle_deg={self.angle_deg}, depth={self.depth}"
            )

    @classmethod
    def around_landmarks(
        cls,
        points_px: ArrayLike,
        margin: float = TRAINING_MARGIN,
        rule: CropRule = "longer",
        depth: float = 1.0,
    ) -> Crop:
        """The cube the networks are trained on, around (N, 3) landmarks in the image frame, or (N, 2) of depth 0.

        Its side is ``margin`` times the longer side of the landmarks' x-y box, its centre that box's centre and,
        in depth, the landmarks' mid-range. With the paper's margin of 1.25 every face of AFLW2000-3D fits.

        With the rule "width" the side is ``margin`` times that box's width, and in depth the centre is the landmarks'
        mean. A turned head is then larger than the cube: of 45 % of the faces of AFLW2000-3D, and 97 % of those beyond
        30 degrees, a landmark lies outside.

        Raises:
            ValueError: the points are not (N, 2) or (N, 3), not finite, or have no size that the rule could go by; or
                there is no such rule.
        """
        points = np.asarray(points_px, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] not in (2, 3) or not len(points):
            raise ValueError(f"points_px must have the shape (N, 3) or (N, 2), got {points.shape}")
        if not np.isfinite(points).all():
            raise ValueError("points_px holds NaN or infinite values")
        low, high = points.min(0), points.max(0)
        middle = (low + high) / 2
        width, height = (float(v) for v in (high - low)[:2])
        extent = _extent(width, height, rule)
        if extent <= 0:
            where = "spot" if max(width, height) <= 0 else "vertical line"
            raise ValueError(f"points_px all lie on one {where}: a crop around them has no size")
        z = 0.0
        if points.shape[1] == 3:
            z = float(middle[2] if rule == "longer" else points[:, 2].mean())
        return cls((float(middle[0]), float(middle[1]), z), margin * extent, depth=depth)

    @classmethod
    def from_box(cls, box_xyxy: ArrayLike, margin: float = TRAINING_MARGIN, rule: CropRule = "longer") -> Crop:
        """The crop for a box around the landmarks themselves, (x0, y0, x1, y1) in pixels, as `around_landmarks`.

        A fifth number is the angle in degrees by which the box is turned about its middle, and the crop with it.

        Raises:
            ValueError: the box is not such finite numbers with x0 < x1 and y0 < y1; or there is no such rule.
        """
        (x0, y0, x1, y1), angle = _box_and_angle(box_xyxy)
        return cls(((x0 + x1) / 2, (y0 + y1) / 2, 0.0), margin * _extent(x1 - x0, y1 - y0, rule), angle)

    @classmethod
    def from_detection(cls, box_xyxy: ArrayLike, rule: CropRule = "longer") -> Crop:
        """The crop for a face detector's box, (x0, y0, x1, y1) in pixels, or (x0, y0, x1, y1, angle_deg).

        With an angle the box is the upright one turned about its middle by so much, and so is the crop.

        Detectors box the face from the forehead down, higher and a little larger than the box of the 68 landmarks,
        which end at the eyebrows; this moves and scales accordingly. With libfacedetection on 400 training faces of
        faces3d, the side comes to 0.94 (profiles) to 1.01 (+-0.03 to 0.09) of that around the true landmarks, its
        centre to within 0.04 (+-0.05) of the side.

        With the rule "width" a detection counts as being as wide as the landmarks' box, whatever the head's turn: the
        landmarks are 1.03 (+-0.08) times as wide on 300 training faces of faces3d, 1.00 (+-0.10) times on 40 faces of
        AFLW2000-3D, and in both hardly differently in profile.

        Raises:
            ValueError: the box is not four finite numbers with x0 < x1 and y0 < y1; or there is no such rule.
        """
        (x0, y0, x1, y1), angle = _box_and_angle(box_xyxy)
        size = math.sqrt((x1 - x0) * (y1 - y0))
        across, down = -math.sin(math.radians(angle)), math.cos(math.radians(angle))
        rise = DETECTOR_RISE * size
        center = ((x0 + x1) / 2 + rise * across, (y0 + y1) / 2 + rise * down, 0.0)
        _check_rule(rule)
        side = TRAINING_MARGIN * (size / DETECTOR_SCALE if rule == "longer" else x1 - x0)
        return cls(center, side, angle)

    def jittered(
        self,
        shift: tuple[float, float, float] = (0, 0, 0),
        scale: float = 1,
        angle_deg: float = 0,
        mirror: bool = False,
    ) -> Crop:
        """This crop moved along the image's axes, in units of its side, scaled, turned, and reflected once more."""
        x, y, z = (c + s * self.side for c, s in zip(self.center, shift, strict=True))
        return replace(
            self,
            center=(x, y, z),
            side=self.side * scale,
            angle_deg=self.angle_deg + angle_deg,
            mirror=self.mirror != mirror,
        )

    def _axes(self) -> NDArray[np.float64]:
        """(3, 3): columns are the cube's axes in the image frame, for one unit, in pixels."""
        a = math.radians(self.angle_deg)
        flip = -1.0 if self.mirror else 1.0
        cos, sin = math.cos(a), math.sin(a)
        axes = np.array([[flip * cos, -sin, 0], [flip * sin, cos, 0], [0, 0, self.depth]])
        return axes * (self.side / 2)

    def to_image(self, points_unit: ArrayLike) -> NDArray[np.float64]:
        """Maps points (..., 3) of the unit frame to the image frame, pixels."""
        return np.asarray(points_unit, dtype=np.float64) @ self._axes().T + np.asarray(self.center)

    def to_unit(self, points_px: ArrayLike) -> NDArray[np.float64]:
        """Maps points (..., 3) of the image frame, pixels, to the unit frame."""
        axes = self._axes()
        points = (np.asarray(points_px, dtype=np.float64) - np.asarray(self.center)) @ axes * (2 / self.side) ** 2
        return points / [1, 1, self.depth**2]

    def crop_to_image_matrix(self, size: int) -> NDArray[np.float64]:
        """(2, 3) affine matrix from pixels of a crop of ``size`` x ``size`` to those of the image."""
        axes = self._axes()[:2, :2]
        # unit = (crop + 0.5) * 2 / size - 1
        linear = axes * (2 / size)
        offset = axes @ np.full(2, 1 / size - 1) + np.asarray(self.center[:2])
        return np.column_stack([linear, offset])

    def corners_px(self) -> NDArray[np.float64]:
        """(4, 2) corners of the crop in the image frame: top left, top right, bottom right, bottom left."""
        return self.to_image([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])[:, :2]


def _check_rule(rule: str) -> None:
    if rule not in CROP_RULES:
        raise ValueError(f"a crop's rule is one of {', '.join(map(repr, CROP_RULES))}, got {rule!r}")


def _extent(width: float, height: float, rule: CropRule) -> float:
    _check_rule(rule)
    return max(width, height) if rule == "longer" else width


def box_fault(box_xyxy: Any, width: int | None = None, height: int | None = None) -> str:
    """What is wrong with a box x0, y0, x1, y1, pixels; "" where nothing is.

    With ``width`` and ``height`` it must show some of an image of that size.

    Example:
        >>> box_fault([10, 10, 5, 20])
        'has no area: expected x0 < x1 and y0 < y1 (two corners, not a width and height)'
    """
    try:
        x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    except (TypeError, ValueError, OverflowError):
        return "is not four numbers x0, y0, x1, y1"
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        return "holds NaN or infinite values"
    if x1 <= x0 or y1 <= y0:
        return "has no area: expected x0 < x1 and y0 < y1 (two corners, not a width and height)"
    if width is None or height is None:
        return ""
    if max(x1 - x0, y1 - y0) < 1:
        return "is smaller than a pixel"
    if x1 <= -0.5 or y1 <= -0.5 or x0 >= width - 0.5 or y0 >= height - 0.5:
        return f"lies outside of the image of {width} x {height} pixels"
    if max(x1 - x0, y1 - y0) > LARGEST_BOX * max(width, height):
        return f"is far larger than the image of {width} x {height} pixels"
    return ""


def _box_and_angle(box: ArrayLike) -> tuple[tuple[float, ...], float]:
    numbers = np.asarray(box, dtype=np.float64)
    return (_checked_box(numbers[:4]), float(numbers[4])) if numbers.shape == (5,) else (_checked_box(box), 0.0)


def _checked_box(box_xyxy: ArrayLike) -> tuple[float, ...]:
    if fault := box_fault(box_xyxy):
        raise ValueError(f"the box {np.asarray(box_xyxy).tolist()} {fault}")
    return tuple(float(v) for v in np.asarray(box_xyxy, dtype=np.float64))


def upright_squares(
    points_px: ArrayLike, angles_deg: ArrayLike, margin: float = TRAINING_MARGIN
) -> NDArray[np.float64]:
    """The upright crops around the landmarks of many faces, each turned by its own angle.

    It is `Crop.around_landmarks` in a picture that has been turned back by that angle.

    Args:
        points_px: (F, N, 2) or (F, N, 3) landmarks in the image frame.
        angles_deg: (F,) the angle of each crop, as `Crop.angle_deg`.
        margin: side over the longer side of the landmarks' box.

    Returns:
        (F, 4): x and y of the centre, side, all in pixels of the image, and the angle.
    """
    points, angles = np.asarray(points_px, dtype=np.float64), np.asarray(angles_deg, dtype=np.float64)
    cos, sin = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    axes = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=1)  # columns: the crop's axes
    inside = points[..., :2] @ axes
    low, high = inside.min(1), inside.max(1)
    centers = (axes @ ((low + high) / 2)[..., None])[..., 0]
    return np.column_stack([centers, margin * (high - low).max(1), angles])
