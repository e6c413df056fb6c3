"""Disturbing faces for training: where the crop lies, in one composed similarity, and what its pixels look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.geometry.crop import Crop, CropRule
from jvcr.geometry.warp import stretch_contrast, warp_crop
from jvcr.scheme import LandmarkScheme


@dataclass(frozen=True)
class Augmentation:
    """How much to disturb; every probability or deviation at 0 turns its part off.

    ``flip``, ``rotate``, ``grey``, ``low_resolution`` (reduced up to 4 times and enlarged again), ``blur``, ``noise``,
    ``compress`` (JPEG) and ``occlude`` are probabilities.

    Attributes:
        rotate_deg: standard deviation, degrees.
        scale: standard deviation of the logarithm of the crop's size.
        shift: standard deviation of the crop's movement, along x and along y, over its side.
        light: standard deviation of the logarithm of the gain (shared and, half as much, per colour), of an offset and
            of the logarithm of gamma.
        colour_offset: greatest offset of each colour, either way, of its full range.
        noise_level: greatest standard deviation of the noise, of 255.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    flip: float = 0.5
    rotate: float = 0.6
    rotate_deg: float = 40.0
    scale: float = 0.08
    shift: float = 0.0
    light: float = 0.0
    colour_offset: float = 0.0
    grey: float = 0.0
    low_resolution: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    noise_level: float = 12.0
    compress: float = 0.0
    occlude: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "rotate", "grey", "low_resolution", "blur", "noise", "compress", "occlude"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation.{name} is a probability, 0 to 1, got {getattr(self, name)}")
        for name in ("rotate_deg", "scale", "shift", "light", "colour_offset", "noise_level"):
            if getattr(self, name) < 0:
                raise ValueError(f"augmentation.{name} must not be negative, got {getattr(self, name)}")


def augmented_crop(crop: Crop, settings: Augmentation, rng: np.random.Generator) -> Crop:
    """The crop moved, scaled, turned and mirrored at random."""
    turn = rng.normal(0, settings.rotate_deg) if rng.random() < settings.rotate else 0.0
    x, y = rng.normal(0, 1, 2) * settings.shift
    return crop.jittered(
        shift=(x, y, 0.0),
        scale=float(np.exp(rng.normal(0, settings.scale))),
        angle_deg=turn,
        mirror=rng.random() < settings.flip,
    )


def make_example(
    image: NDArray[np.uint8],
    points_px: NDArray[np.float32],
    size: int,
    scheme: LandmarkScheme,
    settings: Augmentation | None,
    rng: np.random.Generator,
    rule: CropRule = "longer",
    stretch: bool = False,
    hand_px: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """One training example: the crop around a face's landmarks, disturbed where ``settings`` says so.

    ``image`` is (height, width, 3) uint8 RGB, ``points_px`` are (N, 3) landmarks in its frame and ``hand_px`` (N, 2)
    labels by hand of the same face. The crop's pixels are stretched after all that disturbs them.

    Returns:
        The crop (size, size, 3) uint8 RGB; and in its unit frame the landmarks (N, 3) float32 and the labels by hand
        (N, 2) float32, NaN where there are none.
    """
    crop = Crop.around_landmarks(points_px, rule=rule, depth=scheme.depth)
    if settings is not None:
        crop = augmented_crop(crop, settings, rng)
    points = crop.to_unit(points_px).astype(np.float32)
    if hand_px is None:
        hand = np.full((len(points), 2), np.nan, np.float32)
    else:  # to the crop, x and y are the same at any depth
        hand = crop.to_unit(np.pad(hand_px, ((0, 0), (0, 1))))[:, :2].astype(np.float32)
    if crop.mirror:
        points, hand = points[scheme.mirror], hand[scheme.mirror]
    pixels = warp_crop(image, crop, size)
    if settings is not None:
        pixels = augmented_pixels(pixels, settings, rng)
    return stretch_contrast(pixels) if stretch else pixels, points, hand


def augmented_pixels(pixels: NDArray[np.uint8], settings: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A crop as another camera would have taken it: (size, size, 3) uint8 in and out."""
    size = pixels.shape[0]
    if rng.random() < settings.low_resolution:
        small = max(8, int(size / rng.uniform(1.3, 4)))
        reduced = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
        pixels = _uint8(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR))
    if rng.random() < settings.blur:
        pixels = _blurred(pixels, rng)
    if rng.random() < settings.occlude:
        pixels = _occluded(pixels, rng)
    if settings.light > 0:
        # One table per colour: gain, offset and gamma cost a look-up.
        gain = np.exp(rng.normal(0, settings.light) + rng.normal(0, settings.light / 2, 3))
        offset = rng.normal(0, settings.light / 2)
        gamma = np.exp(rng.normal(0, settings.light))
        ramp = (np.arange(256) / 255.0) ** gamma
        table = np.clip((ramp[:, None] * gain + offset) * 255, 0, 255).astype(np.uint8)
        pixels = _uint8(cv2.LUT(pixels, table[None]))
    if settings.colour_offset > 0:
        offsets = np.rint(255 * rng.uniform(-settings.colour_offset, settings.colour_offset, 3))
        pixels = np.clip(pixels + offsets, 0, 255).astype(np.uint8)
    if rng.random() < settings.grey:
        pixels = _uint8(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    if rng.random() < settings.noise:
        level = rng.uniform(0, settings.noise_level)
        grain = rng.standard_normal(pixels.shape, dtype=np.float32) * level
        pixels = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    if rng.random() < settings.compress:
        quality = int(rng.integers(15, 70))
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = _uint8(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return pixels


def _uint8(pixels: Any) -> NDArray[np.uint8]:
    """What OpenCV returns is typed more loosely than it is."""
    return np.asarray(pixels, dtype=np.uint8)


def _blurred(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    size = pixels.shape[0]
    if rng.random() < 0.5:
        return _uint8(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.5, size / 50)))
    length = int(rng.integers(3, max(4, size // 12)))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    reach = middle * np.array([np.cos(angle), np.sin(angle)])
    start, end = np.round(middle - reach).astype(int), np.round(middle + reach).astype(int)
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0)
    return _uint8(cv2.filter2D(pixels, -1, kernel / kernel.sum()))


def _occluded(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A box or an ellipse of one colour, of noise or of the picture's own content from elsewhere."""
    size = pixels.shape[0]
    pixels = pixels.copy()
    width, height = (int(v) for v in rng.uniform(0.12, 0.5, 2) * size)
    x, y = int(rng.integers(-width // 2, size - width // 2)), int(rng.integers(-height // 2, size - height // 2))
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, size), min(y + height, size)
    shape = (bottom - top, right - left, 3)
    kind = rng.integers(3)
    if kind == 0:
        patch = np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), shape)
    elif kind == 1:
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        patch = _uint8(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))
    else:
        u, v = rng.integers(0, size - shape[1] + 1), rng.integers(0, size - shape[0] + 1)
        patch = pixels[v : v + shape[0], u : u + shape[1]].copy()
    if rng.random() < 0.5:
        mask = np.zeros(shape[:2], np.uint8)
        cv2.ellipse(mask, (x + width // 2 - left, y + height // 2 - top), (width // 2, height // 2), 0, 0, 360, 1, -1)
        patch = np.where(mask[:, :, None] > 0, patch, pixels[top:bottom, left:right])
    pixels[top:bottom, left:right] = patch
    return pixels
