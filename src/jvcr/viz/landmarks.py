"""Drawing faces: landmarks on the picture, and the same landmarks in 3D from several sides."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.pose import HeadPose, euler_to_rotation
from jvcr.geometry.visibility import hidden_landmarks
from jvcr.scheme import LandmarkScheme, load_scheme

VIEWS = (("front", 0.0), ("45 degrees", 45.0), ("profile", 90.0))
"""Names of the views in 3D, and by how much the head is turned in each from looking at the camera."""

PAPER = (255, 255, 255)
"""Ground of whatever is no photograph, RGB."""

INK = (24, 26, 31)
"""Rim of what is drawn on a photograph, RGB."""

SUBPIXEL_BITS = 4
"""OpenCV draws at places in 1/16 pixel: `fixed_point`."""

_FADED = 0.45
"""How much of a hidden line covers what is behind it."""

_TEXT = (96, 100, 108)
_LABEL = (255, 255, 255)
_AXES = ((235, 70, 60), (70, 200, 80), (70, 130, 255))


@runtime_checkable
class DrawnFace(Protocol):
    """What drawing asks of a face: some attributes of `jvcr.Face`. One with an ``id`` is drawn as a face of a video."""

    @property
    def points(self) -> NDArray[np.float32]:
        """(N, 3) landmarks, pixels of the picture."""

    @property
    def box(self) -> NDArray[np.float32]:
        """(4,) x0, y0, x1, y1."""

    @property
    def yaw(self) -> float | None:
        """Degrees, as the next two."""

    @property
    def pitch(self) -> float | None:
        """Degrees."""

    @property
    def roll(self) -> float | None:
        """Degrees."""

    @property
    def scheme(self) -> str:
        """Name of the landmark scheme."""

    def resized(self, across: float, down: float) -> DrawnFace:
        """The face in the picture resized by these factors."""


def draw_faces(
    image: NDArray[np.uint8], faces: Sequence[DrawnFace], scheme: LandmarkScheme | None = None
) -> NDArray[np.uint8]:
    """A copy of an image with the landmarks of faces on it: warm colours are near the camera, cold ones far.

    Lines and dots are as thick as suits the size of each face. A photograph's faces have their box and, if there are
    several, a number; those of a video (`TrackedFace`) their identity and the axes of their head: red to the head's
    left, green up, blue to where it looks.

    Args:
        image: (h, w, 3) RGB.
        faces: what to draw, in pixels of that image.
        scheme: says which landmarks lines join; None takes the built-in scheme that the faces name, and draws dots
            alone if there is none of that name.
    """
    canvas = np.ascontiguousarray(image).copy()
    for number, face in enumerate(faces, 1):
        extent, identity = _extent(face.points), getattr(face, "id", None)
        if identity is None:
            box = fixed_point(face.box.reshape(2, 2))
            cv2.rectangle(canvas, box[0], box[1], _LABEL, max(1, round(extent / 250)), cv2.LINE_AA, SUBPIXEL_BITS)
        hidden = hidden_landmarks(face.points, _scheme(face, scheme))
        draw_landmarks(canvas, face.points, depth_colors(face), _edges(face, scheme), extent, INK, hidden)
        if identity is not None:
            _draw_axes(canvas, face, extent)
            x, y = face.points[:, :2].min(0).tolist()
            place = round(x), round(y - extent / 12)
            write_text(canvas, str(identity), place, max(0.5, extent / 160), _LABEL, outline=INK)
        elif len(faces) > 1:
            place = round(float(face.box[0])), round(float(face.box[1]) - extent / 25)
            write_text(canvas, str(number), place, max(0.4, extent / 250), _LABEL, outline=INK)
    return canvas


def draw_views(
    face: DrawnFace,
    size: int,
    scheme: LandmarkScheme | None = None,
    title: str = "",
    views: Sequence[tuple[str, float]] = VIEWS,
) -> NDArray[np.uint8]:
    """A face's landmarks in 3D, from several sides, one below the other.

    The head is turned upright by its own pose first; where that is not known, "front" is the camera's view.

    Args:
        face: what to draw.
        size: width and height of a view, pixels.
        scheme: as in `draw_faces`.
        title: written into the upper left corner.
        views: name of each, and by how many degrees the head is turned in it.
    """
    points = _upright(face)
    points = points - (points.min(0) + points.max(0)) / 2
    # One scale for all views, so that the head turns instead of growing.
    radius = float(np.linalg.norm(points, axis=1).max()) or 1.0
    points *= 0.46 * size / radius
    colors, edges, known = depth_colors(face), _edges(face, scheme), _scheme(face, scheme)
    text_size = max(0.32, size / 520)
    drawn = []
    for name, turn_deg in views:
        view = np.full((size, size, 3), PAPER, np.uint8)
        turned = points @ _about_y(turn_deg).T + np.array([size / 2, size * 0.47, 0])
        draw_landmarks(view, turned, colors, edges, size * 0.75, hidden=hidden_landmarks(turned, known))
        caption(view, name)
        drawn.append(view)
    write_text(drawn[0], title, (round(size * 0.05), round(size * 0.1)), text_size, _TEXT)
    return np.concatenate(drawn)


def caption(picture: NDArray[np.uint8], text: str) -> None:
    """Writes a word or two along the lower edge of a square picture, in place."""
    size = len(picture)
    write_text(picture, text, (round(size * 0.05), round(size * 0.95)), max(0.32, size / 520), _TEXT)


def draw_landmarks(
    canvas: NDArray[np.uint8],
    points: NDArray[np.floating],
    colors: NDArray[np.uint8],
    edges: Sequence[tuple[int, int]],
    extent: float,
    outline: tuple[int, int, int] | None = None,
    hidden: NDArray[np.bool_] | None = None,
) -> None:
    """Draws landmarks onto a picture, in place: lines and dots, the near ones over the far ones.

    Args:
        canvas: (h, w, 3) RGB.
        points: (N, 3) places in the canvas's pixels, and depth.
        colors: (N, 3) RGB of each.
        edges: index pairs to join.
        extent: size of the object in pixels, which sets the thickness.
        outline: colour of a rim around all of it; None for none.
        hidden: (N,) which of them lie behind the object: they, and the lines to them, are thin and faded.
    """
    hidden = np.zeros(len(points), bool) if hidden is None else hidden
    places, depth = fixed_point(points[:, :2]), points[:, 2]
    thickness = max(1, round(extent / 160))
    radius = round(max(1.0, extent / 110) * 2**SUBPIXEL_BITS)
    rim = 2**SUBPIXEL_BITS

    # A dot lies on all lines that end in it, so that no joint is cut.
    nearest = depth.astype(np.float64)
    lines: list[tuple[float, tuple[int, ...]]] = []
    for a, b in edges:
        middle = float(depth[a] + depth[b]) / 2
        nearest[[a, b]] = np.minimum(nearest[[a, b]], middle)
        lines.append((middle, (a, b)))
    dots: list[tuple[float, tuple[int, ...]]] = [
        (float(nearest[i]), (i,)) for i in np.argsort(-depth, kind="stable").tolist()
    ]
    parts = [part for _, part in sorted(lines + dots, key=lambda part: -part[0])]

    shades: list[list[int]] = colors.tolist()

    def draw(part: tuple[int, ...], color: tuple[int, int, int] | None, wide: int, large: int) -> None:
        own = [sum(c) // len(part) for c in zip(*(shades[i] for i in part), strict=True)] if color is None else color
        if len(part) == 2:
            cv2.line(canvas, places[part[0]], places[part[1]], own, wide, cv2.LINE_AA, SUBPIXEL_BITS)
        else:
            cv2.circle(canvas, places[part[0]], large, own, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)

    faded = [any(hidden[i] for i in part) for part in parts]
    if any(faded):
        (x0, y0), (x1, y1) = (points[:, :2].min(0) - 2 * thickness), (points[:, :2].max(0) + 2 * thickness + 2)
        window = canvas[max(0, int(y0)) : max(0, int(y1)), max(0, int(x0)) : max(0, int(x1))]
        before = window.copy()
        for part in itertools.compress(parts, faded):
            draw(part, None, max(1, thickness // 2), radius // 2)
        window[:] = np.rint(window * _FADED + before * (1 - _FADED))
    for part, thin in zip(parts, faded, strict=True):
        if not thin:
            if outline is not None:
                draw(part, outline, thickness + 2, radius + rim)
            draw(part, None, thickness, radius)


def draw_legend(picture: NDArray[np.uint8]) -> None:
    """Says in the lower left corner of a picture, in place, which colours are near and which far."""
    (x, y), size = corner(picture)
    bar, height = round(110 * size), max(3, round(14 * size))
    write_text(picture, "near", (x, y), size, _LABEL, outline=INK)
    left, top = x + round(80 * size), y - height
    colors = turbo(np.linspace(0, 1, bar), (0.0, 1.0))
    window = picture[max(0, top) : y, left : left + bar]
    window[:] = colors[None, : window.shape[1]]
    write_text(picture, "far", (left + bar + round(8 * size), y), size, _LABEL, outline=INK)


def corner(picture: NDArray[np.uint8]) -> tuple[tuple[int, int], float]:
    """Where a line of text in the lower left corner of a picture begins, and its size."""
    height, width = picture.shape[:2]
    size = min(max(0.35, min(height, width) / 900), width / 250)
    return (round(12 * size), height - round(12 * size)), size


def fixed_point(points_px: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Places as OpenCV draws them: whole numbers of 1/16 pixel, within what 16 bits of pixels can say."""
    places = np.rint(np.clip(points_px, -32000, 32000) * 2**SUBPIXEL_BITS).astype(int)
    return [(x, y) for x, y in places.tolist()]


def depth_colors(face: DrawnFace) -> NDArray[np.uint8]:
    """(N, 3) RGB for each landmark by its z: from blue, the farthest, over green to red, the nearest."""
    z = face.points[:, 2]
    return turbo(z, (float(z.min()), float(z.max())))


def turbo(depth: NDArray[np.floating], reach: tuple[float, float]) -> NDArray[np.uint8]:
    """(n, 3) RGB for depths: red at the near end of the reach, over green to blue at the far end and beyond."""
    if not len(depth):
        return np.zeros((0, 3), np.uint8)
    near, far = reach
    # The ends of the colour map are too dark to be seen.
    levels = 235 - np.clip((depth - near) / ((far - near) or 1.0), 0, 1) * 200
    bgr = cv2.applyColorMap(np.rint(levels).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)
    return np.ascontiguousarray(bgr.reshape(-1, 3)[:, ::-1])


def _pose(face: DrawnFace) -> HeadPose | None:
    if face.yaw is None or face.pitch is None or face.roll is None:
        return None
    return HeadPose(face.yaw, face.pitch, face.roll)


def _draw_axes(canvas: NDArray[np.uint8], face: DrawnFace, extent: float) -> None:
    if (pose := _pose(face)) is None:
        return
    rotation, middle = euler_to_rotation(pose), face.points.mean(0)
    # The rotation's columns are the head's axes: x right, y up, z towards the camera.
    (start,) = fixed_point(middle[None, :2])
    thickness = max(1, round(extent / 60))
    for axis in np.argsort(rotation[2]).tolist():  # the farthest first
        (tip,) = fixed_point((middle[:2] + 0.5 * extent * rotation[:2, axis] * [1, -1])[None])
        cv2.line(canvas, start, tip, _AXES[axis], thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _scheme(face: DrawnFace, scheme: LandmarkScheme | None) -> LandmarkScheme | None:
    """The scheme given, or the built-in one that the face names, if it fits the face."""
    if scheme is None:
        with contextlib.suppress(ValueError):
            scheme = load_scheme(face.scheme)
    return scheme if scheme is not None and scheme.num_landmarks == len(face.points) else None


def _edges(face: DrawnFace, scheme: LandmarkScheme | None) -> tuple[tuple[int, int], ...]:
    known = _scheme(face, scheme)
    return () if known is None else known.edges


def _upright(face: DrawnFace) -> NDArray[np.float64]:
    """(N, 3) the landmarks with the head's pose undone."""
    points = face.points.astype(np.float64)
    if (pose := _pose(face)) is None:
        return points
    flip = np.array([1.0, -1.0, -1.0])  # pose angles count in a frame with y up and z towards the camera
    return (points * flip) @ euler_to_rotation(pose) * flip


def _about_y(angle_deg: float) -> NDArray[np.float64]:
    """(3, 3) rotation that turns a head which looks at the camera towards the right side of the picture."""
    a = math.radians(angle_deg)
    return np.array([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])


def _extent(points: NDArray[np.floating]) -> float:
    return float(np.ptp(points[:, :2], axis=0).max())


def write_text(
    canvas: NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    size: float,
    color: tuple[int, int, int],
    outline: tuple[int, int, int] | None = None,
) -> None:
    """Writes a line of text onto an RGB picture, in place: from its lower left corner on, in OpenCV's unit of size."""
    thickness = max(1, round(size * 1.6))
    if outline is not None:
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, outline, thickness + 2, cv2.LINE_AA)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, color, thickness, cv2.LINE_AA)
