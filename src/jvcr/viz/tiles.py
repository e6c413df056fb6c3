"""Faces as small pictures with their landmarks, and many of them as one: what people look through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from jvcr.files import replacing
from jvcr.geometry.crop import Crop
from jvcr.geometry.warp import warp_crop
from jvcr.scheme import LandmarkScheme

TRUE_COLOR, PREDICTED_COLOR = (60, 220, 60), (255, 70, 70)

_MARGIN = 1.3
_SUBPIXEL_BITS = 4
_CAPTION = 16
_BACKGROUND = 30


def face_tile(
    image: NDArray[np.uint8],
    layers: Sequence[tuple[NDArray[np.floating], tuple[int, int, int]]],
    scheme: LandmarkScheme,
    caption: str = "",
    size: int = 240,
) -> NDArray[np.uint8]:
    """A face cut out of its image, its landmarks drawn over it.

    Args:
        image: (height, width, 3) uint8 RGB.
        layers: landmarks (N, 2 or 3) in the image frame and their RGB colour, the last on top; all of them are in
            sight.
        scheme: the lines between them.
        caption: written along the upper edge.
        size: of the tile, pixels.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    crop = Crop.around_landmarks(np.concatenate([points[:, :2] for points, _ in layers]), _MARGIN)
    tile = warp_crop(image, crop, size)
    to_tile = cv2.invertAffineTransform(crop.crop_to_image_matrix(size))
    for points, color in layers:
        xy = points[:, :2] @ to_tile[:, :2].T + to_tile[:, 2]
        fixed = np.round(xy * 2**_SUBPIXEL_BITS).astype(np.int32)
        for a, b in scheme.edges:
            cv2.line(tile, fixed[a].tolist(), fixed[b].tolist(), color, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
        for point in fixed:
            cv2.circle(tile, point.tolist(), size // 10, color, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return captioned(tile, caption)


def captioned(tile: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """The tile with a line of white on black along its upper edge, cut at its right one."""
    if text:
        tile = tile.copy()
        cv2.rectangle(tile, (0, 0), (tile.shape[1], _CAPTION), (0, 0, 0), cv2.FILLED)
        plain = text.encode("ascii", "replace").decode()  # OpenCV's font has no other characters
        cv2.putText(tile, plain, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def blank_tile(caption: str = "", size: int = 240) -> NDArray[np.uint8]:
    """A dark tile, for what cannot be shown."""
    return captioned(np.full((size, size, 3), _BACKGROUND, np.uint8), caption)


def tile_sheet(tiles: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Tiles of one size in rows of ``columns``, the last row filled up; one dark tile if there are none."""
    tiles = list(tiles) or [blank_tile()]
    columns = max(1, min(columns, len(tiles)))
    tiles += [np.full_like(tiles[0], _BACKGROUND)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def write_picture(path: str | Path, picture: NDArray[np.uint8]) -> None:
    """Writes (height, width, 3) uint8 RGB as an image file; one that is there stays whole until the new one is.

    Raises:
        OSError: it could not be written, or not in the format of that suffix.
    """
    with replacing(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise OSError(f"{path} could not be written as a picture")
