"""Faces pasted into pictures, covered and moved: the parts that scenes are composed of (`jvcr.data.scenes`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

X, Y, SIDE, ANGLE, COUNTS = range(5)
"""Columns of faces: centre and side in pixels, the angle in degrees, and 1 for a face or 0 for what counts neither as
a face nor as background (a head from behind, a face too small or too hidden to be sure of)."""


@dataclass(frozen=True)
class Photo:
    """A picture, taken or composed, and all the faces in it.

    Attributes:
        pixels: (height, width, 3) uint8 RGB.
        faces: (n, 5), see `COUNTS`.
    """

    pixels: Image
    faces: NDArray[np.float32]


@dataclass(frozen=True)
class FaceCrop:
    """A crop that shows one face.

    Attributes:
        pixels: (height, width, 3) uint8 RGB.
        face: (4,) centre, side and angle of the face in it.
    """

    pixels: Image
    face: NDArray[np.float32]


def moved(
    faces: NDArray[np.float32], matrix: NDArray[np.float64], scale: float, angle_deg: float, mirror: bool
) -> NDArray[np.float32]:
    """Faces (n, 5) under a similarity, whose (2, 3) matrix mirrors first, if it does, and then turns by the angle."""
    result = faces.copy()
    result[:, :2] = faces[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    result[:, SIDE] *= scale
    result[:, ANGLE] = (np.where(mirror, -faces[:, ANGLE], faces[:, ANGLE]) + angle_deg + 180) % 360 - 180
    return result


def similarity(scale: float, angle_deg: float, mirror: bool, source: Any, target: Any) -> NDArray[np.float64]:
    """(2, 3) matrix that mirrors along x, scales, turns clockwise on the screen, and takes ``source`` to ``target``."""
    cos, sin = scale * math.cos(math.radians(angle_deg)), scale * math.sin(math.radians(angle_deg))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    return np.column_stack([linear, np.asarray(target, float) - linear @ np.asarray(source, float)])


def warped(
    pixels: Image, matrix: NDArray[np.float64], scale: float, size: tuple[int, int], border: int, value: Sequence[int]
) -> Image:
    """The pixels under a similarity of that scale, averaged down first where it reduces."""
    step = int(1 / (1.3 * scale))
    if step >= 2:
        height, width = pixels.shape[:2]
        columns, rows = max(1, width // step), max(1, height // step)
        pixels = as_uint8(cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA))
        grown = np.array([width / columns, height / rows])
        # The small picture's pixel p has its centre at (p + 0.5) * grown - 0.5.
        linear = matrix[:, :2] * grown
        matrix = np.column_stack([linear, matrix[:, 2] + matrix[:, :2] @ (0.5 * grown - 0.5)])
    return np.asarray(
        cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=value)
    )


def as_uint8(pixels: Any) -> Image:
    """What OpenCV returns is typed more loosely than it is."""
    return np.asarray(pixels, dtype=np.uint8)


def tinted(pixels: Image, rng: np.random.Generator) -> Image:
    """Another course of light for each colour, and a cast that changes over the picture: grey becomes coloured."""
    knots = np.linspace(0, 255, 5)
    table = [np.interp(np.arange(256), knots, knots + rng.normal(0, 24, 5)) for _ in range(3)]
    pixels = as_uint8(cv2.LUT(pixels, np.clip(np.stack(table, -1), 0, 255).astype(np.uint8)[None]))
    cast = cv2.resize(rng.normal(0, 24, (3, 3, 3)).astype(np.float32), pixels.shape[1::-1])
    return np.asarray(cv2.add(pixels, cast, dtype=cv2.CV_8U))


def _mask(shape: tuple[int, int], face: NDArray[np.float32], rng: np.random.Generator) -> Image:
    """How much of each pixel of a crop is pasted: an ellipse around the face, or nearly all, with a soft edge."""
    height, width = shape
    x, y, side = (float(v) for v in face[:3])
    mask = np.zeros(shape, np.uint8)
    if rng.random() < 0.8:
        axes = side * rng.uniform(0.44, 0.62), side * rng.uniform(0.5, 0.68)
        middle = x, y - side * rng.uniform(0.0, 0.08)
        cv2.ellipse(mask, (middle, (2 * axes[0], 2 * axes[1]), float(face[ANGLE])), 255, -1)
    else:
        mask[:] = 255
    edge = max(1, int(side * rng.uniform(0.02, 0.08)))
    mask[:edge], mask[height - edge :], mask[:, :edge], mask[:, width - edge :] = 0, 0, 0, 0
    if rng.random() < 0.85:
        mask = np.asarray(cv2.blur(mask, (2 * edge + 1, 2 * edge + 1)))
    return mask


def paste(
    pixels: Image,
    faces: NDArray[np.float32],
    crop: FaceCrop,
    place: tuple[float, float, float, float],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Pastes a crop into ``pixels``; faces that lie below it count no more."""
    size = pixels.shape[0]
    x, y, side, angle = place
    scale = side / float(crop.face[SIDE])
    mirror = rng.random() < 0.5
    own = float(crop.face[ANGLE])
    matrix = similarity(scale, angle + (own if mirror else -own), mirror, crop.face[:2], (x, y))
    height, width = crop.pixels.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.clip(np.floor(corners.min(0)), 0, size).astype(int).tolist()
    right, below = np.clip(np.ceil(corners.max(0)) + 1, 0, size).astype(int).tolist()
    if right - left < 2 or below - top < 2:
        return faces
    mask = _mask((height, width), crop.face, rng)
    matrix[:, 2] -= (left, top)
    extent = (right - left, below - top)
    shown = warped(crop.pixels, matrix, scale, extent, cv2.BORDER_REPLICATE, (0, 0, 0))
    mask = warped(mask, matrix, scale, extent, cv2.BORDER_CONSTANT, (0,))
    if rng.random() < 0.3:
        gain = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.1, 3))
        shown = as_uint8(cv2.LUT(shown, np.clip(np.arange(256)[:, None] * gain, 0, 255).astype(np.uint8)[None]))
    weight = mask * np.float32(1 / 255)
    ground = pixels[top:below, left:right]
    ground[:] = cv2.blendLinear(shown, np.ascontiguousarray(ground), weight, 1 - weight)
    return _still_seen(faces, mask, left, top)


def _still_seen(faces: NDArray[np.float32], mask: Image, left: int, top: int) -> NDArray[np.float32]:
    """Faces of whose middle more than four ninths is hidden count neither way."""
    if not len(faces):
        return faces
    steps = np.array([-0.25, 0.0, 0.25], np.float32)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, 9, 2)
    spots = np.rint(faces[:, None, :2] + grid * faces[:, None, SIDE : SIDE + 1]).astype(int) - (left, top)
    inside = np.asarray((spots >= 0).all(-1) & (spots < (mask.shape[1], mask.shape[0])).all(-1))
    spots = np.where(inside[..., None], spots, 0)
    hidden = ((mask[spots[..., 1], spots[..., 0]] > 127) & inside).sum(1) > 4
    if hidden.any():
        faces = faces.copy()
        faces[hidden, COUNTS] = 0
    return faces


def covered(
    pixels: Image, faces: NDArray[np.float32], face: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Lays something over a part of a face: a block or a blob of a colour or of another part of the picture."""
    size = pixels.shape[0]
    x, y, side, angle = (float(v) for v in face[:4])
    width, height = side * rng.uniform(0.25, 0.8), side * rng.uniform(0.2, 0.4)
    along = rng.uniform(0.05, 0.4) if rng.random() < 0.7 else rng.uniform(-0.4, 0.4)  # most often mouth and nose
    across = rng.uniform(-0.25, 0.25)
    radians = math.radians(angle)
    middle = (
        x + side * (across * math.cos(radians) - along * math.sin(radians)),
        y + side * (across * math.sin(radians) + along * math.cos(radians)),
    )
    mask = np.zeros((size, size), np.uint8)
    box = (middle, (width, height), angle)
    if rng.random() < 0.5:
        cv2.ellipse(mask, box, 255, -1)
    else:
        cv2.fillPoly(mask, [np.rint(cv2.boxPoints(box)).astype(np.int32)], 255)
    if rng.random() < 0.6:
        pixels[mask > 0] = rng.integers(0, 256, 3)
    else:
        cv2.copyTo(np.roll(pixels, rng.integers(size // 4, size // 2, 2), axis=(0, 1)), mask, pixels)
    return _still_seen(faces, np.where(mask > 0, np.uint8(255), np.uint8(0)), 0, 0)


def letterboxed(pixels: Image, faces: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Fills a margin on one side with the picture's mean, as pictures of other shapes are padded."""
    size = pixels.shape[0]
    kept = int(size * rng.uniform(0.5, 0.95))
    along = int(rng.integers(2))
    margin = pixels[kept:] if along else pixels[:, kept:]
    margin[:] = np.rint(cv2.mean(pixels)[:3])
    faces = faces.copy()
    faces[faces[:, Y if along else X] > kept, COUNTS] = 0
    return faces
