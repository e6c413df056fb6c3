"""Drawing a mesh: a z-buffer in numpy, and the colours of the head of `jvcr.synthetic.head`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.synthetic.head import (
    BROWS,
    INNER_LIPS,
    LOWER_LIDS,
    OUTER_LIPS,
    UNIT_UM,
    UPPER_LIDS,
    HeadModel,
    Part,
    curve,
    height_on,
)

Colour = tuple[float, float, float]
"""Red, green, blue; 0 to 1."""

SUPERSAMPLING = 2
"""Pixels are drawn this many times smaller along each axis, and averaged."""


# --- The z-buffer -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surface:
    """What is seen at each pixel.

    Attributes:
        triangle: (height, width) index of the nearest triangle, -1 where there is none.
        depth: (height, width) its z, larger is nearer; -inf where there is none.
        weights: (height, width, 3) float32 barycentric coordinates of the pixel's centre in that triangle.
    """

    triangle: NDArray[np.int32]
    depth: NDArray[np.float32]
    weights: NDArray[np.float32]


def rasterise(
    points_px: NDArray[np.floating],
    triangles: NDArray[np.intp],
    width: int,
    height: int,
    two_sided: NDArray[np.bool_] | None = None,
) -> Surface:
    """The nearest triangle at each pixel of an image: a z-buffer.

    A triangle covers the pixels whose centres lie in it, its border included. Of two at the same depth the one that
    comes later in the list is taken.

    Args:
        points_px: (V, 3) vertices: x right and y down in pixels, integer = pixel centre; z towards the camera.
        triangles: (T, 3) vertex indices, counter-clockwise as seen from their front (in a frame with y up).
        width: of the image, pixels.
        height: of the image, pixels.
        two_sided: (T,) triangles that are seen from behind, too; none if None.
    """
    corners = points_px.astype(np.float64)[triangles]
    x, y, z = corners.transpose(2, 1, 0)
    # Twice the signed area; y down turns the winding, so that fronts are negative.
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    drawn = area < -1e-9
    if two_sided is not None:
        drawn |= two_sided & (area > 1e-9)
    first = np.maximum(np.ceil(y.min(0)), 0)
    last = np.minimum(np.floor(y.max(0)), height - 1)
    drawn &= (last >= first) & (x.max(0) >= 0) & (x.min(0) <= width - 1)
    numbers = np.flatnonzero(drawn)
    x, y, z, area = x[:, numbers], y[:, numbers], z[:, numbers], area[numbers]
    # Barycentric coordinate i = gx[i] * px + gy[i] * py + g[i].
    after, before = [1, 2, 0], [2, 0, 1]
    gx = (y[after] - y[before]) / area
    gy = (x[before] - x[after]) / area
    g = (x[after] * y[before] - x[before] * y[after]) / area

    # One entry for each row of pixels that a triangle crosses ...
    rows = (last - first)[numbers].astype(np.intp) + 1
    of = np.repeat(np.arange(len(numbers)), rows)
    row = _counting(rows) + first[numbers].astype(np.intp)[of]
    left, right = np.zeros(len(of)), np.full(len(of), width - 1.0)
    for i in range(3):
        slope, rest = gx[i, of], gy[i, of] * row + g[i, of]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -rest / slope
        left = np.where(slope > 0, np.maximum(left, crossing), left)
        right = np.where(slope < 0, np.minimum(right, crossing), right)
        right = np.where((slope == 0) & (rest < 0), -1, right)
    start = np.ceil(left - 1e-9)
    lengths = np.maximum(np.floor(right + 1e-9) - start + 1, 0).astype(np.intp)

    # ... and one for each pixel of these.
    span = np.repeat(np.arange(len(of)), lengths)
    column = _counting(lengths) + start.astype(np.intp)[span]
    row, of = row[span], of[span]
    plane = (gx * z).sum(0), (gy * z).sum(0), (g * z).sum(0)
    near = plane[0][of] * column + plane[1][of] * row + plane[2][of]
    low, high = (float(z.min()), float(z.max())) if len(numbers) else (0.0, 1.0)
    steps = np.clip((near - low) / max(high - low, 1e-12), 0, 1) * (2**31 - 2)
    key = ((steps.astype(np.int64) + 1) << 32) | of
    buffer = np.zeros(width * height, np.int64)
    np.maximum.at(buffer, row * width + column, key)

    seen = np.flatnonzero(buffer)
    winner = (buffer[seen] & 0xFFFFFFFF).astype(np.intp)
    py, px = np.divmod(seen, width)
    weights = np.zeros((height * width, 3), np.float32)
    weights[seen] = (gx[:, winner] * px + gy[:, winner] * py + g[:, winner]).T
    triangle = np.full(height * width, -1, np.int32)
    triangle[seen] = numbers[winner]
    depth = np.full(height * width, -np.inf, np.float32)
    depth[seen] = plane[0][winner] * px + plane[1][winner] * py + plane[2][winner]
    return Surface(triangle.reshape(height, width), depth.reshape(height, width), weights.reshape(height, width, 3))


def _counting(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """0, 1 ... n - 1 for each n of ``lengths``, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)


# --- Looks ------------------------------------------------------------------------------------------------------------

SKINS: tuple[Colour, ...] = (
    (0.97, 0.82, 0.73), (0.93, 0.76, 0.64), (0.87, 0.68, 0.53), (0.76, 0.56, 0.41), (0.58, 0.40, 0.28),
    (0.40, 0.27, 0.19), (0.29, 0.20, 0.15),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (0.06, 0.05, 0.05), (0.14, 0.09, 0.06), (0.28, 0.18, 0.10), (0.45, 0.30, 0.15), (0.80, 0.65, 0.38),
    (0.55, 0.22, 0.08), (0.60, 0.60, 0.60), (0.85, 0.84, 0.82),
)  # fmt: skip
BALD, SHORT, LONG = range(3)
IRISES: tuple[Colour, ...] = ((0.25, 0.14, 0.07), (0.42, 0.27, 0.12), (0.30, 0.45, 0.62), (0.30, 0.45, 0.30))


@dataclass(frozen=True)
class Look:
    """Everything about a picture that is not geometry.

    Attributes:
        skin: colour of the skin.
        lips: colour of the lips.
        hair: colour of hair, brows and beard.
        iris: colour of the eyes.
        shirt: colour of the shirt.
        hair_style: `BALD`, `SHORT` or `LONG`.
        hairline: moves the hairline up, units of the template.
        hair_thickness: of the hair on the skull, units of the template.
        brow_thickness: half of it, units of the template.
        brow_strength: 0 to 1.
        beard: 0 to 1.
        blush: 0 to 1.
        gaze: movement of the iris, right and up, units of the template.
        light: direction to the light, a unit vector, x right, y up, z towards the camera.
        ambient: light from everywhere.
        sun: strength of the light from its direction.
        tint: colour of the light.
        phase: (8,) numbers in which skin's and hair's patterns differ.
    """

    skin: Colour = SKINS[1]
    lips: Colour = (0.75, 0.38, 0.36)
    hair: Colour = HAIRS[1]
    iris: Colour = IRISES[0]
    shirt: Colour = (0.25, 0.35, 0.50)
    hair_style: int = SHORT
    hairline: float = 0.0
    hair_thickness: float = 0.12
    brow_thickness: float = 0.05
    brow_strength: float = 0.9
    beard: float = 0.0
    blush: float = 0.3
    gaze: tuple[float, float] = (0.0, 0.0)
    light: tuple[float, float, float] = (0.3, 0.4, 0.866)
    ambient: float = 0.5
    sun: float = 0.6
    tint: Colour = (1.0, 1.0, 1.0)
    phase: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0, 3, 8))


def random_person(rng: np.random.Generator) -> Look:
    """A look whose skin, hair, eyes and clothes are random, in a light from the front."""
    tone = rng.uniform(0, len(SKINS) - 1)
    skin = np.array([np.interp(tone, range(len(SKINS)), [s[c] for s in SKINS]) for c in range(3)])
    skin = np.clip(skin * np.exp(rng.normal(0, 0.02, 3)), 0.05, 1)
    redness = rng.uniform(0.35, 0.85)
    lips = skin * (1 - redness) + redness * np.array([0.72, 0.28, 0.30]) * (0.35 + 0.75 * skin.mean())
    dyed = rng.random() < 0.06
    # Dark skin mostly goes with dark hair.
    hair = rng.uniform(0, 1, 3) * 0.7 if dyed else np.array(HAIRS[int(rng.integers(3 if tone > 3.5 else len(HAIRS)))])
    return Look(
        skin=_colour(skin),
        lips=_colour(lips),
        hair=_colour(np.clip(hair * np.exp(rng.normal(0, 0.12)), 0.02, 1)),
        iris=IRISES[int(rng.integers(2 if tone > 3.5 else len(IRISES)))],
        shirt=_colour(rng.uniform(0.05, 0.95, 3)),
        hair_style=int(rng.choice((BALD, SHORT, LONG), p=(0.1, 0.55, 0.35))),
        hairline=float(rng.normal(0, 0.10)),
        hair_thickness=float(rng.uniform(0.05, 0.22)),
        brow_thickness=float(rng.uniform(0.035, 0.07)),
        brow_strength=float(rng.uniform(0.55, 1.0)),
        beard=float(rng.uniform(0.3, 0.9)) if rng.random() < 0.25 else 0.0,
        blush=float(rng.uniform(0, 0.6)),
        phase=rng.uniform(0, 2 * np.pi, 8),
    )


def in_random_light(look: Look, rng: np.random.Generator) -> Look:
    """The same person at another moment: in another light, with another gaze."""
    direction = rng.normal(0, 1, 3) * [1.0, 0.6, 0.4] + [0, 0.35, 0.9]
    direction /= np.linalg.norm(direction)
    ambient = rng.uniform(0.30, 0.65)
    return replace(
        look,
        light=_colour(direction),
        ambient=float(ambient),
        sun=float(rng.uniform(0.95, 1.15) - ambient),
        tint=_colour(np.exp(rng.normal(0, 0.04, 3))),
        gaze=(float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.015, 0.015))),
    )


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


# --- The picture ------------------------------------------------------------------------------------------------------


_Values = NDArray[np.float32]
"""One row for each sample that is shaded."""


def draw_head(
    model: HeadModel,
    head_um: NDArray[np.float32],
    rotation: NDArray[np.float64],
    scale: float,
    shift_px: NDArray[np.float64],
    look: Look,
    background: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A head under weak perspective, and the depth of what is seen.

    Args:
        model: whose mesh it is.
        head_um: (V, 3) its vertices before they are turned, micrometres, y up.
        rotation: (3, 3) of the head, y up.
        scale: pixels of the image for a micrometre.
        shift_px: (3,) added to the turned and scaled vertices: x, y up and z, pixels. y is counted from the bottom, as
            in 300W-LP: the row of a vertex is height - y.
        look: colours and light.
        background: (height, width, 3) float32 RGB, 0 to 1.

    Returns:
        The picture, (height, width, 3) float32 RGB, 0 to 1; and the z of what is seen at the pixels' centres,
        (height, width), pixels towards the camera as ``shift_px``, -inf in the background.
    """
    height, width = background.shape[:2]
    fine = SUPERSAMPLING
    mean = model.mean_um / np.float32(UNIT_UM)
    # Long hair covers the ears.
    worn = model.parts != (Part.EAR if look.hair_style == LONG else Part.LONG_HAIR)
    triangles, parts = model.triangles[worn], model.parts[worn]
    thick = _hair_thickness(model, mean, look)
    normals = _vertex_normals(head_um, triangles)
    head = head_um + normals * (thick * np.float32(UNIT_UM))[:, None]
    turned = head @ rotation.T.astype(np.float32) * np.float32(scale) + shift_px.astype(np.float32)
    columns_rows = turned * np.array([1, -1, 1], np.float32) + np.array([-1, height, 0], np.float32)
    back = parts == Part.LONG_HAIR
    surface = rasterise(columns_rows, triangles, width, height, back)
    # Pixel centres of the fine image: fine pixel i has its centre at (i + 0.5) / fine - 0.5 of the image.
    in_fine = columns_rows * np.array([fine, fine, 1], np.float32)
    in_fine[:, :2] += (fine - 1) / 2
    samples = rasterise(in_fine, triangles, width * fine, height * fine, back)

    # Where all samples of a pixel show one part of the head, without a step in depth, its centre alone is shaded.
    kinds = np.append(parts, -1)
    own = kinds[surface.triangle]
    sample_kinds = _by_pixel(kinds[samples.triangle], fine)
    depths = _by_pixel(samples.depth, fine)
    with np.errstate(invalid="ignore"):
        step = depths.max(2) - depths.min(2) > 0.06 * UNIT_UM * scale
    even = (own >= 0) & (sample_kinds == own[:, :, None]).all(2) & ~step
    edge = (sample_kinds >= 0).any(2) & ~even
    sampled = _by_pixel(samples.triangle, fine)[edge]
    seen = sampled >= 0
    numbers = np.concatenate([surface.triangle[even], sampled[seen]])
    weights = np.concatenate([surface.weights[even], _by_pixel(samples.weights, fine)[edge][seen]])

    corners = triangles[numbers]
    # Of each of these: its place on the average head, its place on this one, its normal.
    carried = np.concatenate(
        [mean, head / np.float32(UNIT_UM), _vertex_normals(head, triangles) @ rotation.T.astype(np.float32)], axis=1
    )
    values = np.einsum("pi,pic->pc", weights, carried[corners])
    place, here, normal = values[:, :3], values[:, 3:6], values[:, 6:]
    colours = _shaded(model, head, parts[numbers], place, here, normal, look)

    picture = background.copy()
    picture[even] = colours[: even.sum()]
    mixed = np.repeat(background[edge][:, None], fine * fine, axis=1)
    mixed[seen] = colours[even.sum() :]
    picture[edge] = mixed.mean(1)
    return np.clip(picture, 0, 1), surface.depth


_Scalar = TypeVar("_Scalar", bound=np.generic)


def _by_pixel(values: NDArray[_Scalar], fine: int) -> NDArray[_Scalar]:
    """(height, width, fine * fine, ...) the samples of each pixel."""
    height, width = values.shape[0] // fine, values.shape[1] // fine
    blocks = values.reshape(height, fine, width, fine, -1).swapaxes(1, 2)
    return blocks.reshape(height, width, fine * fine, *values.shape[2:])


def _shaded(
    model: HeadModel,
    head: NDArray[np.float32],
    part: NDArray[np.int8],
    place: _Values,
    here: _Values,
    normal: _Values,
    look: Look,
) -> _Values:
    """(P, 3) colours in the light: Lambert's law, light from everywhere and Blinn's highlight."""
    colours, shine = _albedo(model, head, part, place, here, look)
    normal = normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)
    light = np.array(look.light, np.float32)
    # Long hair is seen from inside, too: there its normals point away.
    facing = normal @ light
    lit = np.where(part == Part.LONG_HAIR, np.abs(facing), np.maximum(facing, 0))
    # The half-way vector; the camera looks along -z.
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    highlight = shine * np.maximum(normal @ half, 0) ** 24 * look.sun
    shaded = colours * (look.ambient + look.sun * lit)[:, None] * np.array(look.tint, np.float32)
    return (shaded + highlight[:, None]).astype(np.float32)


def _vertex_normals(points: NDArray[np.float32], triangles: NDArray[np.intp]) -> NDArray[np.float32]:
    """(V, 3) unit normals, averaged over the triangles by their area."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    faces = np.stack(
        [
            u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
            u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
            u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
        ],
        axis=1,
    )
    flat = triangles.T.ravel()
    sums = [np.bincount(flat, np.tile(faces[:, i], 3), len(points)) for i in range(3)]
    normals = np.stack(sums, axis=1)
    return (normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def _hairline(place: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
    """How far a place on the average skull lies above the hairline, units of the template."""
    around = np.degrees(np.arctan2(np.abs(place[:, 0]), place[:, 2]))
    line = np.interp(
        around, (0, 25, 42, 52, 62, 72, 84, 100, 125, 180), (1.62, 1.62, 1.52, 1.30, 1.02, 0.62, 0.55, 0.35, -0.4, -0.6)
    )
    p = look.phase
    wave = 0.035 * np.sin(place[:, 0] * 9 + p[0]) + 0.02 * np.sin(place[:, 0] * 23 + p[1])
    return (place[:, 1] - line - look.hairline - wave).astype(np.float32)


def _hair_thickness(model: HeadModel, mean: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
    """(V,) how far the hair lifts the skull's surface, units of the template."""
    skin = np.zeros(len(mean), bool)
    skin[model.triangles[model.parts == Part.SKIN].ravel()] = True
    if look.hair_style == BALD:
        return np.zeros(len(mean), np.float32)
    rise = np.clip(_hairline(mean, look) / 0.2, 0, 1)
    return (look.hair_thickness * rise * skin).astype(np.float32)


def _albedo(
    model: HeadModel, head: NDArray[np.float32], part: NDArray[np.int8], place: _Values, here: _Values, look: Look
) -> tuple[_Values, _Values]:
    """(P, 3) colours and (P,) strengths of the highlight.

    Args:
        model: for the eyes' places.
        head: (V, 3) this head's vertices, micrometres.
        part: (P,) what each pixel shows.
        place: (P, 3) the same point on the average head, units of the template.
        here: (P, 3) the point on this head, not turned, same units.
        look: colours.
    """
    skin = np.array(look.skin, np.float32)
    colours = np.tile(skin, (len(part), 1))
    shine = np.full(len(part), 0.10, np.float32)
    p = look.phase.astype(np.float32)
    x, y, z = place.T
    mottled = 0.012 * (
        np.sin(x * 7 + p[0]) * np.sin(y * 6 + p[1]) + np.sin(x * 17 + y * 5 + p[2]) * np.sin(y * 19 + p[3])
    )
    colours *= 1 + mottled[:, None]

    is_skin = part == Part.SKIN
    front = is_skin & (z > 0.3) & (y < 1.25)
    if front.any():
        colours[front], shine[front] = _face_colours(colours[front], place[front], look)
    hairy = np.zeros(len(part), bool)
    if look.hair_style != BALD:
        above = _hairline(place, look)
        cover = np.clip(above / 0.06 + 0.5, 0, 1) * is_skin
        strands = _strands(np.arctan2(x, y - 1.0) * 14 + z * 9, p)
        colours += cover[:, None] * (np.array(look.hair, np.float32) * strands[:, None] - colours)
        hairy = cover > 0.5
    curtain = part == Part.LONG_HAIR
    if curtain.any():
        around = np.arctan2(x[curtain], z[curtain])
        strands = _strands(around * 22 + y[curtain] * 1.5, p)
        colours[curtain] = np.array(look.hair, np.float32) * strands[:, None] * 0.9
        hairy |= curtain
    shine[hairy] = 0.12
    ear = part == Part.EAR
    inside = ((np.abs(y[ear] - 0.45) / 0.26) ** 2 + ((z[ear] + 0.12) / 0.14) ** 2) < 1
    colours[ear] *= np.where(inside, 0.80, 0.97)[:, None]
    neck = part == Part.NECK
    # The head keeps light off the neck.
    colours[neck] *= np.clip(0.62 + 0.25 * (-1.0 - y[neck]), 0.62, 0.95)[:, None]
    shirt = part == Part.SHIRT
    folds = 1 + 0.08 * np.sin(x[shirt] * 6 + y[shirt] * 3 + p[4])
    colours[shirt] = np.array(look.shirt, np.float32) * folds[:, None]
    shine[shirt | neck] = 0

    mouth = part == Part.MOUTH
    if mouth.any():
        edge = head[model.landmarks[[61, 62, 63]], 1].mean() / UNIT_UM
        below = edge - here[mouth, 1]
        teeth = (below < 0.11) & (below > 0.015) & (np.abs(here[mouth, 0]) < 0.33)
        gaps = 0.88 + 0.12 * np.clip(np.abs(np.sin(here[mouth, 0] * 30)) * 3, 0, 1)
        inner = np.where(below[:, None] > 0.20, (0.45, 0.16, 0.17), (0.16, 0.05, 0.05))
        colours[mouth] = np.where(teeth[:, None], np.array([0.80, 0.77, 0.71]) * gaps[:, None], inner)
        shine[mouth] = 0
    eye = part == Part.EYE
    if eye.any():
        colours[eye], shine[eye] = _eye_colours(model, head, here[eye], look)
    return colours, shine


def _strands(across: NDArray[np.floating], phase: _Values) -> _Values:
    """Light and dark along a direction, as hair has it."""
    waves = np.sin(across * 3 + phase[4]) + np.sin(across * 7.3 + phase[5]) + 0.7 * np.sin(across * 16.7 + phase[6])
    return np.asarray(1 + 0.08 * waves, np.float32)


def _face_colours(colours: _Values, place: _Values, look: Look) -> tuple[_Values, _Values]:
    """Skin with brows, lids, lips, nostrils, blush and beard: everything that is painted on the front of the face."""
    x, y, z = place.T
    across = np.abs(x)
    shine = np.full(len(x), 0.10, np.float32)
    skin = np.array(look.skin, np.float32)
    hair = np.array(look.hair, np.float32)

    def paint(amount: NDArray[np.floating], colour: NDArray[np.floating]) -> None:
        nonlocal colours
        colours = colours + np.asarray(amount, np.float32)[:, None] * (np.asarray(colour, np.float32) - colours)

    def spot(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.float32]:
        return np.exp(-(((across - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)

    # Light that does not reach the corners of the eyes, under the brows and beside the nose.
    dark = (
        0.30 * spot(0.30, 0.66, 0.12, 0.12) + 0.15 * spot(0.52, 0.76, 0.28, 0.07) + 0.15 * spot(0.29, 0.0, 0.06, 0.12)
    )
    dark += 0.18 * spot(0.0, -0.70, 0.22, 0.05)
    fold = 0.26 + 0.22 * np.clip((0.05 - y) / 0.45, 0, 1)
    dark += (
        0.16
        * np.exp(-(((across - fold) / 0.035) ** 2))
        * np.clip((0.10 - y) / 0.1, 0, 1)
        * np.clip((y + 0.5) / 0.1, 0, 1)
    )
    # Under the edge of the jaw.
    dark += 0.35 * np.clip((-1.22 - y + 0.35 * across**2) / 0.12, 0, 1) * (z < 1.35)
    colours = colours * (1 - np.clip(dark, 0, 0.8))[:, None].astype(np.float32)
    paint(look.blush * 0.5 * spot(0.62, 0.12, 0.22, 0.18), skin * [1.0, 0.66, 0.62])
    paint(look.blush * 0.3 * spot(0.0, 0.10, 0.16, 0.12), skin * [1.0, 0.72, 0.68])
    if look.beard:
        line = np.interp(across, (0, 0.3, 0.55, 0.8, 1.0, 1.2), (-0.20, -0.20, -0.42, -0.25, 0.1, 0.4))
        grain = 0.9 + 0.1 * np.sin(x * 61 + look.phase[0]) * np.sin(y * 57 + look.phase[1])
        paint(look.beard * np.clip((line - y) / 0.10, 0, 1) * grain, hair * 0.8)
    paint(0.85 * np.clip(1.4 - ((across - 0.105) / 0.062) ** 2 - ((y + 0.068) / 0.030) ** 2, 0, 1) * (z > 1.45),
          skin * 0.22)  # fmt: skip

    # Lips, from their outer line inwards.
    top, bottom = (height_on(curve(line), x) for line in OUTER_LIPS)
    lips = np.clip(np.minimum(top - y, y - bottom) / 0.025 + 0.5, 0, 1) * (across < 0.43) * (z > 0.9)
    paint(lips, np.array(look.lips, np.float32))
    shine[lips > 0.5] = 0.22
    inner = [height_on(curve(line), x) for line in INNER_LIPS]
    seam = (
        np.exp(-((np.minimum(np.abs(y - inner[0]), np.abs(y - inner[1])) / 0.014) ** 2)) * (across < 0.40) * (z > 0.9)
    )
    paint(0.5 * seam, np.array(look.lips, np.float32) * 0.45)

    # Lids: lashes on the upper one, a thin line on the lower one, the crease above.
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        over, under = curve(upper), curve(lower)
        wide = np.clip(np.minimum(x - over[0, 0], over[-1, 0] - x) / 0.02 + 1, 0, 1) * (z > 0.8)
        above, below = y - height_on(over, x), height_on(under, x) - y
        paint(0.9 * np.clip(1.6 - np.abs(above - 0.006) / 0.013, 0, 1) * wide, hair * 0.3)
        paint(0.35 * np.clip(1.5 - np.abs(below) / 0.012, 0, 1) * wide, skin * 0.45)
        paint(0.30 * np.exp(-(((above - 0.075) / 0.016) ** 2)) * wide, skin * 0.5)

    # Brows lie under their landmarks' line, which is their upper part, and get thin at both ends.
    for brow in BROWS:
        line = curve(brow)
        along = np.clip((across - 0.303) / 0.622, 0, 1)
        half = look.brow_thickness * np.sqrt(np.clip(1.15 - along, 0.02, 1)) * np.clip(along / 0.15 + 0.6, 0, 1)
        off = (y - height_on(line, x) + 0.02) / half
        ends = np.clip(np.minimum(across - 0.275, 0.955 - across) / 0.03, 0, 1)
        within = ends * (np.sign(x) == np.sign(line[2, 0])) * (z > 0.7)
        grain = 0.92 + 0.08 * np.sin(across * 95 + y * 60)
        paint(look.brow_strength * np.clip((1.1 - np.abs(off)) / 0.35, 0, 1) * within * grain, hair * 0.65)
    return colours, shine


def _eye_colours(model: HeadModel, head: NDArray[np.float32], here: _Values, look: Look) -> tuple[_Values, _Values]:
    """White, iris and pupil, at rest in the head while the lids move."""
    colours = np.tile(np.array([0.93, 0.91, 0.89], np.float32), (len(here), 1))
    shine = np.full(len(here), 0.3, np.float32)
    for outer, inner in ((36, 39), (45, 42)):
        ends = head[model.landmarks[[outer, inner]]] / UNIT_UM
        centre, half = ends.mean(0), abs(float(ends[0, 0] - ends[1, 0])) / 2
        own = np.abs(here[:, 0] - centre[0]) < half * 1.1
        dx, dy = here[own, 0] - centre[0] - look.gaze[0], here[own, 1] - centre[1] - 0.008 - look.gaze[1]
        r = np.hypot(dx, dy)
        part = colours[own]
        # Darker into the corners; pink in the inner one.
        edge = np.clip((np.abs(here[own, 0] - centre[0]) / half - 0.55) / 0.45, 0, 1)[:, None]
        part = part * (1 - 0.25 * edge * np.array([0.6, 1.0, 1.0], np.float32))
        iris = np.array(look.iris, np.float32) * np.clip(0.75 + 4.5 * (r - 0.03), 0.6, 1.3)[:, None]
        ring = np.clip((0.085 - r) / 0.012 + 0.5, 0, 1)[:, None]
        part = part + ring * (np.where(r[:, None] > 0.074, iris * 0.5, iris) - part)
        part = part + np.clip((0.036 - r) / 0.01 + 0.5, 0, 1)[:, None] * (0.03 - part)
        glint = np.clip((0.018 - np.hypot(dx - 0.028, dy - 0.025)) / 0.008 + 0.5, 0, 1)[:, None]
        colours[own] = part + glint * (1.0 - part)
    return colours.astype(np.float32), shine


# --- The background ---------------------------------------------------------------------------------------------------


def random_background(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(size, size, 3) float32 RGB, 0 to 1: a gradient with blots, coarse noise or shapes, more or less blurred.

    What is drawn depends on the size only in its sharpness.
    """
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.clip(0.5 + (steps[None] - 0.5) * np.cos(angle) + (steps[:, None] - 0.5) * np.sin(angle), 0, 1)
    first, second = rng.uniform(0.05, 0.95, (2, 3)).astype(np.float32)
    picture = (first + ramp[:, :, None] * (second - first)).astype(np.float32)
    kind = rng.integers(3)
    if kind == 0:
        for cells in (3, 9, 27):
            coarse = rng.normal(0, 0.14, (cells, cells, 3)).astype(np.float32)
            picture += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    else:
        for _ in range(int(rng.integers(4, 14))):
            colour = tuple(float(c) for c in rng.uniform(0, 1, 3))
            x0, y0, x1, y1 = rng.uniform(-0.2, 1.2, 4) * size
            if kind == 1:
                a, b = (round(min(x0, x1)), round(min(y0, y1))), (round(max(x0, x1)), round(max(y0, y1)))
                cv2.rectangle(picture, a, b, colour, -1)
            else:
                radius = round(float(rng.uniform(0.03, 0.25)) * size)
                cv2.circle(picture, (round(x0), round(y0)), radius, colour, -1)
    sigma = rng.uniform(0.002, 0.03) * size
    return np.clip(cv2.GaussianBlur(picture, (0, 0), sigma), 0, 1).astype(np.float32)
