"""The modes of the head: displacement fields over its mesh, in units of the template.

Every mode is symmetric or antisymmetric about x = 0: its sign multiplies its parameter in a mirror.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jvcr.synthetic.mesh import INNER_LIPS, LOWER_LIDS, UPPER_LIDS, Floats, Mesh, curve, height_on, template

SHAPE_MODES, EXPRESSION_MODES = 199, 29
"""As many as 300W-LP's files have parameters."""


class Expression(enum.IntEnum):
    """The expression modes with a name; those with a direction (a wink ...) change their sign in a mirror."""

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


class Mode(NamedTuple):
    """A movement."""

    field: Floats  # (V, 3) displacements, units of the template
    deviation: float  # standard deviation of its parameter
    sign: float  # what the parameter is multiplied by in a mirror


def shape_modes(mesh: Mesh) -> list[Mode]:
    """The 199 fields of greatest displacement about 1: width, height, depth, then Gaussian bumps of falling reach."""
    p = mesh.points
    modes: list[Mode] = []
    for axis in range(3):
        field = np.zeros_like(p)
        field[:, axis] = p[:, axis] - (0, 0.25, 0)[axis]
        modes.append(Mode(field, 0.035, 1.0))

    front = p[: mesh.skin]
    front = front[(front[:, 0] > -1e-9) & (front[:, 2] > -0.4) & (front[:, 1] > -1.4)]
    to_landmark = np.sqrt(((front[:, None] - p[: len(template())]) ** 2).sum(2)).min(1)
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
                    modes.append(Mode(field / (2 if middle else 1), deviation * (1.0 if sign > 0 else 0.3), sign))
    return modes[:SHAPE_MODES]


def _spread(points: Floats, count: int) -> Floats:
    """``count`` of the points, each as far as can be from those before; those near the middle plane moved onto it."""
    chosen = [int(np.argmax(points[:, 2]))]
    far = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(far.round(6))))  # of two that are equally far, left and right, the first
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


def expression_modes(mesh: Mesh) -> list[Mode]:
    """The 29 movements: those of `Expression`, then small ones."""
    named = {**_jaw_modes(mesh), **_eye_modes(mesh), **_mouth_modes(mesh), **_brow_modes(mesh)}
    return [*(named[expression] for expression in Expression), *_small_modes(mesh)][:EXPRESSION_MODES]


def _field(p: Floats, dx: Floats | float, dy: Floats | float, dz: Floats | float) -> Floats:
    return np.stack(np.broadcast_arrays(*(d + 0 * p[:, 0] for d in (dx, dy, dz))), axis=1)


def _face(mesh: Mesh) -> NDArray[np.bool_]:
    """(V,) what of the skin looks forward."""
    return (mesh.points[:, 2] > 0.3) & (np.arange(len(mesh.points)) < mesh.skin)


def _jaw_modes(mesh: Mesh) -> dict[Expression, Mode]:
    """The jaw turns about an axis through the ears, to first order; or it moves sideways or forward."""
    p = mesh.points
    _, y, z = p.T
    jaw = _below_the_mouth(mesh)
    fall = np.radians(17)
    hinge_y, hinge_z = 0.30, 0.05
    within = mesh.mouth * _height_between(p, INNER_LIPS)
    recess = np.where(mesh.mouth, 4 * within * (1 - within), 0)
    opened = _field(p, 0.0, -fall * (z - hinge_z) * jaw, fall * (y - hinge_y) * jaw * 0.7 - 0.25 * recess)
    sideways = jaw * _smooth_step((hinge_y - y) / 1.2)
    return {
        Expression.OPEN_MOUTH: Mode(opened, 0.35, 1.0),
        Expression.JAW_SIDEWAYS: Mode(_field(p, 0.10 * sideways, 0.0, 0.0), 0.4, -1.0),
        Expression.JAW_FORWARD: Mode(_field(p, 0.0, 0.0, 0.08 * jaw * _smooth_step((0.2 - y) / 1.0)), 0.4, 1.0),
    }


def _eye_modes(mesh: Mesh) -> dict[Expression, Mode]:
    p = mesh.points
    right, left = (_closing(mesh, eye) for eye in (0, 1))
    under = [_bump(p, (s * 0.51, 0.52, 1.3), (0.20, 0.055, 0.5)) * _face(mesh) for s in (-1, 1)]
    lid = (under[0] + under[1]) * np.where(mesh.eyes, 1 - _eye_height(p), 1)
    return {
        Expression.CLOSE_EYES: Mode(right + left, 0.35, 1.0),
        Expression.WINK: Mode(right - left, 0.12, -1.0),
        Expression.SQUINT: Mode(_field(p, 0.0, 0.03 * lid, 0.01 * lid), 0.4, 1.0),
    }


def _mouth_modes(mesh: Mesh) -> dict[Expression, Mode]:
    p = mesh.points
    x, y, _ = p.T
    face, jaw = _face(mesh), _below_the_mouth(mesh)
    right, left = (_bump(p, template()[i], (0.20, 0.17, 0.5)) * face for i in (48, 54))  # the corners
    cheek_right, cheek_left = (_bump(p, (s * 0.62, 0.10, 1.25), (0.22, 0.20, 0.5)) * face for s in (-1, 1))
    smile_right, smile_left = (
        _field(p, s * (0.13 * corner + 0.02 * cheek), 0.10 * corner + 0.05 * cheek, -0.07 * corner + 0.06 * cheek)
        for s, corner, cheek in ((-1, right, cheek_right), (1, left, cheek_left))
    )
    lips = _bump(p, (0.0, -0.46, 1.55), (0.40, 0.22, 0.6)) * face
    upper = _bump(p, (0.0, -0.33, 1.6), (0.26, 0.14, 0.6)) * face * (1 - jaw)
    lower = _bump(p, (0.0, -0.60, 1.55), (0.28, 0.15, 0.6)) * face * jaw
    puff = [_bump(p, (s * 0.68, -0.28, 1.1), (0.22, 0.28, 0.4)) * face for s in (-1, 1)]
    puffed = _field(p, 0.06 * (puff[1] - puff[0]), 0.0, 0.09 * (puff[0] + puff[1]))
    return {
        Expression.SMILE: Mode(smile_right + smile_left, 0.8, 1.0),
        Expression.SMILE_OF_ONE_SIDE: Mode(smile_right - smile_left, 0.25, -1.0),
        Expression.PUCKER: Mode(_field(p, -0.40 * x * lips, -0.25 * (y + 0.46) * lips, 0.13 * lips), 0.45, 1.0),
        Expression.RAISE_UPPER_LIP: Mode(_field(p, 0.0, 0.07 * upper, 0.02 * upper), 0.5, 1.0),
        Expression.LOWER_LOWER_LIP: Mode(_field(p, 0.0, -0.08 * lower, 0.02 * lower), 0.5, 1.0),
        Expression.PUFF_CHEEKS: Mode(puffed, 0.4, 1.0),
        Expression.MOUTH_CORNERS_DOWN: Mode(_field(p, 0.02 * (left - right), -0.09 * (left + right), 0.0), 0.4, 1.0),
    }


def _brow_modes(mesh: Mesh) -> dict[Expression, Mode]:
    p = mesh.points
    right, left = (_bump(p, (s * 0.60, 1.0, 1.4), (0.34, 0.13, 0.6)) * _face(mesh) for s in (-1, 1))
    inner = [_bump(p, (s * 0.33, 0.93, 1.5), (0.16, 0.12, 0.6)) * _face(mesh) for s in (-1, 1)]
    frown = _field(p, 0.06 * (inner[0] - inner[1]), -0.07 * (inner[0] + inner[1]), 0.02 * (inner[0] + inner[1]))
    return {
        Expression.RAISE_BROWS: Mode(_field(p, 0.0, 0.13 * (right + left), 0.0), 0.6, 1.0),
        Expression.RAISE_ONE_BROW: Mode(_field(p, 0.0, 0.13 * (right - left), 0.0), 0.25, -1.0),
        Expression.FROWN: Mode(frown, 0.5, 1.0),
    }


def _small_modes(mesh: Mesh) -> list[Mode]:
    """Movements of lips, mouth's corners and brows along each axis; wide enough that both lids or lips go along."""
    p, face = mesh.points, _face(mesh)
    modes = []
    for site in ((0.0, -0.46, 1.6), (0.40, -0.46, 1.35), (0.55, 0.97, 1.4)):
        for axis in range(3):
            for sign in (1.0, -1.0):
                turned = -1 if axis == 0 else 1
                if site[0] == 0:
                    if sign != turned:
                        continue
                    amount = _bump(p, site, (0.3, 0.22, 0.5)) * face
                else:
                    mirrored = _bump(p, np.array(site) * [-1, 1, 1], (0.2, 0.2, 0.5)) * face
                    amount = _bump(p, site, (0.2, 0.2, 0.5)) * face + sign * turned * mirrored
                field = _field(p, *((0.035 if i == axis else 0.0) * amount for i in range(3)))
                modes.append(Mode(field, 0.25 if sign > 0 else 0.12, sign))
    return modes


def _height_between(p: Floats, lines: tuple[tuple[int, ...], ...]) -> Floats:
    """(V,) 0 on the lower, 1 on the upper of two lines that begin and end together; clipped beyond them."""
    upper, lower = (height_on(curve(line), p[:, 0]) for line in lines)
    gap = upper - lower
    return np.where(gap > 1e-6, np.clip((p[:, 1] - lower) / np.maximum(gap, 1e-6), 0, 1), 0.5)


def _eye_height(p: Floats) -> Floats:
    """(V,) 0 on the lower lid, 1 on the upper, for points of either eye."""
    right, left = (_height_between(p, pair) for pair in zip(UPPER_LIDS, LOWER_LIDS, strict=True))
    return np.where(p[:, 0] < 0, right, left)


def _below_the_mouth(mesh: Mesh) -> Floats:
    """(V,) how much a point goes with the lower jaw: 1 on chin and lower lip, 0 above; sharp only between the lips."""
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


def _closing(mesh: Mesh, eye: int) -> Floats:
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
