"""A head made of formulas: a linear morphable model built like the Basel Face Model, without any scan.

A smooth surface runs through the landmarks of the average face (the template of face68.toml) and some anchors for the
rest of the head; smooth displacement fields are its shape modes, and movements of jaw, lids, lips and brows its
expression modes. It is a cartoon: it has the structure of a face's model, and says nothing about real faces.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jvcr.scheme import FACE68

SHAPE_MODES, EXPRESSION_MODES = 199, 29
"""As many as 300W-LP's files have parameters."""

UNIT_UM = 62_000.0
"""Micrometres of the template's unit: with it the head is as large as an average adult's."""

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


class Expression(enum.IntEnum):
    """The expression modes with a name; those after them are small movements around mouth, eyes and brows.

    Those with a direction (a wink, a smile of one side ...) change their sign in a mirror.
    """

    OPEN_MOUTH = 0
    CLOSE_EYES = 1
    WINK = 2
    SMILE = 3
    SMILE_OF_ONE_SIDE = 4
    RAISE_BROWS = 5
    RAISE_ONE_BROW = 6
    FROWN = 7
    PUCKER = 8
    JAW_SIDEWAYS = 9
    RAISE_UPPER_LIP = 10
    LOWER_LOWER_LIP = 11
    PUFF_CHEEKS = 12
    MOUTH_CORNERS_DOWN = 13
    SQUINT = 14
    JAW_FORWARD = 15


@dataclass(frozen=True)
class HeadModel:
    """A linear morphable head: vertices = mean + shape modes * a + expression modes * b.

    Positions are micrometres, x right, y up, z towards the camera for a head that looks into it, as those of the Basel
    model in 300W-LP (Zhu et al., 2016). Every mode is symmetric or antisymmetric about the plane x = 0, so that a
    mirrored face has the parameters of the face, some with the other sign.

    Attributes:
        mean_um: (V, 3) float32 vertices of the average head.
        shape_basis: (199, V, 3) float32; the displacements of unit parameters.
        expression_basis: (29, V, 3) float32, as well.
        shape_std: (199,) standard deviations of the shape's parameters, descending.
        expression_std: (29,) those of the expression's; for the modes of `Expression`, 1 is the full movement.
        shape_sign: (199,) 1 for symmetric modes, -1 for those whose parameter changes its sign in a mirror.
        expression_sign: (29,) likewise.
        triangles: (T, 3) vertex indices, counter-clockwise from outside.
        parts: (T,) a `Part` for each triangle.
        landmarks: (68,) indices of the landmarks' vertices, in the order of `jvcr.scheme.FACE68`.
        landmark_mean_um: (68, 3) float64: the landmarks' part of the model, unrounded.
        landmark_shape_basis: (199, 68, 3) float64.
        landmark_expression_basis: (29, 68, 3) float64.
    """

    mean_um: NDArray[np.float32]
    shape_basis: NDArray[np.float32]
    expression_basis: NDArray[np.float32]
    shape_std: Floats
    expression_std: Floats
    shape_sign: Floats
    expression_sign: Floats
    triangles: NDArray[np.intp]
    parts: NDArray[np.int8]
    landmarks: NDArray[np.intp]
    landmark_mean_um: Floats
    landmark_shape_basis: Floats
    landmark_expression_basis: Floats

    def vertices_um(self, shape: ArrayLike, expression: ArrayLike) -> NDArray[np.float32]:
        """(V, 3) float32 vertices of a head, micrometres.

        Args:
            shape: (199,) parameters of the shape.
            expression: (29,) parameters of the expression.
        """
        a, b = _parameters(shape, expression)
        flat = self.mean_um.ravel() + a.astype(np.float32) @ self.shape_basis.reshape(SHAPE_MODES, -1)
        flat += b.astype(np.float32) @ self.expression_basis.reshape(EXPRESSION_MODES, -1)
        return flat.reshape(-1, 3)

    def landmarks_um(self, shape: ArrayLike, expression: ArrayLike) -> Floats:
        """(68, 3) float64 landmarks of a head, micrometres; arguments as `vertices_um`."""
        a, b = _parameters(shape, expression)
        return (
            self.landmark_mean_um
            + np.einsum("k,kni->ni", a, self.landmark_shape_basis)
            + np.einsum("k,kni->ni", b, self.landmark_expression_basis)
        )

    def landmark_arrays(self) -> dict[str, Floats]:
        """The model at the landmarks, by the names under which ``basis.npz`` keeps it."""
        return {
            "mean": self.landmark_mean_um,
            "shape_basis": self.landmark_shape_basis,
            "expression_basis": self.landmark_expression_basis,
            "shape_std": self.shape_std,
            "expression_std": self.expression_std,
        }


def _parameters(shape: ArrayLike, expression: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(shape, np.float64), np.asarray(expression, np.float64)
    if a.shape != (SHAPE_MODES,) or b.shape != (EXPRESSION_MODES,):
        raise ValueError(
            f"a head has {SHAPE_MODES} shape and {EXPRESSION_MODES} expression parameters, got {a.shape}, {b.shape}"
        )
    return a, b


@functools.cache
def head_model() -> HeadModel:
    """The head, built once a process; always the same."""
    mesh = _build_mesh()
    fields, deviations, signs = _shape_modes(mesh)
    norms = np.sqrt((fields**2).sum((1, 2)))
    # Modes of unit length over all vertices, as those of a principal component analysis are.
    shape_std = deviations * norms * UNIT_UM
    order = np.argsort(-shape_std, kind="stable")
    shape_basis = (fields / norms[:, None, None])[order]
    expression_basis, expression_std, expression_sign = _expression_modes(mesh)
    landmarks = mesh.landmarks
    return HeadModel(
        mean_um=(mesh.points * UNIT_UM).astype(np.float32),
        shape_basis=shape_basis.astype(np.float32),
        expression_basis=(expression_basis * UNIT_UM).astype(np.float32),
        shape_std=shape_std[order],
        expression_std=expression_std,
        shape_sign=signs[order],
        expression_sign=expression_sign,
        triangles=mesh.triangles,
        parts=mesh.parts,
        landmarks=landmarks,
        landmark_mean_um=mesh.points[landmarks] * UNIT_UM,
        landmark_shape_basis=shape_basis[:, landmarks],
        landmark_expression_basis=expression_basis[:, landmarks] * UNIT_UM,
    )


# --- Curves of the average face ---------------------------------------------------------------------------------------
# From here on lengths are in units of the template, in the frame x right, y up, z towards the camera; its origin lies
# in the middle of the head, 1.2 behind the template's.

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
def _template() -> Floats:
    return np.array(FACE68.template) * [1, -1, -1] + [0, 0, _BACK]


@functools.cache
def curve(landmarks: tuple[int, ...], steps: int = 6) -> Floats:
    """(M, 3) points of a smooth line on the average face through landmarks, ``steps`` from each to the next.

    A Catmull-Rom spline, moved onto the head's surface; units of the template.
    """
    knots = _template()[list(landmarks)]
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
    """The head's surface: unit directions from `_CENTRE`, (N, 3), to radii (N,).

    An interpolation by |chord|^3 and linear terms, the smoothest through scattered data in three dimensions.
    """
    half = np.array(_ANCHORS)
    off = half[half[:, 0] > 0]
    anchors = np.concatenate([_template(), half, off * [-1, 1, 1]]) - _CENTRE
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
class _Mesh:
    """The average head; lengths in units of the template."""

    points: Floats
    triangles: NDArray[np.intp]
    parts: NDArray[np.int8]
    landmarks: NDArray[np.intp]
    skin: int
    """How many of the points, the first ones, are of the closed surface with eyes and mouth."""
    eyes: NDArray[np.bool_]
    """(V,) points within or on the lids."""
    mouth: NDArray[np.bool_]
    """(V,) points within or on the inner lips."""


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


def _build_mesh() -> _Mesh:
    """The mesh: landmarks and lines of features first, rings of points around them, joined by Delaunay's triangles."""
    template = _template()
    lids = [curve(line)[1:-1] for line in UPPER_LIDS + LOWER_LIDS]
    lips = [curve(line)[1:-1] for line in OUTER_LIPS + INNER_LIPS]
    inner_eyes = [_between(curve(u), curve(w)) for u, w in zip(UPPER_LIDS, LOWER_LIDS, strict=True)]
    inner_mouth = _between(curve(INNER_LIPS[0]), curve(INNER_LIPS[1]))
    features = _to_plane(np.concatenate([template, *lids, *lips, *inner_eyes, inner_mouth]))
    # The knots of the lines are landmarks: the first of each place is kept, and the landmarks come first.
    features = features[np.sort(np.unique(features.round(6), axis=0, return_index=True)[1])]

    rings: list[Floats] = []
    radius = 0.0
    while radius < 0.985:
        spacing = 0.021 if radius < 0.52 else 0.021 + 0.08 * (radius - 0.52)
        around = max(1, round(2 * np.pi * radius / spacing))
        angle = (np.arange(around) + 0.5 * (len(rings) % 2)) * 2 * np.pi / around
        rings.append(radius * np.column_stack([np.cos(angle), np.sin(angle)]))
        last = around
        radius += spacing * 0.87
    grid = np.concatenate(rings)
    distance = np.concatenate(
        [np.sqrt(((part[:, None] - features[None]) ** 2).sum(2)).min(1) for part in np.array_split(grid, 8)]
    )
    keep = distance > 0.0115
    keep[-last:] = True
    uv = np.concatenate([features, grid[keep]])
    triangles = _delaunay(uv)
    # The hole at the back of the head, where the map ends.
    ring = np.arange(len(uv) - last, len(uv))
    pole = len(uv)
    triangles = np.concatenate([triangles, np.column_stack([ring, np.full(last, pole), np.roll(ring, -1)])])
    points = np.concatenate([_from_plane(uv), _from_plane(np.array([[0.0, 1.0]]))])

    eyes, mouth = np.zeros(len(points), bool), np.zeros(len(points), bool)
    parts = np.full(len(triangles), Part.SKIN, np.int8)
    places = np.concatenate([uv, [[0.0, 1.0]]])
    middles = places[triangles].mean(1)
    for within, part, lines in (
        *((eyes, Part.EYE, pair) for pair in zip(UPPER_LIDS, LOWER_LIDS, strict=True)),
        (mouth, Part.MOUTH, INNER_LIPS),
    ):
        opening = _to_plane(np.concatenate([curve(lines[0]), curve(lines[1])[-2:0:-1]])).astype(np.float32)
        own = _distance_into(places, opening) > -1e-5
        within |= own
        parts[own[triangles].all(1) & (_distance_into(middles, opening) > 0)] = part

    skin = len(points)
    pieces = [(points, triangles, parts)]
    start = skin
    for piece, faces, part in (*_ears(), *_neck(), *_long_hair()):
        pieces.append((piece, faces + start, np.full(len(faces), part, np.int8)))
        start += len(piece)
    points, triangles, parts = (np.concatenate([piece[i] for piece in pieces]) for i in range(3))
    more = np.zeros(start - skin, bool)
    return _Mesh(
        points=points,
        triangles=triangles.astype(np.intp),
        parts=parts.astype(np.int8),
        landmarks=np.arange(68),
        skin=skin,
        eyes=np.concatenate([eyes, more]),
        mouth=np.concatenate([mouth, more]),
    )


def _between(upper: Floats, lower: Floats) -> Floats:
    """Points half way between two lines, without their ends."""
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


def _ears() -> list[tuple[Floats, NDArray[np.intp], Part]]:
    """Two flat ellipsoids, tilted backwards."""
    columns, rows = 14, 9
    angle = np.arange(columns) * 2 * np.pi / columns
    polar = np.linspace(0, np.pi, rows)
    ball = np.stack(
        [
            np.outer(np.sin(polar), np.cos(angle)),
            np.outer(np.cos(polar), np.ones(columns)),
            np.outer(np.sin(polar), np.sin(angle)),
        ],
        axis=2,
    ).reshape(-1, 3)
    ears = []
    for side in (-1, 1):
        points = ball * [0.085, 0.44, 0.26]
        points[:, 2] *= 1 - 0.35 * (points[:, 1] < 0) * (-points[:, 1] / 0.44)
        lean, out = np.radians(14), np.radians(24)
        points = points @ np.array(
            [[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]],
        )
        points = points @ np.array([[np.cos(out), 0, np.sin(out)], [0, 1, 0], [-np.sin(out), 0, np.cos(out)]])
        points = (points + np.array([1.27, 0.42, -0.14])) * np.array([side, 1, 1])
        triangles = _sheet(columns, rows, True)
        ears.append((points, triangles if side < 0 else triangles[:, [0, 2, 1]], Part.EAR))
    return ears


def _neck() -> list[tuple[Floats, NDArray[np.intp], Part]]:
    """Neck and shoulders: rings around an axis that leans forward upwards."""
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


def _long_hair() -> list[tuple[Floats, NDArray[np.intp], Part]]:
    """A curtain around the back of the head, from one temple to the other; not every head wears it."""
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


# --- The modes --------------------------------------------------------------------------------------------------------


def _shape_modes(mesh: _Mesh) -> tuple[Floats, Floats, Floats]:
    """Fields (199, V, 3) of greatest displacement about 1, their standard deviations in units, their signs in a mirror.

    First the head's width, height and depth, then bumps: Gaussian displacements of ever smaller reach, centred on
    points of the surface far from each other. A pair of bumps left and right moves alike or opposite.
    """
    p = mesh.points
    fields: list[Floats] = []
    deviations: list[float] = []
    signs: list[float] = []
    for axis in range(3):
        field = np.zeros_like(p)
        field[:, axis] = p[:, axis] - (0, 0.25, 0)[axis]
        fields.append(field)
        deviations.append(0.035)
        signs.append(1.0)

    front = p[: mesh.skin]
    front = front[(front[:, 0] > -1e-9) & (front[:, 2] > -0.4) & (front[:, 1] > -1.4)]
    to_landmark = np.sqrt(((front[:, None] - p[mesh.landmarks]) ** 2).sum(2)).min(1)
    mirror = np.array([-1, 1, 1])
    for reach, sites, deviation in ((1.0, 5, 0.030), (0.6, 9, 0.020), (0.4, 14, 0.014), (0.27, 30, 0.009)):
        # No farther from the landmarks than that they feel it.
        for site in _spread(front[to_landmark < reach], sites):
            here = np.exp(-((p - site) ** 2).sum(1) / (2 * reach**2))
            there = np.exp(-((p - site * mirror) ** 2).sum(1) / (2 * reach**2))
            middle = site[0] < 0.1
            for axis in range(3):
                turned = -1.0 if axis == 0 else 1.0
                for sign in (1.0, -1.0):
                    # On the middle plane only one of the two is not zero, or nearly.
                    if middle and sign != turned:
                        continue
                    field = np.zeros_like(p)
                    field[:, axis] = here + sign * turned * there
                    fields.append(field / (2 if middle else 1))
                    deviations.append(deviation * (1.0 if sign > 0 else 0.3))
                    signs.append(sign)
    if len(fields) < SHAPE_MODES:
        raise AssertionError(f"{len(fields)} modes, {SHAPE_MODES} are needed")
    stop = SHAPE_MODES
    return np.stack(fields[:stop]), np.array(deviations[:stop]), np.array(signs[:stop])


def _spread(points: Floats, count: int) -> Floats:
    """``count`` of the points, each as far as can be from those before; those near the middle plane moved onto it."""
    chosen = [int(np.argmax(points[:, 2]))]
    far = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(far)))
        far = np.minimum(far, np.linalg.norm(points - points[chosen[-1]], axis=1))
    sites = points[chosen].copy()
    sites[sites[:, 0] < 0.1, 0] = 0
    return sites


def _smooth_step(t: Floats) -> Floats:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _bump(p: Floats, centre: Floats | tuple[float, ...], reach: tuple[float, ...]) -> Floats:
    """(V,) Gaussian of 1 at a centre, with a reach for each axis."""
    return np.exp(-(((p - np.asarray(centre)) / np.asarray(reach)) ** 2).sum(1) / 2)


def _expression_modes(mesh: _Mesh) -> tuple[Floats, Floats, Floats]:
    """Fields (29, V, 3) in units of the template, standard deviations, signs in a mirror."""
    p = mesh.points
    x, y, z = p.T
    face = (z > 0.3) & (np.arange(len(p)) < mesh.skin)
    modes: list[tuple[Floats, float, int]] = []

    def add(field: Floats, deviation: float, sign: int) -> None:
        modes.append((field, deviation, sign))

    def field_of(dx: Floats | float, dy: Floats | float, dz: Floats | float) -> Floats:
        return np.stack(np.broadcast_arrays(*(d + 0 * x for d in (dx, dy, dz))), axis=1)

    jaw = _below_the_mouth(mesh)
    # The jaw turns about an axis through the ears, to first order.
    fall = np.radians(17)
    hinge_y, hinge_z = 0.30, 0.05
    within = mesh.mouth * _height_between(p, INNER_LIPS)
    recess = np.where(mesh.mouth, 4 * within * (1 - within), 0)
    add(field_of(0.0, -fall * (z - hinge_z) * jaw, fall * (y - hinge_y) * jaw * 0.7 - 0.25 * recess), 0.35, 1)

    right, left = (_closing(mesh, eye) for eye in (0, 1))
    add(right + left, 0.35, 1)
    add(right - left, 0.12, -1)

    corner_right, corner_left = (_bump(p, _template()[i], (0.20, 0.17, 0.5)) * face for i in (48, 54))
    cheek_right, cheek_left = (_bump(p, (s * 0.62, 0.10, 1.25), (0.22, 0.20, 0.5)) * face for s in (-1, 1))
    smile_right = field_of(-0.13 * corner_right - 0.02 * cheek_right, 0.10 * corner_right + 0.05 * cheek_right,
                           -0.07 * corner_right + 0.06 * cheek_right)  # fmt: skip
    smile_left = field_of(0.13 * corner_left + 0.02 * cheek_left, 0.10 * corner_left + 0.05 * cheek_left,
                          -0.07 * corner_left + 0.06 * cheek_left)  # fmt: skip
    add(smile_right + smile_left, 0.8, 1)
    add(smile_right - smile_left, 0.25, -1)

    brow_right, brow_left = (_bump(p, (s * 0.60, 1.0, 1.4), (0.34, 0.13, 0.6)) * face for s in (-1, 1))
    add(field_of(0.0, 0.13 * (brow_right + brow_left), 0.0), 0.6, 1)
    add(field_of(0.0, 0.13 * (brow_right - brow_left), 0.0), 0.25, -1)
    inner = [_bump(p, (s * 0.33, 0.93, 1.5), (0.16, 0.12, 0.6)) * face for s in (-1, 1)]
    add(field_of(0.06 * (inner[0] - inner[1]), -0.07 * (inner[0] + inner[1]), 0.02 * (inner[0] + inner[1])), 0.5, 1)

    lips = _bump(p, (0.0, -0.46, 1.55), (0.40, 0.22, 0.6)) * face
    add(field_of(-0.40 * x * lips, -0.25 * (y + 0.46) * lips, 0.13 * lips), 0.45, 1)
    sideways = jaw * _smooth_step((hinge_y - y) / 1.2)
    add(field_of(0.10 * sideways, 0.0, 0.0), 0.4, -1)
    upper = _bump(p, (0.0, -0.33, 1.6), (0.26, 0.14, 0.6)) * face * (1 - jaw)
    add(field_of(0.0, 0.07 * upper, 0.02 * upper), 0.5, 1)
    lower = _bump(p, (0.0, -0.60, 1.55), (0.28, 0.15, 0.6)) * face * jaw
    add(field_of(0.0, -0.08 * lower, 0.02 * lower), 0.5, 1)
    puff = [_bump(p, (s * 0.68, -0.28, 1.1), (0.22, 0.28, 0.4)) * face for s in (-1, 1)]
    add(field_of(0.06 * (puff[1] - puff[0]), 0.0, 0.09 * (puff[0] + puff[1])), 0.4, 1)
    add(field_of(0.02 * (corner_left - corner_right), -0.09 * (corner_left + corner_right), 0.0), 0.4, 1)
    under = [_bump(p, (s * 0.51, 0.52, 1.3), (0.20, 0.055, 0.5)) * face for s in (-1, 1)]
    under_lid = (under[0] + under[1]) * np.where(mesh.eyes, 1 - _eye_height(p), 1)
    add(field_of(0.0, 0.03 * under_lid, 0.01 * under_lid), 0.4, 1)
    add(field_of(0.0, 0.0, 0.08 * jaw * _smooth_step((0.2 - y) / 1.0)), 0.4, 1)

    # Small movements of everything that moves: lips, mouth's corners, nostrils, brows, cheeks. A bump's reach is so
    # large that both lids or both lips go with it, and the surface stays whole.
    places = ((0.0, -0.46, 1.6), (0.40, -0.46, 1.35), (0.55, 0.97, 1.4), (0.23, 0.0, 1.55), (0.60, 0.05, 1.25))
    for site in places:
        for axis in range(3):
            for sign in (1, -1):
                turned = -1 if axis == 0 else 1
                if site[0] == 0:
                    if sign != turned:
                        continue
                    amount = _bump(p, site, (0.3, 0.22, 0.5)) * face
                else:
                    mirrored = _bump(p, np.array(site) * [-1, 1, 1], (0.2, 0.2, 0.5)) * face
                    amount = _bump(p, site, (0.2, 0.2, 0.5)) * face + sign * turned * mirrored
                shift = [0.0, 0.0, 0.0]
                shift[axis] = 0.035
                add(field_of(*(s * amount for s in shift)), 0.25 if sign > 0 else 0.12, sign)
    modes = modes[:EXPRESSION_MODES]
    if len(modes) < EXPRESSION_MODES:
        raise AssertionError(f"{len(modes)} modes, {EXPRESSION_MODES} are needed")
    return np.stack([m[0] for m in modes]), np.array([m[1] for m in modes]), np.array([float(m[2]) for m in modes])


def _height_between(p: Floats, lines: tuple[tuple[int, ...], ...]) -> Floats:
    """(V,) 0 on the lower, 1 on the upper of two lines that begin and end together; clipped beyond them."""
    upper, lower = (height_on(curve(line), p[:, 0]) for line in lines)
    gap = upper - lower
    return np.where(gap > 1e-6, np.clip((p[:, 1] - lower) / np.maximum(gap, 1e-6), 0, 1), 0.5)


def _eye_height(p: Floats) -> Floats:
    """(V,) 0 on the lower lid, 1 on the upper, for points of either eye."""
    right, left = (_height_between(p, pair) for pair in zip(UPPER_LIDS, LOWER_LIDS, strict=True))
    return np.where(p[:, 0] < 0, right, left)


def _below_the_mouth(mesh: _Mesh) -> Floats:
    """(V,) how much a point goes with the lower jaw: 1 on the chin and the lower lip, 0 on the upper lip and above.

    Between the lips the step is sharp; it is a band that widens towards the corners of the mouth, and on to the hinge
    at the ears.
    """
    p = mesh.points
    x, y, z = p.T
    half = 0.396  # half the mouth's width
    across = np.abs(x)
    middle = (height_on(curve(INNER_LIPS[0]), x) + height_on(curve(INNER_LIPS[1]), x)) / 2
    # From the corner of the mouth up to the hinge.
    out = np.clip((across - half) / 0.8, 0, 1)
    line = np.where(across < half, middle, -0.47 + 0.55 * out)
    band = 0.02 + 0.33 * np.minimum(across / half, 1.1) ** 5 + 0.75 * out
    weight = _smooth_step((line - y) / band + 0.5)
    # Neither the throat's back nor what hangs on the head goes along.
    forward = _smooth_step((z + 0.1) / 0.5)
    return weight * forward * (np.arange(len(p)) < mesh.skin)


def _closing(mesh: _Mesh, eye: int) -> Floats:
    """(V, 3) what closes an eye (0 the right one): its upper lid comes down to the lower one, skin above it follows."""
    p = mesh.points
    x, y, _ = p.T
    upper, lower = curve(UPPER_LIDS[eye]), curve(LOWER_LIDS[eye])
    wide = (x > upper[0, 0]) & (x < upper[-1, 0]) & (p[:, 2] > 0.5) & (np.arange(len(p)) < mesh.skin)
    top, bottom = height_on(upper, x), height_on(lower, x)
    depth = np.interp(x, lower[:, 0], lower[:, 2]) - np.interp(x, upper[:, 0], upper[:, 2])
    gap = np.where(wide, top - bottom, 0)
    inside = np.clip((y - bottom) / np.maximum(gap, 1e-6), 0, 1)
    above = 1 - np.clip((y - top) / 0.17, 0, 1)
    amount = np.where(y <= top, inside, above) * wide
    bulge = np.where(y > top, above * (1 - above), 0) * wide * np.minimum(gap / 0.08, 1)
    return np.stack([0 * x, -gap * amount, depth * amount + 0.10 * bulge], axis=1)
