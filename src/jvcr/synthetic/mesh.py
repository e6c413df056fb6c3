"""The mesh of the average head: a smooth surface through the landmarks, cut along the lids and the lips.

Lengths are in units of the template of face68.toml, in the frame x right, y up, z towards the camera; its origin lies
in the middle of the head, 1.2 behind the template's.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.scheme import FACE68

Floats = NDArray[np.float64]


class Part(enum.IntEnum):
    """What a triangle of the head belongs to."""

    SKIN = 0
    EYE = 1
    MOUTH = 2
    EAR = 3
    NECK = 4
    SHIRT = 5
    LONG_HAIR = 6


_BACK = 1.2
_CENTRE = np.array([0.0, 0.25, 0.0])
"""From here every point of the head's surface is in sight: the surface is a radius for each direction."""

UPPER_LIDS = ((36, 37, 38, 39), (42, 43, 44, 45))
LOWER_LIDS = ((36, 41, 40, 39), (42, 47, 46, 45))
BROWS = ((17, 18, 19, 20, 21), (22, 23, 24, 25, 26))
OUTER_LIPS = ((48, 49, 50, 51, 52, 53, 54), (48, 59, 58, 57, 56, 55, 54))
INNER_LIPS = ((60, 61, 62, 63, 64), (60, 67, 66, 65, 64))
"""Landmarks from left to right in the picture; lips: the upper line, then the lower one."""


@functools.cache
def template() -> Floats:
    """(68, 3) landmarks of the average face."""
    return np.array(FACE68.template) * [1, -1, -1] + [0, 0, _BACK]


@functools.cache
def curve(landmarks: tuple[int, ...], steps: int = 6) -> Floats:
    """(M, 3) points of a Catmull-Rom spline through landmarks, on the head's surface; units of the template."""
    knots = template()[list(landmarks)]
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = (np.arange(steps) / steps)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    line = _from_plane(_to_plane(np.concatenate([*pieces, knots[-1:]])))
    line.flags.writeable = False
    return line


def height_on(line: Floats, x: NDArray[np.floating]) -> Floats:
    """The y of a line (M, 3) at given x, for lines whose x only grows; that of its ends beyond them."""
    return np.interp(x, line[:, 0], line[:, 1])


# --- The surface ------------------------------------------------------------------------------------------------------

_ANCHORS = (
    # Down the middle: skull, forehead, under the nose, lips, chin, throat.
    (0, 2.42, -0.10), (0, 2.28, 0.60), (0, 1.92, 1.16), (0, 2.10, -1.05), (0, 1.50, -1.52), (0, 0.75, -1.62),
    (0, 0.05, -1.42), (0, -0.60, -1.10), (0, 1.45, 1.47), (0, 1.10, 1.56), (0, 0.84, 1.575), (0, -0.02, 1.80),
    (0, -0.22, 1.605), (0, -0.375, 1.655), (0, -0.575, 1.62), (0, -0.76, 1.505), (0, -0.95, 1.53), (0, -1.10, 1.47),
    (0, -1.26, 1.02), (0, -1.28, 0.55), (0, -1.30, 0.0), (0, -1.10, -0.70),
    # One side: skull and temple.
    (0.62, 2.24, -0.1), (0.55, 2.12, 0.62), (0.58, 1.80, 1.02), (0.60, 1.35, 1.28), (0.98, 1.55, 0.55),
    (1.02, 1.15, 0.72), (1.10, 0.80, 0.66), (1.14, 1.45, -0.1), (1.24, 0.85, -0.15), (1.20, 0.80, 0.30),
    (1.12, 0.30, -0.55), (0.98, -0.35, -0.50), (1.05, 0.95, -0.95), (0.75, 1.80, -0.95), (0.65, 0.80, -1.42),
    (0.70, -0.20, -1.05),
    # Around the eye.
    (0.51, 0.43, 1.285), (0.30, 0.47, 1.30), (0.72, 0.46, 1.13), (0.51, 0.76, 1.325), (0.30, 0.74, 1.31),
    (0.72, 0.74, 1.20), (0.88, 0.62, 1.00), (0.15, 0.62, 1.42), (0.51, 0.625, 1.325), (0.40, 0.63, 1.31),
    (0.61, 0.63, 1.275),
    # Nose.
    (0.10, 0.44, 1.60), (0.12, 0.22, 1.70), (0.21, 0.28, 1.48), (0.15, 0.08, 1.79), (0.23, 0.06, 1.63),
    (0.255, -0.02, 1.545), (0.31, 0.10, 1.42), (0.11, -0.06, 1.72), (0.18, 0.50, 1.43),
    # Cheek, jaw and under it.
    (0.50, 0.15, 1.31), (0.75, 0.25, 1.13), (0.95, 0.28, 0.82), (1.08, 0.30, 0.45), (0.42, -0.15, 1.36),
    (0.66, -0.15, 1.15), (0.90, -0.15, 0.72), (0.60, -0.50, 1.15), (0.82, -0.50, 0.74), (0.36, -0.80, 1.34),
    (0.62, -0.80, 0.98), (0.24, -0.22, 1.53), (0.22, -1.00, 1.43), (0.34, -1.17, 0.85), (0.62, -1.00, 0.45),
    (0.82, -0.72, 0.0), (0.45, -1.20, 0.30), (0.60, -0.95, -0.40),
)  # fmt: skip
"""Points of the head between and beyond the landmarks, x >= 0; each also on the other side."""

_STIFFNESS = 2e-4
"""How far the surface may pass by its anchors in favour of smoothness."""


@functools.cache
def _radius_of_direction() -> Callable[[Floats], Floats]:
    """The head's surface: unit directions from `_CENTRE`, (N, 3), to radii (N,), by |chord|^3 and linear terms."""
    half = np.array(_ANCHORS)
    off = half[half[:, 0] > 0]
    anchors = np.concatenate([template(), half, off * [-1, 1, 1]]) - _CENTRE
    radii = np.linalg.norm(anchors, axis=1)
    directions = anchors / radii[:, None]
    count = len(anchors)

    def terms(d: Floats) -> Floats:
        chords = np.sqrt(np.maximum(2 - 2 * (d @ directions.T), 0))
        return np.concatenate([chords**3, np.ones((len(d), 1)), d], axis=1)

    left = terms(directions)
    system = np.zeros((count + 4, count + 4))
    system[:count] = left
    system[count:, :count] = left[:, count:].T
    system[np.arange(count), np.arange(count)] += _STIFFNESS
    weights = np.linalg.solve(system, np.concatenate([radii, np.zeros(4)]))
    return lambda d: terms(d) @ weights


@dataclass(frozen=True)
class Mesh:
    """The average head."""

    points: Floats  # (V, 3) vertices, the 68 landmarks first
    triangles: NDArray[np.intp]  # (T, 3) vertex indices, counter-clockwise from outside
    parts: NDArray[np.int8]  # (T,) a `Part` for each triangle
    skin: int  # how many of the points, the first ones, are of the closed surface with eyes and mouth
    eyes: NDArray[np.bool_]  # (V,) points within or on the lids
    mouth: NDArray[np.bool_]  # (V,) points within or on the inner lips


def _to_plane(points: Floats) -> Floats:
    """(N, 2) equal-area map of directions: the face in the middle, the back of the head at radius 1."""
    d = points - _CENTRE
    d = d / np.linalg.norm(d, axis=1, keepdims=True)
    return d[:, :2] / np.sqrt(2 * (1 + d[:, 2:]))


def _from_plane(uv: Floats) -> Floats:
    """(N, 3) points of the surface at places of the map."""
    square = (uv**2).sum(1, keepdims=True)
    d = np.concatenate([uv * 2 * np.sqrt(1 - square), 1 - 2 * square], axis=1)
    return _CENTRE + d * _radius_of_direction()(d)[:, None]


def build_mesh() -> Mesh:
    """The mesh: landmarks and lines of features first, rings of points around them, joined by Delaunay's triangles."""
    uv, last = _places_of_points()
    pole = len(uv)
    # The hole at the back of the head, where the map ends, is closed by its pole.
    ring = np.arange(pole - last, pole)
    triangles = np.concatenate([_delaunay(uv), np.column_stack([ring, np.full(last, pole), np.roll(ring, -1)])])
    uv = np.concatenate([uv, [[0.0, 1.0]]])
    # Rounded, the heads are the same on every machine: libraries solve equations alike but for the last digits.
    points = np.concatenate([_from_plane(uv[:-1]), _from_plane(uv[-1:])]).round(6)

    eyes, mouth = np.zeros(len(points), bool), np.zeros(len(points), bool)
    parts = np.full(len(triangles), Part.SKIN, np.int8)
    middles = uv[triangles].mean(1)
    apertures = [(eyes, Part.EYE, lids) for lids in zip(UPPER_LIDS, LOWER_LIDS, strict=True)]
    for within, part, lines in (*apertures, (mouth, Part.MOUTH, INNER_LIPS)):
        outline = _to_plane(np.concatenate([curve(lines[0]), curve(lines[1])[-2:0:-1]])).astype(np.float32)
        own = _distance_into(uv, outline) > -1e-5
        within |= own
        parts[own[triangles].all(1) & (_distance_into(middles, outline) > 0)] = part

    skin = len(points)
    pieces = [(points, triangles, parts)]
    start = skin
    for piece, faces, part in (*_ears(), *_neck(), *_long_hair()):
        pieces.append((piece, faces + start, np.full(len(faces), part, np.int8)))
        start += len(piece)
    points, triangles, parts = (np.concatenate([piece[i] for piece in pieces]) for i in range(3))
    more = np.zeros(start - skin, bool)
    return Mesh(
        points=points,
        triangles=triangles.astype(np.intp),
        parts=parts.astype(np.int8),
        skin=skin,
        eyes=np.concatenate([eyes, more]),
        mouth=np.concatenate([mouth, more]),
    )


def _places_of_points() -> tuple[Floats, int]:
    """(N, 2) places on the map of the mesh's points, and how many of them, the last, are of the outermost ring."""
    lids = [curve(line)[1:-1] for line in UPPER_LIDS + LOWER_LIDS]
    lips = [curve(line)[1:-1] for line in OUTER_LIPS + INNER_LIPS]
    inner_eyes = [_between(curve(u), curve(w)) for u, w in zip(UPPER_LIDS, LOWER_LIDS, strict=True)]
    inner_mouth = _between(curve(INNER_LIPS[0]), curve(INNER_LIPS[1]))
    features = _to_plane(np.concatenate([template(), *lids, *lips, *inner_eyes, inner_mouth]))
    # The knots of the lines are landmarks: the first of each place is kept, and the landmarks come first.
    features = features[np.sort(np.unique(features.round(6), axis=0, return_index=True)[1])]

    rings: list[Floats] = []
    radius = 0.0
    while radius < 0.985:
        spacing = 0.021 if radius < 0.52 else 0.021 + 0.08 * (radius - 0.52)
        around = max(1, round(2 * np.pi * radius / spacing))
        angle = (np.arange(around) + 0.5 * (len(rings) % 2)) * 2 * np.pi / around
        rings.append(radius * np.column_stack([np.cos(angle), np.sin(angle)]))
        radius += spacing * 0.87
    grid = np.concatenate(rings)
    distance = np.concatenate(
        [np.sqrt(((part[:, None] - features[None]) ** 2).sum(2)).min(1) for part in np.array_split(grid, 8)]
    )
    keep = distance > 0.0115
    keep[-around:] = True
    return np.concatenate([features, grid[keep]]), around


def _between(upper: Floats, lower: Floats) -> Floats:
    return ((upper + lower) / 2)[2:-2:2]


def _distance_into(uv: Floats, outline: NDArray[np.float32]) -> Floats:
    """How far places of the map lie within a closed line; negative outside."""
    return np.array([cv2.pointPolygonTest(outline, (float(u), float(v)), True) for u, v in uv])


def _delaunay(uv: Floats) -> NDArray[np.intp]:
    """(T, 3) Delaunay triangles of points in the plane, within the unit circle, counter-clockwise."""
    division = cv2.Subdiv2D((-2, -2, 4, 4))
    numbers = np.array([division.insert((float(u), float(v))) for u, v in uv.astype(np.float32)])
    own = np.full(int(numbers.max()) + 1, -1)
    own[numbers] = np.arange(len(uv))
    places = {division.getVertex(int(number))[0]: int(own[number]) for number in numbers}
    corners = np.asarray(division.getTriangleList()).reshape(-1, 3, 2).tolist()
    found = [[places.get((u, v), -1) for u, v in corner] for corner in corners]
    triangles = np.array([corner for corner in found if min(corner) >= 0], dtype=np.intp)
    a, b, c = uv[triangles].transpose(1, 2, 0)
    turned = (b[0] - a[0]) * (c[1] - a[1]) < (c[0] - a[0]) * (b[1] - a[1])
    return np.where(turned[:, None], triangles[:, [0, 2, 1]], triangles)


def _sheet(columns: int, rows: int, closed: bool) -> NDArray[np.intp]:
    """Triangles of a grid of points, row by row; a closed one is joined from its last column to its first."""
    i, j = np.meshgrid(np.arange(columns if closed else columns - 1), np.arange(rows - 1), indexing="xy")
    a, b = j * columns + i, j * columns + (i + 1) % columns
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, b], 2).reshape(-1, 3), np.stack([b, c, d], 2).reshape(-1, 3)])


_Piece = tuple[Floats, NDArray[np.intp], Part]
"""Points of a part of the head that is no skin, and its triangles."""


def _ears() -> list[_Piece]:
    columns, rows = 14, 9
    angle, polar = np.arange(columns) * 2 * np.pi / columns, np.linspace(0, np.pi, rows)
    around, along = np.stack([np.cos(angle), np.ones(columns), np.sin(angle)]), (np.sin(polar), np.cos(polar))
    ball = np.stack([np.outer(along[i == 1], around[i]) for i in range(3)], axis=2).reshape(-1, 3)
    lean, out = np.radians(14), np.radians(24)
    points = ball * [0.085, 0.44, 0.26]
    points[:, 2] *= 1 - 0.35 * (points[:, 1] < 0) * (-points[:, 1] / 0.44)
    points = points @ np.array([[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]])
    points = points @ np.array([[np.cos(out), 0, np.sin(out)], [0, 1, 0], [-np.sin(out), 0, np.cos(out)]])
    points += np.array([1.27, 0.42, -0.14])
    triangles = _sheet(columns, rows, True)
    return [(points * [-1, 1, 1], triangles, Part.EAR), (points, triangles[:, [0, 2, 1]], Part.EAR)]


def _neck() -> list[_Piece]:
    columns = 28
    angle = np.arange(columns) * 2 * np.pi / columns

    def rings(shape: list[tuple[float, float, float, float]]) -> Floats:
        """Rings of (height, half width, half depth, place along z)."""
        return np.concatenate(
            [np.column_stack([w * np.sin(angle), np.full(columns, y), z + d * np.cos(angle)]) for y, w, d, z in shape]
        )

    neck = rings([(-0.3, 0.74, 0.66, -0.36), (-1.0, 0.76, 0.68, -0.32), (-1.6, 0.80, 0.72, -0.40),
                  (-2.0, 0.92, 0.80, -0.45), (-2.4, 1.35, 0.98, -0.50)])  # fmt: skip
    shirt = rings([(-1.95, 1.06, 0.93, -0.52), (-2.2, 1.45, 1.02, -0.50), (-2.45, 2.3, 1.15, -0.50),
                   (-2.9, 2.9, 1.30, -0.50), (-5.0, 3.1, 1.45, -0.50)])  # fmt: skip
    return [(neck, _sheet(columns, 5, True), Part.NECK), (shirt, _sheet(columns, 5, True), Part.SHIRT)]


def _long_hair() -> list[_Piece]:
    angle = np.radians(np.linspace(78, 282, 35))  # 0 looks forward
    shape = ((2.0, 0.98), (1.5, 1.26), (0.9, 1.38), (0.2, 1.44), (-0.6, 1.48), (-1.3, 1.52), (-2.0, 1.5))
    wave = 1 + 0.012 * np.cos(9 * angle)
    points = np.concatenate(
        [
            np.column_stack([r * wave * np.sin(angle), np.full(35, y), 1.2 * r * wave * np.cos(angle) - 0.05])
            for y, r in shape
        ]
    )
    return [(points, _sheet(35, len(shape), False), Part.LONG_HAIR)]
