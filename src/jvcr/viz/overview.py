"""One picture of what was found in a photograph: landmarks on it, and beside it faces in 3D and their volumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.inference.face import Face
from jvcr.scheme import LandmarkScheme
from jvcr.viz.landmarks import PAPER, VIEWS, caption, draw_faces, draw_views
from jvcr.viz.volume import render_volume

PANEL_FACES = 3
"""So many faces, the most certain ones, are shown in 3D."""

SMALLEST_OVERVIEW, LARGEST_OVERVIEW = 640, 1280
"""Longer side of the picture in an overview, pixels: small ones are enlarged, so that lines stay fine."""

_TWO_SIDES = (VIEWS[0], VIEWS[-1])


def overview(
    image: NDArray[np.uint8],
    faces: Sequence[Face],
    scheme: LandmarkScheme | None = None,
    volumes: NDArray[np.floating] | None = None,
) -> NDArray[np.uint8]:
    """One picture worth showing: the image with its landmarks and, beside it, the first faces in 3D.

    Args:
        image: (h, w, 3) RGB.
        faces: what was found in it.
        scheme: as in `jvcr.viz.landmarks.draw_faces`.
        volumes: (n, D, H, W) the estimated volume of each face, as `Landmarker.volumes` gives them. With them a face is
            shown from the front and from the side, and its volume below; without, from three sides.

    Returns:
        RGB pixels; the image in it is enlarged or reduced to a longer side of 640 to 1280.
    """
    height, width = image.shape[:2]
    scale = np.clip(1, SMALLEST_OVERVIEW / max(height, width), LARGEST_OVERVIEW / max(height, width))
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    if (columns, rows) != (width, height):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=method), dtype=np.uint8)
        faces = [_scaled(face, columns / width, rows / height) for face in faces]
    picture = draw_faces(image, faces, scheme)
    if not faces:
        return picture
    size = max(rows // 3, SMALLEST_OVERVIEW // 5)
    panels = []
    for index, face in enumerate(faces[:PANEL_FACES]):
        title = str(index + 1) if len(faces) > 1 else ""
        if volumes is None:
            panels.append(draw_views(face, size, scheme, title))
        else:
            cloud = render_volume(volumes[index], size)
            caption(cloud, "estimated volume")
            panels.append(np.concatenate([draw_views(face, size, scheme, title, _TWO_SIDES), cloud]))
    total = max(rows, 3 * size)
    return np.concatenate([_padded(part, total) for part in (picture, *panels)], axis=1)


def _scaled(face: Face, across: float, down: float) -> Face:
    """The face in the resized image, whose pixels again have their centres at whole numbers."""
    center = np.array([0.5, 0.5, 0])
    points = (face.points + center) * [across, down, (across + down) / 2] - center
    box = (face.box + 0.5) * [across, down, across, down] - 0.5
    return dataclasses.replace(face, points=points.astype(np.float32), box=box.astype(np.float32))


def _padded(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """The picture with paper below it, up to a height."""
    below = height - len(picture)
    return np.concatenate([picture, np.full((below, picture.shape[1], 3), PAPER, np.uint8)]) if below else picture
