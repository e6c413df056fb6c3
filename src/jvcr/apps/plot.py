"""Drawing faces: landmarks on the picture, and beside it the same landmarks in 3D from three sides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.files import replacing
from jvcr.geometry.pose import HeadPose, euler_to_rotation
from jvcr.inference.result import Face
from jvcr.scheme import LandmarkScheme, load_scheme

VIEWS = (("front", 0.0), ("45 degrees", 45.0), ("profile", 90.0))
"""Names of the views in 3D, and by how much the head is turned in each from looking at the camera."""

PANEL_FACES = 3
"""So many faces, the most certain ones, are shown in 3D."""

SMALLEST_OVERVIEW, LARGEST_OVERVIEW = 640, 1280
"""Longer side of the picture in an overview, pixels: small ones are enlarged, so that lines stay fine."""

_INK = (24, 26, 31)
_PAPER = (248, 248, 246)
_TEXT = (96, 100, 108)
_BOX = (255, 255, 255)
_SUBPIXEL_BITS = 4


def draw_faces(
    image: NDArray[np.uint8], faces: Sequence[Face], scheme: LandmarkScheme | None = None
) -> NDArray[np.uint8]:
    """A copy of an image with the landmarks of faces on it: warm colours are near the camera, cold ones far.

    Lines and dots are as thick as suits the size of each face.

    Args:
        image: (h, w, 3) RGB.
        faces: what to draw, in pixels of that image.
        scheme: says which landmarks lines join; None takes the built-in scheme that the faces name, and draws dots
            alone if there is none of that name.

    Returns:
        (h, w, 3) RGB.
    """
    canvas = np.ascontiguousarray(image).copy()
    for number, face in enumerate(faces, 1):
        extent = _extent(face.points)
        box = _fixed_point(face.box.reshape(2, 2))
        cv2.rectangle(canvas, box[0], box[1], _BOX, max(1, round(extent / 250)), cv2.LINE_AA, _SUBPIXEL_BITS)
        draw_landmarks(canvas, face.points, _depth_colors(face), _edges(face, scheme), extent, outline=_INK)
        if len(faces) > 1:
            place = (round(float(face.box[0])), round(float(face.box[1]) - extent / 25))
            _write(canvas, str(number), place, max(0.4, extent / 250), _BOX, outline=_INK)
    return canvas


def draw_views(face: Face, size: int, scheme: LandmarkScheme | None = None, title: str = "") -> NDArray[np.uint8]:
    """A face's landmarks in 3D, from the front, from 45 degrees and from the side, one below the other.

    The head is turned upright by its own pose first; where that is not known, "front" is the camera's view.

    Args:
        face: what to draw.
        size: width and height of a view, pixels.
        scheme: as in `draw_faces`.
        title: written into the upper left corner.

    Returns:
        (3 * size, size, 3) RGB.
    """
    points = _upright(face)
    points = points - (points.min(0) + points.max(0)) / 2
    # One scale for all views, so that the head turns instead of growing.
    radius = float(np.linalg.norm(points, axis=1).max()) or 1.0
    points *= 0.46 * size / radius
    colors, edges = _depth_colors(face), _edges(face, scheme)
    text_size = max(0.32, size / 520)
    views = []
    for name, turn_deg in VIEWS:
        view = np.full((size, size, 3), _PAPER, np.uint8)
        turned = points @ _about_y(turn_deg).T + np.array([size / 2, size * 0.47, 0])
        draw_landmarks(view, turned, colors, edges, size * 0.75)
        _write(view, name, (round(size * 0.05), round(size * 0.95)), text_size, _TEXT)
        views.append(view)
    _write(views[0], title, (round(size * 0.05), round(size * 0.1)), text_size, _TEXT)
    return np.concatenate(views)


def overview(
    image: NDArray[np.uint8], faces: Sequence[Face], scheme: LandmarkScheme | None = None
) -> NDArray[np.uint8]:
    """One picture worth showing: the image with its landmarks and, beside it, the first faces in 3D.

    Args:
        image: (h, w, 3) RGB.
        faces: what was found in it.
        scheme: as in `draw_faces`.

    Returns:
        RGB pixels; the image in it is enlarged or reduced to a longer side of 640 to 1280.
    """
    height, width = image.shape[:2]
    scale = np.clip(1, SMALLEST_OVERVIEW / max(height, width), LARGEST_OVERVIEW / max(height, width))
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    if (columns, rows) != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=method), dtype=np.uint8)
        faces = [_scaled(face, columns / width, rows / height) for face in faces]
    picture = draw_faces(image, faces, scheme)
    if not faces:
        return picture
    size = max(rows // 3, SMALLEST_OVERVIEW // 5)
    titles = [str(number) if len(faces) > 1 else "" for number in range(1, PANEL_FACES + 1)]
    views = [draw_views(face, size, scheme, title) for face, title in zip(faces, titles, strict=False)]
    total = max(rows, 3 * size)
    return np.concatenate([_padded(part, total) for part in (picture, *views)], axis=1)


def write_overview(
    path: str | Path, image: NDArray[np.uint8], faces: Sequence[Face], scheme: LandmarkScheme | None = None
) -> None:
    """Writes `overview` to a file, whole or not at all.

    Args:
        path: its suffix, .jpg, .png or .webp, is the format.
        image: (h, w, 3) RGB.
        faces: what was found in it.
        scheme: as in `draw_faces`.

    Raises:
        ValueError: the suffix is not a format that can be written.
        OSError: the file cannot be written.
    """
    path = Path(path)
    options = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92], ".png": [], ".webp": [cv2.IMWRITE_WEBP_QUALITY, 90]}
    if path.suffix.lower() not in options:
        raise ValueError(f"{path} must end in one of {', '.join(options)}")
    drawn = cv2.cvtColor(overview(image, faces, scheme), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(path.suffix.lower(), drawn, options[path.suffix.lower()])
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


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
    places = _fixed_point(points[:, :2])
    middle = {edge: (points[edge[0], 2] + points[edge[1], 2]) / 2 for edge in edges}
    lines = sorted(edges, key=lambda edge: -middle[edge])
    dots = np.argsort(-points[:, 2], kind="stable")
    fixed_radius = round(radius * 2**_SUBPIXEL_BITS)
    if outline is not None:
        for a, b in lines:
            cv2.line(canvas, places[a], places[b], outline, thickness + 2, cv2.LINE_AA, _SUBPIXEL_BITS)
        for i in dots:
            rim = fixed_radius + 2**_SUBPIXEL_BITS
            cv2.circle(canvas, places[i], rim, outline, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    for a, b in lines:
        color = ((colors[a].astype(int) + colors[b]) // 2).tolist()
        cv2.line(canvas, places[a], places[b], color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    for i in dots:
        cv2.circle(canvas, places[i], fixed_radius, colors[i].tolist(), cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed_point(points_px: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Places as OpenCV draws them: whole numbers of 1/16 pixel, within what 16 bits of pixels can say."""
    places = np.rint(np.clip(points_px, -32000, 32000) * 2**_SUBPIXEL_BITS).astype(int)
    return [(x, y) for x, y in places.tolist()]


def _depth_colors(face: Face) -> NDArray[np.uint8]:
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


def _edges(face: Face, scheme: LandmarkScheme | None) -> tuple[tuple[int, int], ...]:
    if scheme is None:
        try:
            scheme = load_scheme(face.scheme)
        except ValueError:
            return ()
    return scheme.edges if scheme.points == len(face.points) else ()


def _upright(face: Face) -> NDArray[np.float64]:
    """(N, 3) the landmarks with the head's pose undone."""
    points = face.points.astype(np.float64)
    if face.yaw is None or face.pitch is None or face.roll is None:
        return points
    flip = np.array([1.0, -1.0, -1.0])  # pose angles count in a frame with y up and z towards the camera
    return (points * flip) @ euler_to_rotation(HeadPose(face.yaw, face.pitch, face.roll)) * flip


def _about_y(angle_deg: float) -> NDArray[np.float64]:
    """(3, 3) rotation that turns a head which looks at the camera towards the right side of the picture."""
    a = math.radians(angle_deg)
    return np.array([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])


def _extent(points: NDArray[np.floating]) -> float:
    return float(np.ptp(points[:, :2], axis=0).max())


def _scaled(face: Face, across: float, down: float) -> Face:
    """The face in the resized image, whose pixels again have their centres at whole numbers."""
    center = np.array([0.5, 0.5, 0])
    points = (face.points + center) * [across, down, (across + down) / 2] - center
    box = (face.box + 0.5) * [across, down, across, down] - 0.5
    return dataclasses.replace(face, points=points.astype(np.float32), box=box.astype(np.float32))


def _padded(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """The picture with paper below it, up to a height."""
    below = height - len(picture)
    return np.concatenate([picture, np.full((below, picture.shape[1], 3), _PAPER, np.uint8)]) if below else picture


def _write(
    canvas: NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    size: float,
    color: tuple[int, int, int],
    outline: tuple[int, int, int] | None = None,
) -> None:
    thickness = max(1, round(size * 1.6))
    if outline is not None:
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, outline, thickness + 2, cv2.LINE_AA)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, color, thickness, cv2.LINE_AA)
