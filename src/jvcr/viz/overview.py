"""One picture of what was found in a photograph: landmarks on it, and beside it faces in 3D and their volumes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.scheme import LandmarkScheme
from jvcr.viz.landmarks import (
    INK,
    PAPER,
    VIEWS,
    DrawnFace,
    caption,
    corner,
    draw_faces,
    draw_legend,
    draw_views,
    write_text,
)
from jvcr.viz.volume import render_volume

PANEL_FACES = 3
"""So many faces, the most certain ones, are shown in 3D."""

SMALLEST_PANEL, LARGEST_PANEL = 128, 480
"""Width of a view in 3D, pixels; between these it is a third of the picture's height."""

_TWO_SIDES = (VIEWS[0], VIEWS[-1])


def overview(
    image: NDArray[np.uint8],
    faces: Sequence[DrawnFace],
    scheme: LandmarkScheme | None = None,
    volumes: NDArray[np.floating] | None = None,
    size: int | None = None,
) -> NDArray[np.uint8]:
    """One picture worth showing: the image with its landmarks and, beside it, the first faces in 3D.

    Args:
        image: (h, w, 3) RGB.
        faces: what was found in it.
        scheme: as in `jvcr.viz.landmarks.draw_faces`.
        volumes: (n, D, H, W) the estimated volume of each face, as `Landmarker.volumes` gives them. With them a face is
            shown from the front and from the side, and its volume below; without, from three sides.
        size: longer side of the image in the picture, pixels; None leaves it as it is.

    Returns:
        RGB pixels. Below the image stands what the colours mean, or that there is no face.
    """
    height, width = image.shape[:2]
    if size is not None and size != max(height, width):
        scale = size / max(height, width)
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=method), dtype=np.uint8)
        faces = [face.resized(columns / width, rows / height) for face in faces]
    picture = draw_faces(image, faces, scheme)
    if not faces:
        write_text(picture, "no face", *corner(picture), PAPER, outline=INK)
        return picture
    draw_legend(picture)
    side = int(np.clip(len(picture) // 3, SMALLEST_PANEL, LARGEST_PANEL))
    panels = []
    for index, face in enumerate(faces[:PANEL_FACES]):
        title = str(index + 1) if len(faces) > 1 else ""
        if volumes is None:
            panels.append(draw_views(face, side, scheme, title))
        else:
            cloud = render_volume(volumes[index], side)
            caption(cloud, "estimated volume")
            panels.append(np.concatenate([draw_views(face, side, scheme, title, _TWO_SIDES), cloud]))
    total = max(len(picture), 3 * side)
    return np.concatenate([_padded(part, total) for part in (picture, *panels)], axis=1)


def _padded(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """The picture with paper below it, up to a height."""
    below = height - len(picture)
    return np.concatenate([picture, np.full((below, picture.shape[1], 3), PAPER, np.uint8)]) if below else picture
