"""Drawing the head of `jvcr.synthetic.head`: its colours in the light, pixel by pixel."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from jvcr.synthetic.head import UNIT_UM, HeadModel
from jvcr.synthetic.look import BALD, LONG, Look
from jvcr.synthetic.mesh import BROWS, INNER_LIPS, LOWER_LIDS, OUTER_LIPS, UPPER_LIDS, Part, curve, height_on
from jvcr.synthetic.rasterise import Surface, rasterise

SUPERSAMPLING = 2
"""Pixels are drawn this many times smaller along each axis, and averaged."""

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

    ``head_um`` are the (V, 3) vertices before they are turned, micrometres, y up, and ``rotation`` is (3, 3), y up;
    ``scale`` is pixels for a micrometre. ``shift_px`` (3,) is added to the turned and scaled vertices: x, y up from the
    bottom (as in 300W-LP) and z, pixels. The background is (height, width, 3) float32 RGB, 0 to 1.

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
    head = head_um + _vertex_normals(head_um, triangles) * (thick * np.float32(UNIT_UM))[:, None]
    turned = head @ rotation.T.astype(np.float32) * np.float32(scale) + shift_px.astype(np.float32)
    columns_rows = turned * np.array([1, -1, 1], np.float32) + np.array([-1, height, 0], np.float32)
    back = parts == Part.LONG_HAIR
    surface = rasterise(columns_rows, triangles, width, height, back)
    # Pixel centres of the fine image: fine pixel i has its centre at (i + 0.5) / fine - 0.5 of the image.
    in_fine = columns_rows * np.array([fine, fine, 1], np.float32)
    in_fine[:, :2] += (fine - 1) / 2
    samples = rasterise(in_fine, triangles, width * fine, height * fine, back)

    even, edge = _even_and_edge(surface, samples, parts, fine, 0.06 * UNIT_UM * scale)
    sampled = _by_pixel(samples.triangle, fine)[edge]
    seen = sampled >= 0
    numbers = np.concatenate([surface.triangle[even], sampled[seen]])
    weights = np.concatenate([surface.weights[even], _by_pixel(samples.weights, fine)[edge][seen]])
    # Of each of these: its place on the average head, its place on this one, its normal.
    normals = _vertex_normals(head, triangles) @ rotation.T.astype(np.float32)
    carried = np.concatenate([mean, head / np.float32(UNIT_UM), normals], axis=1)
    values = np.einsum("pi,pic->pc", weights, carried[triangles[numbers]])
    place, here, normal = values[:, :3], values[:, 3:6], values[:, 6:]
    colours = _shaded(head, parts[numbers], place, here, normal, look)

    picture = background.copy()
    picture[even] = colours[: even.sum()]
    mixed = np.repeat(background[edge][:, None], fine * fine, axis=1)
    mixed[seen] = colours[even.sum() :]
    picture[edge] = mixed.mean(1)
    return np.clip(picture, 0, 1), surface.depth


def _even_and_edge(
    surface: Surface, samples: Surface, parts: NDArray[np.int8], fine: int, step: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(height, width) pixels shaded at their centres (one part, depths within ``step``), and those sample by sample."""
    kinds = np.append(parts, -1)
    own = kinds[surface.triangle]
    sample_kinds = _by_pixel(kinds[samples.triangle], fine)
    depths = _by_pixel(samples.depth, fine)
    with np.errstate(invalid="ignore"):
        steep = depths.max(2) - depths.min(2) > step
    even = (own >= 0) & (sample_kinds == own[:, :, None]).all(2) & ~steep
    return even, (sample_kinds >= 0).any(2) & ~even


_Scalar = TypeVar("_Scalar", bound=np.generic)


def _by_pixel(values: NDArray[_Scalar], fine: int) -> NDArray[_Scalar]:
    """(height, width, fine * fine, ...) the samples of each pixel."""
    height, width = values.shape[0] // fine, values.shape[1] // fine
    blocks = values.reshape(height, fine, width, fine, -1).swapaxes(1, 2)
    return blocks.reshape(height, width, fine * fine, *values.shape[2:])


def _shaded(
    head: NDArray[np.float32], part: NDArray[np.int8], place: _Values, here: _Values, normal: _Values, look: Look
) -> _Values:
    """(P, 3) colours in the light: Lambert's law, light from everywhere and Blinn's highlight."""
    colours, shine = _albedo(head, part, place, here, look)
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
    faces = np.cross(b - a, c - a)
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
    head: NDArray[np.float32], part: NDArray[np.int8], place: _Values, here: _Values, look: Look
) -> tuple[_Values, _Values]:
    """(P, 3) colours and (P,) strengths of the highlight, from (P, 3) points on the average head and on this one."""
    skin = np.array(look.skin, np.float32)
    colours = np.tile(skin, (len(part), 1))
    shine = np.full(len(part), 0.10, np.float32)
    p = look.phase.astype(np.float32)
    x, y, z = place.T
    mottled = 0.012 * (
        np.sin(x * 7 + p[0]) * np.sin(y * 6 + p[1]) + np.sin(x * 17 + y * 5 + p[2]) * np.sin(y * 19 + p[3])
    )
    colours *= 1 + mottled[:, None]

    front = (part == Part.SKIN) & (z > 0.3) & (y < 1.25)
    if front.any():
        colours[front], shine[front] = _face_colours(colours[front], place[front], look)
    _colour_hair(colours, shine, part, place, look)
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
        colours[mouth], shine[mouth] = _mouth_colours(head, here[mouth]), 0
    eye = part == Part.EYE
    if eye.any():
        colours[eye], shine[eye] = _eye_colours(head, here[eye], look), 0.3
    return colours, shine


def _colour_hair(colours: _Values, shine: _Values, part: NDArray[np.int8], place: _Values, look: Look) -> None:
    x, y, z = place.T
    p = look.phase.astype(np.float32)
    hairy = np.zeros(len(part), bool)
    if look.hair_style != BALD:
        cover = np.clip(_hairline(place, look) / 0.06 + 0.5, 0, 1) * (part == Part.SKIN)
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


def _strands(across: NDArray[np.floating], phase: _Values) -> _Values:
    waves = np.sin(across * 3 + phase[4]) + np.sin(across * 7.3 + phase[5]) + 0.7 * np.sin(across * 16.7 + phase[6])
    return np.asarray(1 + 0.08 * waves, np.float32)


def _mouth_colours(head: NDArray[np.float32], here: _Values) -> NDArray[np.float64]:
    edge = head[[61, 62, 63], 1].mean() / UNIT_UM
    below = edge - here[:, 1]
    teeth = (below < 0.11) & (below > 0.015) & (np.abs(here[:, 0]) < 0.33)
    gaps = 0.88 + 0.12 * np.clip(np.abs(np.sin(here[:, 0] * 30)) * 3, 0, 1)
    inner = np.where(below[:, None] > 0.20, (0.45, 0.16, 0.17), (0.16, 0.05, 0.05))
    return np.where(teeth[:, None], np.array([0.80, 0.77, 0.71]) * gaps[:, None], inner)


def _eye_colours(head: NDArray[np.float32], here: _Values, look: Look) -> _Values:
    """White, iris and pupil, at rest in the head while the lids move."""
    colours = np.tile(np.array([0.93, 0.91, 0.89], np.float32), (len(here), 1))
    for outer, inner in ((36, 39), (45, 42)):
        ends = head[[outer, inner]] / UNIT_UM
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
    return colours.astype(np.float32)


class _Front:
    def __init__(self, colours: _Values, place: _Values, look: Look) -> None:
        self.colours, self.look = colours, look
        self.x, self.y, self.z = place.T
        self.across = np.abs(self.x)
        self.skin, self.hair = np.array(look.skin, np.float32), np.array(look.hair, np.float32)

    def paint(self, amount: NDArray[np.floating], colour: NDArray[np.floating]) -> None:
        mixed = np.asarray(amount, np.float32)[:, None] * (np.asarray(colour, np.float32) - self.colours)
        self.colours = self.colours + mixed

    def spot(self, x: float, y: float, width: float, height: float) -> NDArray[np.float32]:
        """A soft spot on either side of the face."""
        return np.exp(-(((self.across - x) / width) ** 2) - ((self.y - y) / height) ** 2)


def _face_colours(colours: _Values, place: _Values, look: Look) -> tuple[_Values, _Values]:
    """Skin with brows, lids, lips, nostrils, blush and beard, and the strengths of the highlight."""
    front = _Front(colours, place, look)
    _paint_shadows(front)
    front.paint(look.blush * 0.5 * front.spot(0.62, 0.12, 0.22, 0.18), front.skin * [1.0, 0.66, 0.62])
    front.paint(look.blush * 0.3 * front.spot(0.0, 0.10, 0.16, 0.12), front.skin * [1.0, 0.72, 0.68])
    if look.beard:
        _paint_beard(front)
    x, y = (front.across - 0.105) / 0.062, (front.y + 0.068) / 0.030
    front.paint(0.85 * np.clip(1.4 - x**2 - y**2, 0, 1) * (front.z > 1.45), front.skin * 0.22)  # nostrils
    lips = _paint_lips(front)
    _paint_lids(front)
    _paint_brows(front)
    return front.colours, np.where(lips > 0.5, np.float32(0.22), np.float32(0.10))


def _paint_shadows(front: _Front) -> None:
    across, y, spot = front.across, front.y, front.spot
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
    dark += 0.35 * np.clip((-1.22 - y + 0.35 * across**2) / 0.12, 0, 1) * (front.z < 1.35)
    front.colours = front.colours * (1 - np.clip(dark, 0, 0.8))[:, None].astype(np.float32)


def _paint_beard(front: _Front) -> None:
    line = np.interp(front.across, (0, 0.3, 0.55, 0.8, 1.0, 1.2), (-0.20, -0.20, -0.42, -0.25, 0.1, 0.4))
    phase = front.look.phase
    grain = 0.9 + 0.1 * np.sin(front.x * 61 + phase[0]) * np.sin(front.y * 57 + phase[1])
    front.paint(front.look.beard * np.clip((line - front.y) / 0.10, 0, 1) * grain, front.hair * 0.8)


def _paint_lips(front: _Front) -> NDArray[np.floating]:
    """Lips, from their outer line inwards; where they are."""
    x, y, across = front.x, front.y, front.across
    colour = np.array(front.look.lips, np.float32)
    top, bottom = (height_on(curve(line), x) for line in OUTER_LIPS)
    lips = np.clip(np.minimum(top - y, y - bottom) / 0.025 + 0.5, 0, 1) * (across < 0.43) * (front.z > 0.9)
    front.paint(lips, colour)
    inner = [height_on(curve(line), x) for line in INNER_LIPS]
    seam = np.exp(-((np.minimum(np.abs(y - inner[0]), np.abs(y - inner[1])) / 0.014) ** 2))
    front.paint(0.5 * (seam * (across < 0.40) * (front.z > 0.9)), colour * 0.45)
    return lips


def _paint_lids(front: _Front) -> None:
    x, y = front.x, front.y
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        over, under = curve(upper), curve(lower)
        wide = np.clip(np.minimum(x - over[0, 0], over[-1, 0] - x) / 0.02 + 1, 0, 1) * (front.z > 0.8)
        above, below = y - height_on(over, x), height_on(under, x) - y
        front.paint(0.9 * np.clip(1.6 - np.abs(above - 0.006) / 0.013, 0, 1) * wide, front.hair * 0.3)
        front.paint(0.35 * np.clip(1.5 - np.abs(below) / 0.012, 0, 1) * wide, front.skin * 0.45)
        front.paint(0.30 * np.exp(-(((above - 0.075) / 0.016) ** 2)) * wide, front.skin * 0.5)


def _paint_brows(front: _Front) -> None:
    """Brows lie under their landmarks' line, which is their upper part, and get thin at both ends."""
    x, y, across, look = front.x, front.y, front.across, front.look
    along = np.clip((across - 0.303) / 0.622, 0, 1)
    half = look.brow_thickness * np.sqrt(np.clip(1.15 - along, 0.02, 1)) * np.clip(along / 0.15 + 0.6, 0, 1)
    ends = np.clip(np.minimum(across - 0.275, 0.955 - across) / 0.03, 0, 1)
    grain = 0.92 + 0.08 * np.sin(across * 95 + y * 60)
    for brow in BROWS:
        line = curve(brow)
        off = (y - height_on(line, x) + 0.02) / half
        within = ends * (np.sign(x) == np.sign(line[2, 0])) * (front.z > 0.7)
        front.paint(look.brow_strength * np.clip((1.1 - np.abs(off)) / 0.35, 0, 1) * within * grain, front.hair * 0.65)
