"""Composing pictures with faces in them, for training a face detector.

A scene is a view of a photograph, turned and scaled, with the faces that it has, and with more faces pasted into it:
small and large, at all angles, in groups, over each other and over the border. Patches that show no face are pasted
in the same way, so that nobody learns to find seams. What is known of a face is the upright square around its landmarks
(`jvcr.geometry.crop.upright_squares`). All chance comes from one seed and the scene's number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.data.pasting import (
    COUNTS,
    SIDE,
    FaceCrop,
    Image,
    Photo,
    as_uint8,
    covered,
    letterboxed,
    moved,
    paste,
    similarity,
    tinted,
    warped,
)


@dataclass(frozen=True)
class SceneSettings:
    """What scenes are made of; each probability at 0 turns its part off.

    Attributes:
        size: width and height, pixels.
        smallest: side below which a face counts neither way, pixels.
        pasted: side of pasted faces, from and to, evenly distributed in its logarithm.
        empty: probability of a scene without any face.
        group: probability of a group of pasted faces of like sizes.
        most: greatest number of single faces that are pasted.
        distractor: share of pasted patches that show no face.
        turned: probability that a photograph is turned by any angle, and that a pasted face is.
        lean_deg: standard deviation of the angle of the others.
        dark: probability of a dark scene, down to a fiftieth of its brightness.
        dull: probability of other light, contrast and colours.
        grey: probability of a scene without colour.
        blur: probability of blur, and of low resolution.
        noise: probability of noise.
        compress: probability of JPEG artefacts.
        cover: probability for each pasted face, and for the photograph's, of something over a part of it.
        letterbox: probability of a margin of one colour, as pictures are padded with.
        tinted: probability that a photograph without a face gets colours of its own, so that nobody learns that
            what is grey shows none.
    """

    size: int = 320
    smallest: float = 10.0
    pasted: tuple[float, float] = (12.0, 330.0)
    empty: float = 0.12
    group: float = 0.12
    most: int = 3
    distractor: float = 0.25
    turned: float = 0.5
    lean_deg: float = 15.0
    dark: float = 0.12
    dull: float = 0.5
    grey: float = 0.3
    blur: float = 0.12
    noise: float = 0.25
    compress: float = 0.08
    cover: float = 0.12
    letterbox: float = 0.15
    tinted: float = 0.6


@dataclass(frozen=True)
class SceneSource:
    """Scenes by their number.

    Args:
        photos: photographs with all that is known of their faces.
        weights: how often each photograph is taken, relative to the others.
        crops: faces to paste.
        settings: what scenes are made of.
        seed: another seed makes other scenes.
    """

    photos: Sequence[Photo]
    weights: NDArray[np.float64]
    crops: Sequence[FaceCrop]
    settings: SceneSettings = field(default_factory=SceneSettings)
    seed: int = 0

    @cached_property
    def _chance(self) -> NDArray[np.float64]:
        return np.cumsum(self.weights) / np.sum(self.weights)

    @cached_property
    def _faceless(self) -> NDArray[np.intp]:
        return np.flatnonzero([len(photo.faces) == 0 for photo in self.photos])

    @cached_property
    def _grain(self) -> NDArray[np.float32]:
        """Noise to take pieces of: drawing it anew takes as long as all the rest."""
        return np.random.default_rng(0).standard_normal(2**20, dtype=np.float32)

    def scene(self, index: int) -> Photo:
        """The scene of that number; the same one whenever and wherever it is asked for."""
        rng = np.random.default_rng([self.seed, index])
        settings = self.settings
        empty = rng.random() < settings.empty
        if empty and len(self._faceless):
            photo = self.photos[self._faceless[rng.integers(len(self._faceless))]]
        else:
            photo = self.photos[int(np.searchsorted(self._chance, rng.random()))]
            empty = False
        pixels, faces = _view(photo, settings, rng)
        if not len(photo.faces) and rng.random() < settings.tinted:
            pixels = tinted(pixels, rng)
        faces = self._pasted(pixels, faces, empty, rng)
        pixels = self._seen(pixels, rng)
        if rng.random() < settings.letterbox:
            faces = letterboxed(pixels, faces, rng)
        return Photo(pixels, _judged(faces, settings))

    def _pasted(
        self, pixels: Image, faces: NDArray[np.float32], empty: bool, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Pastes patches into ``pixels`` and returns all the faces."""
        settings, size = self.settings, self.settings.size
        if rng.random() < settings.cover:
            for face in faces[: 1 + int(rng.integers(3))]:
                faces = covered(pixels, faces, face, rng)
        low, high = np.log(settings.pasted)
        if rng.random() < settings.group:
            count = int(rng.integers(3, 14))
            middle = math.exp(rng.uniform(low, math.log(size / 5)))
            sides = middle * np.exp(rng.normal(0, 0.2, count))
            spread = middle * rng.uniform(0.6, 1.2) * math.sqrt(count)
            centers = rng.uniform(0, size, 2) + rng.uniform(-spread, spread, (count, 2))
        else:
            count = int(rng.integers(0, settings.most + 1))
            sides = np.exp(rng.uniform(low, high, count))
            centers = rng.uniform(-0.05 * size, 1.05 * size, (count, 2))
        for side, (x, y) in zip(sides, centers, strict=True):
            turned = rng.random() < settings.turned
            angle = rng.uniform(-180, 180) if turned else rng.normal(0, settings.lean_deg)
            is_face = not empty and rng.random() >= settings.distractor
            crop = self.crops[int(rng.integers(len(self.crops)))] if is_face else self._distractor(rng)
            faces = paste(pixels, faces, crop, (x, y, side, angle), rng)
            if is_face:
                faces = np.concatenate([faces, np.array([[x, y, side, angle, 1]], np.float32)])
                if rng.random() < settings.cover:
                    faces = covered(pixels, faces, faces[-1], rng)
        return faces

    def _distractor(self, rng: np.random.Generator) -> FaceCrop:
        """A square of a photograph that shows no face; of one that has none if chance finds no such place."""
        photo = self.photos[int(np.searchsorted(self._chance, rng.random()))]
        for _ in range(4):
            height, width = photo.pixels.shape[:2]
            side = int(min(height, width) * rng.uniform(0.12, 0.6))
            x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
            middle = (x + side / 2, y + side / 2)
            reach = (side + photo.faces[:, SIDE]) / 2
            apart = (np.abs(photo.faces[:, :2] - middle) > 0.9 * reach[:, None]).any(axis=1)
            if apart.all():
                part = photo.pixels[y : y + side, x : x + side]
                return FaceCrop(part, np.array([side / 2, side / 2, side * 0.87, 0], np.float32))
            if len(self._faceless):
                photo = self.photos[self._faceless[rng.integers(len(self._faceless))]]
        return FaceCrop(np.full((16, 16, 3), rng.integers(256), np.uint8), np.array([8, 8, 14, 0], np.float32))

    def _seen(self, pixels: Image, rng: np.random.Generator) -> Image:
        """The scene as some camera took it."""
        settings, size = self.settings, self.settings.size
        if rng.random() < settings.blur:
            if rng.random() < 0.5:
                pixels = as_uint8(cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.5, 2.5)))
            else:
                small = int(size / rng.uniform(1.3, 3))
                reduced = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
                pixels = as_uint8(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR))
        if rng.random() < settings.grey:
            pixels = as_uint8(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
        gain, offset, gamma = np.ones(3), 0.0, 1.0
        if rng.random() < settings.dull:
            gain = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.12, 3))
            offset = rng.normal(0, 0.1)
            gamma = math.exp(rng.normal(0, 0.35))
        if rng.random() < settings.dark:
            gain = gain * math.exp(-rng.uniform(math.log(3), math.log(60)))
        shade = min(1.0, float(gain.mean()))
        level = rng.uniform(0, 14) * shade if rng.random() < settings.noise else 0.0
        if gamma != 1 or (gain != 1).any():
            ramp = (np.arange(256) / 255) ** gamma
            table = np.clip((ramp[:, None] * gain + offset * shade) * 255 + 0.5, 0, 255)
            pixels = as_uint8(cv2.LUT(pixels, table.astype(np.uint8)[None]))
        if level > 0:
            start = int(rng.integers(len(self._grain) - pixels.size))
            grain = self._grain[start : start + pixels.size].reshape(pixels.shape)
            pixels = as_uint8(cv2.add(pixels, level * grain, dtype=cv2.CV_8U))
        if rng.random() < settings.compress:
            _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 70))])
            pixels = as_uint8(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return np.asarray(pixels, dtype=np.uint8)


def _view(photo: Photo, settings: SceneSettings, rng: np.random.Generator) -> tuple[Image, NDArray[np.float32]]:
    """A photograph as the scene's ground."""
    size = settings.size
    height, width = photo.pixels.shape[:2]
    turned = rng.random() < settings.turned
    angle = rng.uniform(-180, 180) if turned else rng.normal(0, settings.lean_deg / 2)
    mirror = rng.random() < 0.5
    fitting = size / max(height, width)
    counting = photo.faces[photo.faces[:, COUNTS] > 0]
    if len(counting) and rng.random() < 0.6:
        face = counting[int(rng.integers(len(counting)))]
        side = math.exp(rng.uniform(math.log(14), math.log(260)))
        scale = float(np.clip(side / face[SIDE], 0.6 * fitting, 4 * fitting))
        source, target = face[:2], size / 2 + rng.uniform(-0.42, 0.42, 2) * size
    else:
        scale = fitting * math.exp(rng.uniform(math.log(0.75), math.log(2.2)))
        reach = max(0.0, 0.5 - 0.5 * fitting / scale)
        source = (np.array([width, height]) - 1) * (0.5 + rng.uniform(-reach, reach, 2))
        target = size / 2 + rng.uniform(-0.1, 0.1, 2) * size
    matrix = similarity(scale, angle, mirror, source, target)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    value = rng.integers(0, 256, 3).tolist() if rng.random() < 0.5 else [0, 0, 0]
    pixels = warped(photo.pixels, matrix, scale, (size, size), border, value)
    return pixels, moved(photo.faces, matrix, scale, angle, mirror)


def _judged(faces: NDArray[np.float32], settings: SceneSettings) -> NDArray[np.float32]:
    """Only what touches the scene; what is too small, or has its centre outside, counts neither way."""
    outside = np.maximum(-faces[:, :2], faces[:, :2] - (settings.size - 1)).max(1, initial=-np.inf)
    result = faces.copy()
    result[(outside > 0) | (faces[:, SIDE] < settings.smallest), COUNTS] = 0
    return result[outside < 0.5 * faces[:, SIDE]]
