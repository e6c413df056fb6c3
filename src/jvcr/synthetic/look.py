"""What a picture of a head shows beside its geometry: colours, hair, light and the background."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
"""Red, green, blue; 0 to 1."""

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
    """Everything about a picture that is not geometry; lengths in units of the template, strengths 0 to 1."""

    skin: Colour = SKINS[1]
    lips: Colour = (0.75, 0.38, 0.36)
    hair: Colour = HAIRS[1]  # of brows and beard, too
    iris: Colour = IRISES[0]
    shirt: Colour = (0.25, 0.35, 0.50)
    hair_style: int = SHORT
    hairline: float = 0.0  # moves it up
    hair_thickness: float = 0.12
    brow_thickness: float = 0.05  # half of it
    brow_strength: float = 0.9
    beard: float = 0.0
    blush: float = 0.3
    gaze: tuple[float, float] = (0.0, 0.0)  # movement of the iris, right and up
    light: tuple[float, float, float] = (0.3, 0.4, 0.866)  # direction to it: x right, y up, z towards the camera
    ambient: float = 0.5  # light from everywhere
    sun: float = 0.6  # light from its direction
    tint: Colour = (1.0, 1.0, 1.0)
    phase: NDArray[np.float64] = field(default_factory=lambda: np.linspace(0, 3, 8))  # of skin's and hair's patterns


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


def random_background(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(size, size, 3) float32 RGB, 0 to 1: a gradient with blots, coarse noise or shapes, more or less blurred."""
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
