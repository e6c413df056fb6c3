"""Draws pipeline.png: what the shipped network makes of a photograph, step by step.

python docs/images/pipeline.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

import jvcr
from jvcr.geometry.warp import warp_crop
from jvcr.inference.image import read_image
from jvcr.viz.landmarks import draw_faces

HERE = Path(__file__).parent
PANEL, GAP, TITLE = 240, 44, 56
PAPER, TEXT = (248, 248, 246), (70, 74, 82)


def heat(plane: np.ndarray) -> np.ndarray:
    """A plane of voxels, 0 to 1, as a picture with square voxels."""
    levels = (plane.clip(0, 1) * 255).astype(np.uint8)
    coloured = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    return cv2.resize(coloured, (PANEL, PANEL), interpolation=cv2.INTER_NEAREST)


def panel(picture: np.ndarray, title: str, text: str) -> np.ndarray:
    """A picture of PANEL x PANEL under two lines of text."""
    canvas = np.full((PANEL + TITLE, PANEL, 3), PAPER, np.uint8)
    canvas[TITLE:] = picture
    for line, (content, size) in enumerate(((title, 0.55), (text, 0.42))):
        cv2.putText(canvas, content, (2, 20 + 22 * line), cv2.FONT_HERSHEY_SIMPLEX, size, TEXT, 1, cv2.LINE_AA)
    return canvas


def arrow() -> np.ndarray:
    """What stands between two panels."""
    canvas = np.full((PANEL + TITLE, GAP, 3), PAPER, np.uint8)
    middle = TITLE + PANEL // 2
    cv2.arrowedLine(canvas, (8, middle), (GAP - 8, middle), TEXT, 2, cv2.LINE_AA, tipLength=0.4)
    return canvas


def main() -> None:
    """Writes pipeline.png beside this file."""
    image = read_image(HERE.parents[1] / "examples" / "astronaut.png")
    (face,), _, (crop,) = jvcr.Landmarker().volumes(image)
    network = jvcr.load_network("compact")
    pixels = warp_crop(image, crop, network.config.voxel.image_size)
    with torch.inference_mode():
        volumes, _ = network(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
    coarse, middle, fine = (v[0].numpy() for v in volumes)

    enlarged = warp_crop(image, crop, PANEL)
    scale = PANEL / crop.side
    corner = np.array([*crop.corners_px()[0], 0])
    moved = jvcr.Face(
        ((face.points - corner) * scale).astype(np.float32),
        np.array([-9, -9, -8, -8], np.float32),
        face.confidence,
        scheme=face.scheme,
    )
    depths = [v.shape[0] for v in (coarse, middle, fine)]
    panels = [
        panel(cv2.resize(pixels, (PANEL, PANEL), interpolation=cv2.INTER_NEAREST), "image", "128 x 128"),
        panel(heat(coarse.max(0)), "hourglass 1", f"volume 32 x 32 x {depths[0]}"),
        panel(heat(middle.max(0)), "hourglass 2", f"32 x 32 x {depths[1]}"),
        panel(heat(fine.max(0)), "hourglass 3", f"32 x 32 x {depths[2]}, from the front"),
        panel(heat(fine.max(2).T), "the same volume", "from the side: depth to the right"),
        panel(draw_faces(enlarged, [moved]), "3D CNN", "68 landmarks, refined in the image"),
    ]
    row = [part for p in panels for part in (p, arrow())][:-1]
    picture = cv2.copyMakeBorder(np.hstack(row), 12, 16, 16, 16, cv2.BORDER_CONSTANT, value=PAPER)
    cv2.imwrite(str(HERE / "pipeline.png"), picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
