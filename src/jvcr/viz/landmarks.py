"""Drawing faces: landmarks on the picture, and the same landmarks in 3D from several sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.pose import HeadPose, euler_to_rotation
from jvcr.inference.face import Face
from jvcr.inference.tracker import TrackedFace
from jvcr.scheme import LandmarkScheme, load_scheme

VIEWS = (("front", 0.0), ("45 degrees", 45.0), ("profile", 90.0))
"""Names of the views in 3D, and by how much the head is turned in each from looking at the camera."""

PAPER = (255, 255, 255)
"""Ground of whatever is no photograph, RGB."""

INK = (24, 26, 31)
"""Rim of what is drawn on a photograph, RGB."""

SUBPIXEL_BITS = 4
"""OpenCV draws at places in 1/16 pixel: `fixed_point`."""

_TEXT = (96, 100, 108)
_LABEL = (255, 255, 255)
_AXES = ((235, 70, 60), (70, 200, 80), (70, 130, 255))


def draw_faces(
    image: NDArray[np.uint8], faces: Sequence[Face], scheme: LandmarkScheme | None = None
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
        extent = _extent(face.points)
        if not isinstance(face, TrackedFace):
            box = fixed_point(face.box.reshape(2, 2))
            cv2.rectangle(canvas, box[0], box[1], _LABEL, max(1, round(extent / 250)), cv2.LINE_AA, SUBPIXEL_BITS)
        draw_landmarks(canvas, face.points, depth_colors(face), _edges(face, scheme), extent, outline=INK)
        if isinstance(face, TrackedFace):
            _draw_axes(canvas, face, extent)
            x, y = face.points[:, :2].min(0).tolist()
            place = round(x), round(y - extent / 12)
            write_text(canvas, str(face.id), place, max(0.5, extent / 160), _LABEL, outline=INK)
        elif len(faces) > 1:
            place = round(float(face.box[0])), round(float(face.box[1]) - extent / 25)
            write_text(canvas, str(number), place, max(0.4, extent / 250), _LABEL, outline=INK)
    return canvas


def draw_views(
    face: Face,
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
    colors, edges = depth_colors(face), _edges(face, scheme)
    text_size = max(0.32, size / 520)
    drawn = []
    for name, turn_deg in views:
        view = np.full((size, size, 3), PAPER, np.uint8)
        turned = points @ _about_y(turn_deg).T + np.array([size / 2, size * 0.47, 0])
        draw_landmarks(view, turned, colors, edges, size * 0.75)
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
) -> None:
    """Draws landmarks onto a picture, in place: lines and dots, the far ones first.

    Args:
        canvas: (h, w, 3) RGB.
        points: (N, 3) places in the canvas's pixels, and depth.
        colors: (N, 3) RGB of each.
        edges: index pairs to join.
        extent: size of the object in pixels, which sets the thickness.
        outline: colour of a rim around all of it; None for none.
    """
    thickness = max(1, round(extent / 160))
    radius = max(1.0, extent / 110)
    places = fixed_point(points[:, :2])
    middle = {edge: (points[edge[0], 2] + points[edge[1], 2]) / 2 for edge in edges}
    lines = sorted(edges, key=lambda edge: -middle[edge])
    dots = np.argsort(-points[:, 2], kind="stable")
    fixed_radius = round(radius * 2**SUBPIXEL_BITS)
    if outline is not None:
        for a, b in lines:
            cv2.line(canvas, places[a], places[b], outline, thickness + 2, cv2.LINE_AA, SUBPIXEL_BITS)
        for i in dots:
            rim = fixed_radius + 2**SUBPIXEL_BITS
            cv2.circle(canvas, places[i], rim, outline, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
    for a, b in lines:
        color = ((colors[a].astype(int) + colors[b]) // 2).tolist()
        cv2.line(canvas, places[a], places[b], color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    for i in dots:
        cv2.circle(canvas, places[i], fixed_radius, colors[i].tolist(), cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def fixed_point(points_px: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Places as OpenCV draws them: whole numbers of 1/16 pixel, within what 16 bits of pixels can say."""
    places = np.rint(np.clip(points_px, -32000, 32000) * 2**SUBPIXEL_BITS).astype(int)
    return [(x, y) for x, y in places.tolist()]


def depth_colors(face: Face) -> NDArray[np.uint8]:
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


def _pose(face: Face) -> HeadPose | None:
    if face.yaw is None or face.pitch is None or face.roll is None:
        return None
    return HeadPose(face.yaw, face.pitch, face.roll)


def _draw_axes(canvas: NDArray[np.uint8], face: Face, extent: float) -> None:
    if (pose := _pose(face)) is None:
        return
    rotation, middle = euler_to_rotation(pose), face.points.mean(0)
    # The rotation's columns are the head's axes: x right, y up, z towards the camera.
    (start,) = fixed_point(middle[None, :2])
    thickness = max(1, round(extent / 60))
    for axis in np.argsort(rotation[2]).tolist():  # the farthest first
        (tip,) = fixed_point((middle[:2] + 0.5 * extent * rotation[:2, axis] * [1, -1])[None])
        cv2.line(canvas, start, tip, _AXES[axis], thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _edges(face: Face, scheme: LandmarkScheme | None) -> tuple[tuple[int, int], ...]:
    if scheme is None:
        try:
            scheme = load_scheme(face.scheme)
        except ValueError:
            return ()
    return scheme.edges if scheme.num_landmarks == len(face.points) else ()


def _upright(face: Face) -> NDArray[np.float64]:
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
