"""The paper's figures, of one's own images: the landmarks and the volume in three dimensions (Fig. 2, 4 and 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.crop import Crop
from jvcr.geometry.visibility import hidden_landmarks
from jvcr.geometry.warp import warp_crop
from jvcr.scheme import LandmarkScheme
from jvcr.viz.landmarks import (
    INK,
    PAPER,
    SUBPIXEL_BITS,
    DrawnFace,
    draw_landmarks,
    draw_legend,
    fixed_point,
    turbo,
)

TURN_DEG, TILT_DEG = 26.0, 16.0
"""How far the cube is turned about its upright axis, and how far it is looked at from above."""

THRESHOLD = 0.08
"""Voxels of less than this share of a volume's peak are not drawn."""

_FRAME = (176, 180, 188)
_INK = (70, 74, 82)
_FINER = 2
"""Pictures are drawn so many times larger and reduced, which makes lines and spots smooth."""

_SPAN = 1.55
"""Half the width of a picture in unit coordinates: the turned cube fits into it."""

_DENSITY = 0.55
"""Share of what lies behind it that the middle of a voxel of full value hides."""


@dataclass(frozen=True)
class Example:
    """A face and what the network saw in it.

    Attributes:
        image: (h, w, 3) RGB.
        face: its landmarks, in pixels of that image.
        volume: (D, H, W) the estimated volume, in the unit frame of the crop (z, y, x).
        crop: between the two, as `Landmarker.volumes` gives it.
        scheme: what the landmarks are.
    """

    image: NDArray[np.uint8]
    face: DrawnFace
    volume: NDArray[np.floating]
    crop: Crop
    scheme: LandmarkScheme

    @property
    def points_unit(self) -> NDArray[np.float64]:
        """(N, 3) the landmarks in the unit frame of the crop."""
        return self.crop.to_unit(self.face.points)


def draw_compact_volume(
    points_unit: NDArray[np.floating], shape: tuple[int, int, int], sigma: float = 1.0
) -> NDArray[np.float32]:
    """(D, H, W) the compact volume of landmarks: in each voxel the largest of their Gaussians (Eq. 1-2, peak 1).

    Args:
        points_unit: (N, 3) landmarks x, y, z in the unit frame.
        shape: depth, height and width of the volume, voxels.
        sigma: size of the Gaussian, voxels.
    """
    squares = []
    for axis, cells in zip((2, 1, 0), shape, strict=True):
        centre = (points_unit[:, axis] + 1) * (cells / 2) - 0.5
        squares.append((np.arange(cells) - centre[:, None]) ** 2)
    z, y, x = squares
    nearest = np.full(shape, np.inf)
    for i in range(len(points_unit)):  # one landmark at a time: all at once would take N volumes
        np.minimum(nearest, z[i, :, None, None] + y[i, :, None] + x[i], out=nearest)
    return np.exp(nearest * (-0.5 / sigma**2)).astype(np.float32)


def render_volume(volume: NDArray[np.floating], size: int, axes: bool = False) -> NDArray[np.uint8]:
    """(size, size, 3) RGB: a cloud as dense as the values of the voxels, warm where near the camera, cold where far.

    Args:
        volume: (D, H, W), z, y, x; negative values count as 0.
        size: width and height of the picture, pixels.
        axes: whether the cube's edges are named w, h and d.
    """
    fine = size * _FINER
    canvas = np.full((fine, fine, 3), PAPER, np.uint8)
    _draw_cube(canvas, front=False)
    values = np.clip(volume, 0, None)
    peak = float(values.max(initial=0.0))
    cells = np.argwhere(values > THRESHOLD * peak) if peak > 0 else np.zeros((0, 3), np.intp)
    points = ((cells + 0.5) / np.array(volume.shape) * 2 - 1)[:, ::-1]
    places = _project(points, fine)
    alpha = _DENSITY * values[tuple(cells.T)] / peak if peak > 0 else np.zeros(0)
    colors = turbo(points[:, 2], (-0.75, 0.75)).astype(np.float64)
    radius = fine / (2 * _SPAN) * 2 / max(volume.shape[1:]) * 0.52
    picture = canvas.astype(np.float64)
    for i in np.argsort(-places[:, 2], kind="stable"):  # the far ones first
        _add_spot(picture, places[i, :2], colors[i], float(alpha[i]), radius)
    canvas = np.rint(picture).astype(np.uint8)
    _draw_cube(canvas, front=True)
    if axes:
        _name_edges(canvas, ("w", "h", "d"))
    return _reduced(canvas, size)


def draw_shape(
    points_unit: NDArray[np.floating], scheme: LandmarkScheme, size: int, axes: bool = False
) -> NDArray[np.uint8]:
    """(size, size, 3) RGB: landmarks (N, 3) in the unit frame, seen as `render_volume` shows the volume."""
    fine = size * _FINER
    canvas = np.full((fine, fine, 3), PAPER, np.uint8)
    _draw_cube(canvas, front=False)
    colors = turbo(points_unit[:, 2], (-0.75, 0.75))
    draw_landmarks(canvas, _project(points_unit, fine), colors, scheme.edges, fine * 0.85, outline=(60, 60, 64))
    _draw_cube(canvas, front=True)
    if axes:
        _name_edges(canvas, ("x", "y", "z"))
    return _reduced(canvas, size)


def draw_photo(example: Example, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) RGB: the face cut out of its image, with its landmarks, as far as the network's crop reaches."""
    fine = size * _FINER
    canvas = warp_crop(example.image, example.crop, fine)
    to_tile = cv2.invertAffineTransform(example.crop.crop_to_image_matrix(fine))
    points = example.face.points.astype(np.float64)
    depth = points[:, 2] * fine / example.crop.side
    places = np.column_stack([points[:, :2] @ to_tile[:, :2].T + to_tile[:, 2], depth])
    colors = turbo(example.points_unit[:, 2], (-0.75, 0.75))
    hidden = hidden_landmarks(places, example.scheme)
    draw_landmarks(canvas, places, colors, example.scheme.edges, fine * 0.7, INK, hidden)
    return _reduced(canvas, size)


def volume_figure(example: Example, size: int = 480) -> NDArray[np.uint8]:
    """Fig. 2 of one face, with what it starts from and what the network makes of it.

    Four pictures: the image with its landmarks, (a) the landmarks in 3D, (b) their compact volume by Eq. 1-2, and (c)
    the volume that the network estimated from the image; each ``size`` pixels wide.
    """
    points = example.points_unit
    ideal = draw_compact_volume(points, example.volume.shape)
    photo = draw_photo(example, size)
    draw_legend(photo)
    parts = [
        (photo, "image and landmarks"),
        (draw_shape(points, example.scheme, size, axes=True), "(a) landmarks in 3D"),
        (render_volume(ideal, size, axes=True), "(b) their compact volume, Eq. 1-2"),
        (render_volume(example.volume, size, axes=True), "(c) estimated volume"),
    ]
    return _joined([np.vstack([picture, _caption(text, size)]) for picture, text in parts], size // 24, axis=1)


def examples_figure(examples: Sequence[Example], columns: int = 6, size: int = 300) -> NDArray[np.uint8]:
    """Fig. 4 and 5: a column for each face, from top to bottom its image with the 2D landmarks, volume, 3D landmarks.

    Args:
        examples: the faces.
        columns: so many stand side by side; further ones follow below.
        size: of each picture, pixels.

    Raises:
        ValueError: there is no face, or columns is below 1.
    """
    if not examples or columns < 1:
        raise ValueError(f"expected at least one face and one column, got {len(examples)} and {columns}")
    columns = min(columns, len(examples))
    gap = size // 24
    stacks = []
    for e in examples:
        rows = draw_photo(e, size), render_volume(e.volume, size), draw_shape(e.points_unit, e.scheme, size)
        stacks.append(_joined(rows, gap, axis=0))
    stacks += [np.full_like(stacks[0], 255)] * (-len(stacks) % columns)
    blocks = [_joined(stacks[i : i + columns], gap, axis=1) for i in range(0, len(stacks), columns)]
    return _joined(blocks, 3 * gap, axis=0)


def _view() -> NDArray[np.float64]:
    """(3, 3) rotation from the unit frame to the picture's: x right, y down, z away from the one who looks."""
    turn, tilt = math.radians(TURN_DEG), math.radians(TILT_DEG)
    about_y = np.array([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]])
    return about_x @ about_y


def _project(points_unit: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """(n, 3) places in a picture of this size, pixels, and depth; without perspective, as the image is seen too."""
    seen = points_unit @ _view().T
    scale = size / (2 * _SPAN)
    return np.column_stack([seen[:, :2] * scale + (size - 1) / 2, seen[:, 2]])


def _draw_cube(canvas: NDArray[np.uint8], front: bool) -> None:
    """The edges of the cube: those that meet in its farthest corner, or the nine others."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
    places = _project(corners, len(canvas))
    farthest = int(places[:, 2].argmax())
    for a in range(8):
        for b in range(a + 1, 8):
            if (corners[a] != corners[b]).sum() == 1 and (farthest not in (a, b)) == front:
                ends = fixed_point(places[[a, b], :2])
                cv2.line(canvas, ends[0], ends[1], _FRAME, _FINER, cv2.LINE_AA, SUBPIXEL_BITS)


def _name_edges(canvas: NDArray[np.uint8], names: tuple[str, str, str]) -> None:
    """Names the edges along x, y and z that lie outermost, below and beside the cube."""
    size = len(canvas)
    for name, middle in zip(names, ((0, 1, -1), (-1, 0, -1), (1, 1, 0)), strict=True):
        x, y = _project(np.array([middle], np.float64) * 1.1, size)[0, :2]
        scale = size / 700
        (width, height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, scale, round(2 * scale))
        place = round(x - width / 2), round(y + height / 2)
        cv2.putText(canvas, name, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, round(2 * scale), cv2.LINE_AA)


def _add_spot(
    picture: NDArray[np.float64], place: NDArray[np.float64], color: NDArray[np.float64], alpha: float, radius: float
) -> None:
    """Lays a soft spot over the picture, in place."""
    reach = math.ceil(2.5 * radius)
    x0, y0 = (max(0, int(v) - reach) for v in place)
    x1, y1 = (max(0, min(len(picture), int(v) + reach + 1)) for v in place)
    x, y = np.arange(x0, x1) - place[0], np.arange(y0, y1) - place[1]
    cover = alpha * np.exp((y[:, None] ** 2 + x**2) * (-0.5 / radius**2))[..., None]
    window = picture[y0:y1, x0:x1]
    window += cover * (color - window)


def _reduced(canvas: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """A strip of paper with a line of text in its middle."""
    scale = width / 640
    strip = np.full((round(width / 11), width, 3), PAPER, np.uint8)
    thickness = max(1, round(1.6 * scale))
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    place = ((width - wide) // 2, (len(strip) + high) // 2)
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, thickness, cv2.LINE_AA)
    return strip


def _joined(parts: Sequence[NDArray[np.uint8]], gap: int, axis: int) -> NDArray[np.uint8]:
    """Pictures below (axis 0) or beside (axis 1) each other, with white between them."""
    shape = list(parts[0].shape)
    shape[axis] = gap
    between = np.full(shape, 255, np.uint8)
    return np.concatenate([p for part in parts for p in (between, part)][1:], axis=axis)
