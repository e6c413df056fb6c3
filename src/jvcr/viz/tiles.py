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
from jvcr.viz.landmarks import draw_landmarks

TRUE_COLOR, PREDICTED_COLOR = (60, 220, 60), (255, 70, 70)
"""Of landmarks that are compared, RGB."""

QUALITY = {".png": None, ".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
"""Formats of pictures, by the suffix of the file, and OpenCV's setting for how exact they are."""

_MARGIN = 1.3
_CAPTION = 16
_BACKGROUND = 30


def face_tile(
    image: NDArray[np.uint8],
    layers: Sequence[tuple[NDArray[np.floating], tuple[int, int, int]]],
    scheme: LandmarkScheme,
    caption: str = "",
    size: int = 240,
) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB: a face cut out of its image, its landmarks drawn over it.

    Args:
        image: (height, width, 3) uint8 RGB.
        layers: landmarks (N, 2 or 3) in the image frame and their RGB colour, the last on top; all of them are in
            sight.
        scheme: the lines between them.
        caption: written along the upper edge.
        size: of the tile, pixels.
    """
    crop = tile_crop([points for points, _ in layers])
    tile = warp_crop(image, crop, size)
    to_tile = cv2.invertAffineTransform(crop.crop_to_image_matrix(size))
    for points, color in layers:
        places = np.column_stack([points[:, :2] @ to_tile[:, :2].T + to_tile[:, 2], np.zeros(len(points))])
        colors = np.tile(np.array(color, np.uint8), (len(points), 1))
        draw_landmarks(tile, places, colors, scheme.edges, extent=size * 0.69)
    return captioned(tile, caption)


def tile_crop(landmarks: Sequence[NDArray[np.floating]]) -> Crop:
    """What a tile shows of an image: all of these landmarks (N, 2 or 3), and a little around them."""
    return Crop.around_landmarks(np.concatenate([points[:, :2] for points in landmarks]), _MARGIN)


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


def write_picture(path: str | Path, picture: NDArray[np.uint8], quality: int = 95) -> None:
    """Writes (height, width, 3) uint8 RGB as an image file; one that is there stays whole until the new one is.

    Args:
        path: its suffix, .png, .jpg or .webp, is the format.
        picture: RGB.
        quality: of .jpg and .webp, up to 100.

    Raises:
        ValueError: the suffix is not a format that can be written.
        OSError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in QUALITY:
        raise ValueError(f"{path} must end in one of {', '.join(QUALITY)}")
    setting = QUALITY[suffix]
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(suffix, bgr, [] if setting is None else [setting, quality])
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
