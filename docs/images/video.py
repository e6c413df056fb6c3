"""Draws video.jpg: four frames of two photographs in motion, one of which leaves and comes back, with their faces.

python docs/images/video.py
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

import jvcr
from jvcr.inference.image import read_image
from jvcr.viz.landmarks import draw_faces

HERE = Path(__file__).parent
WIDTH, HEIGHT, GAP = 400, 300, 8
FRAMES_A_SECOND, SECONDS = 30, 4.0
SHOWN_S = (0.5, 1.4, 2.4, 3.6)
GROUND, TEXT, PAPER = (58, 62, 70), (225, 225, 225), 248


def laid_on(frame: np.ndarray, photo: np.ndarray, x: float, y: float, zoom: float, turn_deg: float) -> np.ndarray:
    """The frame with a photograph on it, its middle at x, y."""
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn_deg, zoom)
    matrix[:, 2] += x - (width - 1) / 2, y - (height - 1) / 2
    cover = cv2.warpAffine(np.ones((height, width), np.float32), matrix, (WIDTH, HEIGHT))[..., None]
    moved = cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return frame * (1 - cover) + moved * cover


def main() -> None:
    """Follows the faces through all frames, and keeps some of them."""
    astronaut = read_image(HERE.parents[1] / "examples" / "astronaut.png")[:300, 90:360]
    officer = read_image(HERE.parents[1] / "examples" / "grace_hopper.jpg")[20:420, 60:440]
    tracker = jvcr.Tracker(jvcr.Landmarker())
    shown = {round(t * FRAMES_A_SECOND) for t in SHOWN_S}
    panels = []
    for number in range(round(SECONDS * FRAMES_A_SECOND)):
        t = number / FRAMES_A_SECOND
        away = 230 * max(0.0, math.sin(math.pi * (t - 1.5) / 1.8)) if 1.5 < t < 3.3 else 0.0
        frame = np.full((HEIGHT, WIDTH, 3), GROUND, np.float64)
        frame = laid_on(
            frame, astronaut, 100 + 12 * math.sin(2 * t), 150 + 10 * t, 0.68 + 0.03 * t, 9 * math.sin(2.2 * t)
        )
        frame = laid_on(frame, officer, 295 + away, 150 - 8 * math.cos(3 * t), 0.5 + 0.02 * t, -7 * math.sin(1.7 * t))
        picture = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
        faces = tracker(picture, t)
        if number in shown:
            panel = draw_faces(picture, faces, tracker.landmarker.scheme)
            cv2.putText(panel, f"{t:.1f} s", (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.55, TEXT, 1, cv2.LINE_AA)
            panels += [panel, np.full((HEIGHT, GAP, 3), PAPER, np.uint8)]
    strip = np.hstack(panels[:-1])
    cv2.imwrite(str(HERE / "video.jpg"), strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])


if __name__ == "__main__":
    main()
